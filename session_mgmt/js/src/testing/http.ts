/** Connections over HTTP of the fake server: attachments, held polls, and calls that send frames. */

import { CLOSE, mayReconnect } from "../codes";
import type { Position } from "../frames";
import type { Json } from "../values";
import type { FakeLog } from "./log";
import type { FakeClient, FakeSession } from "./session";
import type { FakeWire } from "./wire";

type Frame = { type: string; [field: string]: Json };
type Asked = Record<string, { position: Position | null; grant?: string }>;

export interface FakeHttpPort {
  /** Attach as over a socket; the wire gets `connected` or `bye`. */
  connect(wire: FakeWire, frame: Frame): void;
  takeFrame(wire: FakeWire, frame: Frame): void;
  leave(wire: FakeWire): void;
  findLog(session: FakeSession, name: string): FakeLog | null;
}

export type CallName = "connections" | "poll" | "frames" | "leave";

const STATUSES: Record<number, number> = {
  [CLOSE.TOKEN_EXPIRED]: 401,
  [CLOSE.LOGIN_CHECK]: 401,
  [CLOSE.INVALID_TOKEN]: 401,
  [CLOSE.ORIGIN_DENIED]: 403,
  [CLOSE.SESSION_TERMINATED]: 410,
  [CLOSE.SESSION_EXPIRED]: 410,
  [CLOSE.TOO_MANY_REQUESTS]: 429,
  [CLOSE.UNAVAILABLE]: 503,
  [CLOSE.DRAINING]: 503,
};
const STREAM_SECONDS = 45;

/** Attachment over HTTP. Frames for the client wait in its log, or go to the held poll. */
export class FakePolls implements FakeWire {
  isOver = false;
  /** Frames for the answer that is being made. */
  collected: Frame[] | null = null;
  /** Documents whose entries belong in that answer. */
  named: Record<string, Position | null> = {};
  held: { wake(frame?: Frame): void; fail(): void; hang(): void } | null = null;
  recovery: Frame | null = null;

  /** `isConnection`: false for a client that only writes, and polls when it wants to. */
  constructor(readonly isConnection: boolean) {}

  deliver(frame: Frame): void {
    if (frame.type === "recovery") {
      if (this.isConnection) this.recovery = frame;
      return;
    }
    const isOfLog = ["entries", "snapshot", "gap"].includes(frame.type);
    if (this.collected && (!isOfLog || frame.log in this.named)) this.collected.push(frame);
    if (isOfLog) this.held?.wake();
    else if (!this.collected) this.held?.wake(frame);
  }

  /** Never answer the held poll. */
  hang(): void {
    this.held?.hang();
  }

  drop(code = 1006): void {
    if (code === 1006) this.held?.fail();
    else this.isOver = true;
  }
}

export class FakeHttp {
  /** Refuse streams. */
  refusesStreams = false;
  /** Hold back every answer that has not ended, as a buffering proxy does. */
  isBuffered = false;
  /** Number of answers to lose, by call. The effects of these calls happen. */
  readonly lost: Partial<Record<CallName, number>> = {};
  /** Number of calls that never arrive, by call. */
  readonly missed: Partial<Record<CallName, number>> = {};
  /** Refusals of the next calls. */
  readonly refusals: Partial<Record<CallName, { status: number; name: string; close: number | null; retry_after?: number }[]>> = {};
  /** Bodies of the calls that arrived. */
  readonly calls: [name: CallName, body: Json][] = [];
  readonly #port: FakeHttpPort;

  constructor(port: FakeHttpPort) {
    this.#port = port;
  }

  /** Answer a call; return null if it is not a call of a connection. */
  async answer(
    path: string,
    init: RequestInit,
    session: FakeSession | undefined,
    proof: { token?: string; auth?: string; name?: string | null },
  ): Promise<Response | null> {
    const name = /connections\/(?:(poll|frames|leave)\/)?$/.exec(path);
    if (!name) return null;
    const call = (name[1] ?? "connections") as CallName;
    if (spend(this.missed, call)) throw new TypeError("the call was lost");
    const body = JSON.parse(init.body as string);
    this.calls.push([call, body]);
    const refused = this.refusals[call]?.shift();
    const answer = refused ? refuse(refused.close, refused) : await this.#answerCall(call, body, init, session, proof);
    if (spend(this.lost, call)) throw new TypeError("the answer was lost");
    return answer;
  }

  async #answerCall(
    call: CallName,
    body: Json,
    init: RequestInit,
    session: FakeSession | undefined,
    proof: { token?: string },
  ): Promise<Response> {
    if (call === "connections") return this.#attach(body, proof);
    if (!session || session.state === "terminated") return refuse(session ? CLOSE.SESSION_TERMINATED : CLOSE.INVALID_TOKEN);
    if (session.state === "expired") return refuse(CLOSE.SESSION_EXPIRED);
    if (proof.token && session.tokens.isExpired(proof.token)) return refuse(CLOSE.TOKEN_EXPIRED);
    const client = session.clients.get(body.client_id);
    if (!client) return refuse(CLOSE.CLIENT_FORGOTTEN);
    if (client.generation !== body.generation) return refuse(CLOSE.REPLACED);
    const { wire } = client;
    if (!(wire instanceof FakePolls) || wire.isOver) return refuse(CLOSE.HEARTBEAT_LOST);
    if (call === "leave") this.#port.leave(wire);
    if (call === "leave") return new Response(null, { status: 204, headers: { "X-Session-Mgmt": "1" } });
    if (call === "frames") return this.#takeFrames(session, wire, body);
    return this.#poll(session, client, wire, body, init);
  }

  #attach(body: Json, proof: object): Response {
    const wire = new FakePolls(body.transport !== "none");
    wire.collected = [];
    this.#port.connect(wire, { type: "connect", ...body, ...proof });
    const [frame] = wire.collected.filter(({ type }) => type === "connected" || type === "bye");
    wire.collected = null;
    if (!frame) return refuse(CLOSE.INVALID_TOKEN);
    if (frame.type === "bye") return refuse(frame.code, { retry_after: frame.retry_after, reason: frame.reason });
    for (const [log, verdict] of Object.entries<Json>(frame.logs)) if (log.startsWith("topic:")) verdict.grant = `g:${log}`;
    return reply({ frames: [{ ...frame, recovery: wire.recovery ? "r" : null }] });
  }

  #takeFrames(session: FakeSession, wire: FakePolls, body: Json): Response {
    const answers: Frame[] = [];
    wire.named = body.logs;
    for (const [log, position] of Object.entries<Position | null>(body.logs)) {
      answers.push(...this.#listNews(session, log, position));
    }
    for (const frame of body.frames as Frame[]) {
      wire.collected = answers;
      this.#port.takeFrame(wire, frame);
      if (frame.type === "subscribe") grantReply(answers.at(-1), frame.log);
      if (frame.type === "unsubscribe") answers.push({ type: "reply", id: frame.id });
    }
    wire.collected = null;
    const shown = answers.filter(({ type, log }) => !isOfLog(type) || log in wire.named);
    return reply({ frames: shown });
  }

  #listNews(session: FakeSession, name: string, position: Position | null, isRecovery = false): Frame[] {
    const log = this.#port.findLog(session, name);
    if (!log) return [{ type: "error", log: name, code: 250, name: "topic_denied", temporary: false, message: "" }];
    const verdict = log.judgePosition(position);
    if (verdict.mode === "gap") return [{ ...verdict, type: "gap", log: name }];
    const frames = log.listReplay(verdict) as Frame[];
    return isRecovery ? frames : frames.map(({ recovered: _, ...frame }) => frame as Frame);
  }

  /** Return the frames for a poll, and move its positions forward. */
  #readPoll(session: FakeSession, client: FakeClient, wire: FakePolls, body: Json): Frame[] {
    const frames: Frame[] = [];
    for (const [name, asked] of Object.entries(body.logs as Asked)) {
      if (!client.follows.has(name)) client.follows.add(name);
      const isUngranted = name.startsWith("topic:") && asked.grant !== `g:${name}`;
      if (isUngranted && this.#port.findLog(session, name)) frames.push({ type: "grants", grants: { [name]: `g:${name}` } });
      asked.grant = `g:${name}`;
      const news = this.#listNews(session, name, asked.position, body.recovery !== null);
      if (news.some(({ type }) => type === "error")) delete body.logs[name];
      asked.position = this.#port.findLog(session, name)?.position ?? asked.position;
      frames.push(...news);
    }
    if (body.recovery !== null && wire.recovery) frames.push(wire.recovery);
    if (body.recovery !== null) wire.recovery = body.recovery = null;
    return frames;
  }

  #poll(session: FakeSession, client: FakeClient, wire: FakePolls, body: Json, init: RequestInit): Promise<Response> | Response {
    const isStream = new Headers(init.headers).get("Accept") === "text/event-stream";
    if (isStream && this.refusesStreams) return refuse(null, { status: 406, name: "transport_unavailable" });
    wire.held?.wake({ type: "again" });
    return isStream ? this.#stream(session, client, wire, body, init) : this.#hold(session, client, wire, body, init);
  }

  #hold(session: FakeSession, client: FakeClient, wire: FakePolls, body: Json, init: RequestInit): Promise<Response> {
    return new Promise((resolve, reject) => {
      const extra: Frame[] = [];
      const fail = (): void => {
        finish();
        reject(new TypeError("the poll was cut"));
      };
      const answer = (): void => {
        if (wire.held !== held) return;
        finish();
        const frames = extra.some(({ type }) => type === "again") ? [] : [...this.#readPoll(session, client, wire, body), ...extra];
        resolve(reply({ frames, next_in: 0 }));
      };
      const timer = setTimeout(answer, body.hold * 1000);
      const finish = (): void => {
        clearTimeout(timer);
        if (wire.held === held) wire.held = null;
      };
      const held = {
        fail,
        hang: finish,
        wake: (frame?: Frame): void => {
          if (frame) extra.push(frame);
          if (frame?.type === "again") answer();
          else queueMicrotask(answer);
        },
      };
      wire.held = held;
      init.signal?.addEventListener("abort", () => void (finish(), reject(new DOMException("aborted", "AbortError"))));
      const isBehind = Object.entries(body.logs as Asked).some(
        ([name, { position }]) => this.#listNews(session, name, position).length > 0,
      );
      if (isBehind || (body.recovery !== null && wire.recovery) || body.hold === 0) queueMicrotask(answer);
    });
  }

  #stream(session: FakeSession, client: FakeClient, wire: FakePolls, body: Json, init: RequestInit): Response {
    const encoder = new TextEncoder();
    let close = (): void => undefined;
    let fail = (_error: unknown): void => undefined;
    let push = (_text: string): void => undefined;
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const kept: Uint8Array[] = [];
        push = (text) => {
          const bytes = encoder.encode(text);
          if (this.isBuffered) kept.push(bytes);
          // One byte may be half of a character.
          else for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        };
        close = () => {
          for (const bytes of kept) controller.enqueue(bytes);
          controller.close();
        };
        fail = (error) => controller.error(error);
      },
    });
    const send = (frame: Frame): void => push(`data: ${JSON.stringify(frame)}\n\n`);
    const timers = [
      setTimeout(() => send({ type: "ping", ping: 0, rtt_ms: null }), 1000),
      setTimeout(() => finish(() => (send({ type: "again" }), close())), STREAM_SECONDS * 1000),
    ];
    let isOver = false;
    const finish = (end: () => void): void => {
      if (isOver) return;
      isOver = true;
      timers.forEach(clearTimeout);
      if (wire.held === held) wire.held = null;
      end();
    };
    const held = {
      hang: () => finish(() => undefined),
      fail: () => finish(() => fail(new TypeError("the stream was cut"))),
      wake: (frame?: Frame): void => {
        if (frame?.type === "again") return finish(close);
        queueMicrotask(() => {
          if (isOver) return;
          for (const news of this.#readPoll(session, client, wire, body)) send(news);
          if (frame) send(frame);
          if (frame?.type === "bye") finish(close);
        });
      },
    };
    wire.held = held;
    // The reader may abort a stream that gets no more data.
    init.signal?.addEventListener("abort", () => {
      finish(() => undefined);
      fail(new DOMException("aborted", "AbortError"));
    });
    push(`:${" ".repeat(8)}\n\n`);
    held.wake();
    return new Response(stream, { headers: { "Content-Type": "text/event-stream; charset=utf-8", "X-Session-Mgmt": "1" } });
  }
}

function isOfLog(type: string): boolean {
  return ["entries", "snapshot", "gap"].includes(type);
}

function grantReply(answer: Frame | undefined, log: string): void {
  if (answer?.type === "reply" && log.startsWith("topic:")) answer.verdict.grant = `g:${log}`;
}

function spend(counts: Partial<Record<CallName, number>>, call: CallName): boolean {
  const left = counts[call] ?? 0;
  counts[call] = Math.max(0, left - 1);
  return left > 0;
}

function reply(body: object): Response {
  return new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json", "X-Session-Mgmt": "1" } });
}

function refuse(close: number | null, more: { status?: number; name?: string; [fact: string]: unknown } = {}): Response {
  const { status = STATUSES[close ?? 0] ?? 409, name = "refused", ...facts } = more;
  const reconnect = close === null ? status >= 500 : mayReconnect(close);
  const body = { code: 0, name, temporary: reconnect, retry_after: null, message: "", close, reconnect, ...facts };
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", "X-Session-Mgmt": "1" } });
}
