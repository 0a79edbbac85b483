/** Attachment over HTTP: an attach, polls for what is new, calls for what is written (PROTOCOL section 16). */

import { runGuarded } from "../emitter";
import { CLOSE } from "../codes";
import type { ConnectedFrame, Position, ServerFrame } from "../frames";
import { pause } from "../pause";
import { makeEnding, readBye, type Ending, type Link, type LinkPort, type TransportHost, type TransportName } from "../transport";
import type { FindPlace } from "./bell";
import { CallFailure, Calls, makeLost, type Answer } from "./calls";
import { Places, type Asked } from "./places";
import { Poller, type Mode, type Pace } from "./poller";
import { Sender, type SentFrame } from "./sender";

/** What a link asks of what outlives it. */
export interface LinkHabits {
  /** False where streams are known to be held back. */
  readonly prefersStream: boolean;
  /** Note that streams do not get through. */
  noteBuffered(): void;
  /** Choose the pace of the next poll; `isAnew`: something waits for it. Rejects if the signal is aborted. */
  choosePace(signal: AbortSignal, isAnew: boolean, findPlace: FindPlace): Promise<Pace>;
  /** Note the place in a log to which entries have brought this tab. */
  tellPlace?(log: string, position: Position): void;
  /** Hold nothing of what polls need: there is none for a while. */
  rest?(): void;
}

/** What an attachment is for: it is a connection, or it writes and polls when it wants to, or it only writes. */
export type Role = "connection" | "follower" | "writer";

/** Frames that have no place in a call: polls confirm receipts and are the sign of life. */
const NOT_SENT: ReadonlySet<string> = new Set(["ack", "pong"]);
/** Bytes of a call of frames that are not frames. */
const ROOM = 8_192;
/** Milliseconds for which a change to another attachment waits for a call under way. */
const CALL_LASTS = 2_000;

export class HttpLink implements Link {
  readonly #host: TransportHost;
  readonly #port: LinkPort;
  readonly #role: Role;
  readonly #habits: LinkHabits;
  readonly #calls: Calls;
  readonly #places: Places;
  readonly #sender: Sender;
  readonly #poller: Poller;
  readonly #attach = new AbortController();
  #state: "opening" | "attached" | "ended" = "opening";
  #client: { client_id: string; generation: number } | null = null;
  /** Recovery that is not complete yet. */
  #recovery: string | null = null;
  readonly #leavePage = (): void => this.#leave();
  /** Places that the calls under way have named. */
  #polled: Asked = {};
  #sent: Asked = {};

  constructor(host: TransportHost, port: LinkPort, habits: LinkHabits, role: Role = "connection") {
    const { env } = host;
    this.#host = host;
    this.#port = port;
    this.#role = role;
    this.#habits = habits;
    this.#calls = new Calls(host);
    this.#places = new Places(port.findPlace, () => this.#poller.restart());
    const fail = ({ ending }: CallFailure): void => this.#end(ending);
    const { tellRoundTrip, tellMissed } = port;
    this.#sender = new Sender(env.clock, env.random, {
      fail,
      send: (texts, documents, signal) => this.#sendFrames(texts, documents, signal),
      takeAnswer: (answer) => this.#takeAnswer(answer, this.#sent),
    });
    this.#poller = new Poller(env, habits.prefersStream ? "sse" : "longpoll", {
      fail,
      send: (hold, mode, signal) => this.#sendPoll(hold, mode, signal),
      takeAnswer: (answer) => this.#takeAnswer(answer, this.#polled),
      leaveStreams: () => {
        habits.noteBuffered();
        port.tellTransport("longpoll");
      },
      choosePace: (signal, isAnew) => habits.choosePace(signal, isAnew, port.findPlace),
      ...{ tellRoundTrip, tellMissed },
    });
    env.page?.window.addEventListener("pagehide", this.#leavePage);
    void this.#open();
  }

  get isAttached(): boolean {
    return this.#state === "attached";
  }

  get transport(): TransportName {
    return this.#poller.mode;
  }

  sendFrame(frame: SentFrame): number {
    if (this.#state !== "attached") return 0;
    if (NOT_SENT.has(frame.type)) return 1;
    if (frame.type === "disconnect") {
      this.#leave();
      return 1;
    }
    this.#places.noteSent(frame);
    return this.#sender.add(frame);
  }

  endWith(code: number, name: string | null = null): void {
    if (code === CLOSE.NORMAL) this.#leave();
    this.#end(makeEnding(code, name));
  }

  drop(code: number = CLOSE.NORMAL): void {
    if (code === CLOSE.NORMAL) this.#leave();
    this.release();
  }

  /** End it without a word to the server: another attachment follows. */
  release(): void {
    this.#state = "ended";
    this.#host.env.page?.window.removeEventListener("pagehide", this.#leavePage);
    this.#attach.abort();
    this.#sender.stop();
    this.#poller.stop();
    this.#habits.rest?.();
  }

  /** Begin no further call of frames; resolves when none is under way, or when the one that is takes long. */
  async pause(): Promise<void> {
    const patience = new AbortController();
    const late = pause(this.#host.env.clock, CALL_LASTS, patience.signal).catch(() => undefined);
    await Promise.race([this.#sender.pause(), late]);
    patience.abort();
  }

  resume(): void {
    this.#sender.resume();
  }

  checkLife(): void {
    this.#poller.restart(true);
  }

  /** Return the places in the logs that it follows, as far as it has one. */
  listPlaces(): Asked {
    return this.#places.listKnown();
  }

  async #open(): Promise<void> {
    const begun = this.#host.env.clock.now();
    try {
      // The link is in the connection's hands before it can end.
      await null;
      const answer = await this.#calls.ask("connections", this.#buildAttach(), { signal: this.#attach.signal });
      if (this.#state === "ended") return;
      this.#poller.noteRoundTrip(begun);
      this.#takeAnswer(answer, {});
    } catch (error) {
      this.#end((error instanceof CallFailure ? error : makeLost()).ending);
    }
  }

  #buildAttach(): string {
    const { type, token, auth, name, ...fields } = this.#port.buildConnect() as Record<string, unknown>;
    this.#places.noteWishes(fields);
    const transport = this.#role === "connection" ? this.#poller.mode : "none";
    return JSON.stringify({ ...fields, transport });
  }

  #sendPoll(hold: number, mode: Mode, signal: AbortSignal): Promise<Response> {
    const logs = this.#places.listForPoll();
    this.#polled = this.#places.list(Object.keys(logs));
    const body = { ...this.#client, acked: this.#port.readAcked(), recovery: this.#recovery, hold, logs };
    const accept = mode === "sse" ? "text/event-stream" : "application/json";
    return this.#calls.send("poll", JSON.stringify(body), { signal, headers: { Accept: accept } });
  }

  #sendFrames(texts: readonly string[], documents: readonly string[], signal: AbortSignal): Promise<Answer> {
    this.#sent = this.#places.list(documents);
    const head = JSON.stringify({ ...this.#client, acked: this.#port.readAcked(), logs: this.#sent });
    const body = `${head.slice(0, -1)},"frames":[${texts.join(",")}]}`;
    return this.#calls.ask("frames", body, { signal });
  }

  /** Take frames in their order; return false if the attachment has ended. */
  #takeAnswer({ frames, length }: Answer, asked: Asked): boolean {
    frames.forEach((frame, at) => {
      // A callback may have ended it.
      if (this.#state === "ended") return;
      this.#takeFrame(frame, at === 0 ? length : 0, asked);
    });
    return this.#state !== "ended";
  }

  #takeFrame(frame: ServerFrame, length: number, asked: Asked): void {
    if (frame.type === "bye") {
      return this.#end(readBye(frame));
    }
    if (frame.type === "connected") this.#takeConnected(frame);
    if (frame.type === "recovery") this.#recovery = null;
    this.#places.noteFrame(frame);
    if (frame.type === "again" || frame.type === "grants" || this.#places.isStale(frame, asked)) return;
    runGuarded(() => this.#port.handleFrame(frame, length));
    this.#places.advance(frame, asked);
    this.#places.noteAnswer(frame);
    if (frame.type === "entries") this.#tellPlace(frame.log);
    if (frame.type === "connected" && this.#state === "attached" && this.#role !== "writer") this.#poller.start();
  }

  #tellPlace(log: string): void {
    const place = this.#port.findPlace(log);
    if (place) this.#habits.tellPlace?.(log, place);
  }

  #takeConnected(frame: ConnectedFrame): void {
    this.#state = "attached";
    this.#client = { client_id: frame.client_id, generation: frame.generation };
    this.#recovery = frame.recovery ?? null;
    this.#places.takeConnected(frame);
    if (frame.heartbeat) this.#poller.hold = frame.heartbeat.interval;
    if (frame.limits?.frame_bytes) this.#sender.mostBytes = frame.limits.frame_bytes - ROOM;
    this.#port.tellTransport(this.#role === "connection" ? this.transport : "tab");
  }

  /** Tell the server that the client leaves; also on the page's way out. */
  #leave(): void {
    if (this.#state !== "attached") return;
    this.#calls.send("leave", JSON.stringify(this.#client), { keepalive: true }).catch(() => undefined);
  }

  #end(ending: Ending): void {
    if (this.#state === "ended") return;
    this.release();
    this.#port.handleEnd(ending);
  }
}
