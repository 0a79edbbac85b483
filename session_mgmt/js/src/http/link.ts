/** Attachment over HTTP: an attach, polls for new entries, and calls with frames (PROTOCOL section 16). */

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

/** Calls of a link to what outlives it. */
export interface LinkHabits {
  /** False if something on the way is known to hold streams back. */
  readonly prefersStream: boolean;
  /** Note that something holds streams back. */
  noteBuffered(): void;
  /** Choose the pace of the next poll; `isAnew`: something waits for it. Rejects if the signal is aborted. */
  choosePace(signal: AbortSignal, isAnew: boolean, findPlace: FindPlace): Promise<Pace>;
  /** Note the position in a log that this tab has reached. */
  tellPlace?(log: string, position: Position): void;
  /** Release what polls need, because there are none for a while. */
  rest?(): void;
}

/** Purpose of an attachment: a connection, a client that writes and polls when it wants to, or one that only writes. */
export type Role = "connection" | "follower" | "writer";

/** Frames that are not sent over HTTP: polls confirm receipts and are the sign of life. */
const NOT_SENT: ReadonlySet<string> = new Set(["ack", "pong"]);
/** Bytes of a call with frames, besides the frames. */
const ROOM = 8_192;
/** Milliseconds that a change to another attachment waits for a call in progress. */
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
  /** Id of a recovery that is not complete yet. */
  #recovery: string | null = null;
  readonly #leavePage = (): void => this.#leave();
  /** Positions that the calls in progress have named. */
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

  /** End the link without telling the server, because another attachment follows. */
  release(): void {
    this.#state = "ended";
    this.#host.env.page?.window.removeEventListener("pagehide", this.#leavePage);
    this.#attach.abort();
    this.#sender.stop();
    this.#poller.stop();
    this.#habits.rest?.();
  }

  /** Begin no more calls with frames. Resolves when none is in progress, or when the present one takes too long. */
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

  /** Return the positions of the followed logs, if they have one. */
  listPlaces(): Asked {
    return this.#places.listKnown();
  }

  async #open(): Promise<void> {
    const begun = this.#host.env.clock.now();
    try {
      // The connection must have the link before the link can end.
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

  /** Handle frames in order; return false if the attachment has ended. */
  #takeAnswer({ frames, length }: Answer, asked: Asked): boolean {
    frames.forEach((frame, at) => {
      // A callback may have ended the link.
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

  /** Tell the server that the client leaves; this also works while the page is being left. */
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
