/**
 * Server in memory that speaks session-mgmt.v1 to any number of clients, and can be made to fail. It applies every
 * update at the head, whatever its base and strategy. It allows every log, except the topics and `state:<name>` in
 * `denied`.
 */

import { CLOSE, closeName, mayReconnect } from "../codes";
import type { Fetch, SocketClass } from "../environment";
import type { ErrorFields } from "../errors";
import type { Position, ReceiptFrame, UpdateFrame, Verdict, WriteFrame } from "../frames";
import { mergePatch } from "../merge";
import type { Operation } from "../operations";
import { areEqual, type Json } from "../values";
import { answerDevices, answerNarrow } from "./devices";
import { answerRequest } from "./documents";
import { FakeEntrance, type FakeLogin, type Told } from "./entrance";
import { FakeJar } from "./jar";
import { FakeHttp, FakePolls } from "./http";
import { FakeDocument, FakeLog, type Entry } from "./log";
import { FakeSession, type FakeClient } from "./session";
import { FakeSocket } from "./socket";
import type { FakeWire } from "./wire";

export interface FakeServerOptions {
  /** Return the answer to a message of a client. */
  onMessage?: (data: Json) => Json;
}

type Frame = { type: string; [field: string]: Json };

const PRESENCE = new Set(["enter", "leave", "members"]);

export class FakeServer {
  readonly WebSocket: SocketClass;
  readonly fetch: Fetch;
  readonly sessions: FakeSession[] = [];
  readonly topics = new Map<string, FakeLog>();
  /** Members of topics by the name of their presence, such as `presence:chat`. */
  readonly present = new Map<string, Map<string, Json>>();
  /** Values of topics, by the name of the topic. */
  readonly values = new Map<string, Json>();
  readonly denied = new Set<string>();
  /** Topics that are temporarily refused with `busy`. */
  readonly crowded = new Set<string>();
  /** Frames that clients have sent, the newest one last. */
  readonly received: Frame[] = [];
  readonly requests: string[] = [];
  readonly sockets: FakeSocket[] = [];
  /** Lose all receipts; the effects of the writes happen. */
  swallowReceipts = false;
  /** True if recoveries are completed. */
  recovers = true;
  /** Login that the cookies of the browser prove; it may be changed at any time. */
  readonly login: FakeLogin = {
    ...{ user: "7", isEnded: false, onLogin: "claim", onLogout: "end" },
    ...{ anonymous: true, tokenMode: "bearer" },
  };
  /** Cookies of the browser; they prove sessions if `login.tokenMode` is `cookie`. */
  readonly jar = new FakeJar();
  /** Number of answers to lose, of the next calls about identity. The effects of these calls happen. */
  lostAnswers = 0;
  /**
   * Behaviour of new sockets: they open after `openAfter` milliseconds, are refused, never open, or open and pass no
   * frame.
   */
  readonly network = { sockets: "open" as "open" | "refused" | "silent" | "swallowed", openAfter: 0 };
  /** Answer no request. */
  offline = false;
  /** Status with which a portal of the network answers everything; 0 for no portal. */
  portal = 0;
  /** More fields for `connected`, such as `retry` or `limits`. */
  settings: Record<string, Json> = {};
  #onMessage: (data: Json) => Json;
  #refusals: ErrorFields[] = [];
  #reports: Partial<ReceiptFrame>[] = [];
  #cut = false;
  #attached = new Map<FakeWire, { session: FakeSession; client: FakeClient }>();
  #names = 0;
  /** Connections over HTTP. */
  readonly http = new FakeHttp({
    connect: (wire, frame) => this.#handleFrame(wire, frame),
    takeFrame: (wire, frame) => this.#handleFrame(wire, frame),
    leave: (wire) => this.#handleClose(wire),
    findLog: (session, name) => this.#findLog(session, name),
  });
  #replacements = 0;
  readonly #entrance = new FakeEntrance({
    login: this.login,
    sessions: this.sessions,
    makeSession: (before) => this.#makeSession(before),
    detach: (session) => this.#endAll(session, CLOSE.DETACHED),
    end: (session, state) => {
      session.state = state;
      this.#endAll(session, state === "expired" ? CLOSE.SESSION_EXPIRED : CLOSE.SESSION_TERMINATED);
    },
  });

  constructor({ onMessage = (data) => data }: FakeServerOptions = {}) {
    const server = this;
    this.#onMessage = onMessage;
    this.fetch = (url, init) => this.#answerFetch(url, init ?? {});
    this.WebSocket = class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, {
          handleOpen: (socket) => server.#handleOpen(socket),
          handleText: (socket, text) => server.#handleFrame(socket, JSON.parse(text)),
          handleClose: (socket) => server.#handleClose(socket),
        });
        server.sockets.push(this);
      }
    };
  }

  get session(): FakeSession {
    return this.sessions.at(-1) as FakeSession;
  }

  get connected(): number {
    return this.#attached.size;
  }

  topic(name: string): FakeLog {
    const log = this.topics.get(name) ?? new FakeLog(`topic:${name}`);
    this.topics.set(name, log);
    return log;
  }

  publish(topic: string, data: Json): Position {
    const log = this.topic(topic);
    this.#spreadEntry(log, log.appendEntry(data));
    return log.position;
  }

  /** Change a document as the server itself. */
  write(operations: Operation[], name = "main"): Position {
    const document = this.session.document(name);
    this.#spreadEntry(document, document.applyWrite(operations));
    return document.position;
  }

  message(data: Json): void {
    this.event("message", data);
  }

  event(type: string, data: Json): void {
    const { log } = this.session;
    this.#spreadEntry(log, log.appendEntry({ type, data, at: "2026-11-23T12:00:00.000000Z" }));
  }

  /** Add these fields to the next receipts of successful writes, one each. */
  report(...reports: Partial<ReceiptFrame>[]): void {
    this.#reports.push(...reports);
  }

  /** Refuse the next numbered writes with these errors, one each. */
  refuse(...errors: ErrorFields[]): void {
    this.#refusals.push(...errors);
  }

  /** Answer the next connects of known clients as if another connection had replaced them. */
  replaceNext(openings: number): void {
    this.#replacements = openings;
  }

  /** Let another attach of every client arrive, and lose its answer. */
  overtake(): void {
    for (const [wire, { client }] of this.#attached) {
      client.generation += 1;
      this.#sendBye(wire, CLOSE.REPLACED);
    }
  }

  /** Send a frame to every client; it may break the protocol. */
  broadcast(frame: object): void {
    for (const wire of this.#attached.keys()) wire.deliver(frame);
  }

  /** Take the right to a topic away from all clients that follow it. */
  deny(topic: string): void {
    this.denied.add(topic);
    const log = `topic:${topic}`;
    for (const [wire, { client }] of this.#attached) {
      if (client.follows.delete(log)) wire.deliver({ type: "error", log, ...makeTopicDenied() });
    }
  }

  /** Break every connection; new ones are accepted. */
  drop(code = 1006): void {
    for (const wire of [...this.#attached.keys()]) wire.drop(code);
  }

  /** Pass nothing more on the present connections, and tell no client. They never work again. */
  cut(): void {
    this.#cut = this.offline = true;
    for (const socket of this.sockets) socket.cut = true;
    for (const wire of this.#attached.keys()) {
      if (wire instanceof FakePolls) wire.hang();
      else this.#attached.delete(wire);
    }
  }

  mend(): void {
    this.#cut = this.offline = false;
  }

  bye(code: number, retryAfter: number | null = null, reason?: string): void {
    for (const wire of [...this.#attached.keys()]) this.#sendBye(wire, code, retryAfter, reason);
  }

  forgetClients(): void {
    this.session.clients.clear();
    this.bye(CLOSE.CLIENT_FORGOTTEN);
  }

  expire(): void {
    this.session.state = "expired";
    this.bye(CLOSE.SESSION_EXPIRED);
  }

  /** End the session. A server that found the end by itself gives no `reason`. */
  terminate(reason?: string): void {
    this.session.state = "terminated";
    this.bye(CLOSE.SESSION_TERMINATED, null, reason);
  }

  #handleOpen(socket: FakeSocket): boolean {
    const { sockets, openAfter } = this.network;
    socket.cut = this.#cut || sockets === "swallowed";
    if (sockets === "swallowed") socket.beginDeaf();
    if (sockets === "refused") socket.drop();
    if (sockets === "open" && openAfter > 0) setTimeout(() => socket.begin(), openAfter);
    return sockets === "open" && openAfter === 0 && !this.#cut;
  }

  #handleClose(wire: FakeWire): void {
    const attached = this.#attached.get(wire);
    this.#attached.delete(wire);
    if (attached?.client.wire === wire) attached.client.wire = null;
  }

  #handleFrame(wire: FakeWire, frame: Frame): void {
    this.received.push(frame);
    if (frame.type === "connect") return this.#handleConnect(wire, frame);
    const attached = this.#attached.get(wire);
    // Before an attach a client may only ask for a sign of life.
    if (!attached && frame.type === "ping") return wire.deliver({ type: "pong", id: frame.id, server_time: "" });
    if (!attached) return;
    const { session, client } = attached;
    if (frame.type === "configure") this.#handleConfigure(wire, frame);
    if (frame.type === "subscribe") this.#handleSubscribe(wire, session, client, frame);
    else if (frame.type === "history") this.#handleHistory(wire, session, frame);
    else if (frame.type === "value") this.#handleValue(wire, session, frame);
    else if (PRESENCE.has(frame.type)) this.#handlePresence(wire, session, client, frame);
    else if (frame.type === "unsubscribe") client.follows.delete(frame.log);
    else if (frame.type === "ping") wire.deliver({ type: "pong", id: frame.id, server_time: "" });
    else if (frame.type === "refresh") this.#handleRefresh(wire, frame);
    else if (frame.type === "publish" && frame.ephemeral) this.#spreadEphemeral(frame);
    else if (frame.seq !== undefined && frame.type !== "ack") this.#decideWrite(wire, session, client, frame);
  }

  #handleConnect(wire: FakeWire, frame: Frame): void {
    // The handshake carried the cookie; no frame contains it.
    const token = frame.auth === "cookie" ? this.jar.find(frame.name) : frame.token;
    const isOfThisMode = (frame.auth === "cookie") === this.#hasCookies && (frame.token === undefined) === this.#hasCookies;
    const session = this.sessions.find(({ tokens }) => isOfThisMode && tokens.isKnown(token));
    if (!session) return this.#refuseConnect(wire, CLOSE.INVALID_TOKEN);
    if (session.state === "terminated") return this.#refuseConnect(wire, CLOSE.SESSION_TERMINATED);
    if (session.state === "expired") return this.#refuseConnect(wire, CLOSE.SESSION_EXPIRED);
    if (frame.user !== undefined && frame.user !== session.user) return this.#refuseConnect(wire, CLOSE.LOGIN_CHECK);
    if (session.tokens.isExpired(token)) return this.#refuseConnect(wire, CLOSE.TOKEN_EXPIRED);
    if (frame.client_id && this.#replacements > 0) {
      this.#replacements -= 1;
      return this.#refuseConnect(wire, CLOSE.REPLACED);
    }
    const known = frame.client_id ? session.clients.get(frame.client_id) : session.newClient(this.#makeName("c_"));
    if (!known) return this.#refuseConnect(wire, CLOSE.CLIENT_FORGOTTEN);
    this.#attachClient(wire, session, known, frame);
  }

  #attachClient(wire: FakeWire, session: FakeSession, client: FakeClient, frame: Frame): void {
    if (client.wire) this.#sendBye(client.wire, CLOSE.REPLACED);
    const wentBack = client.lastSeq < frame.acked;
    client.lastSeq = Math.max(client.lastSeq, frame.acked);
    client.generation += 1;
    client.wire = wire;
    client.follows = new Set();
    this.#attached.set(wire, { session, client });
    const logs: Record<string, Verdict> = {};
    const replay: object[] = [];
    for (const [name, asked] of Object.entries<Position | null>(frame.logs)) {
      const log = this.#findLog(session, name);
      logs[name] = log ? log.judgePosition(asked, frame.since?.[name]) : { mode: "denied", error: this.#refuseTopic(name) };
      if (!log) continue;
      client.follows.add(name);
      replay.push(...log.listReplay(logs[name]));
    }
    wire.deliver(this.#makeConnected(session, client, wentBack, logs));
    for (const followed of replay) wire.deliver(followed);
    const isNew = client.generation === 1;
    if (!isNew && this.recovers) wire.deliver({ type: "recovery", receipt: makeReceipt(client, frame.logs, logs) });
  }

  #makeConnected(session: FakeSession, client: FakeClient, wentBack: boolean, logs: Record<string, Verdict>): object {
    return {
      type: "connected",
      session: { ...session.fields(), connection_state: "connected" },
      client_id: client.id,
      generation: client.generation,
      last_seq: client.lastSeq,
      went_back: wentBack,
      verdict: client.generation === 1 ? "none" : "full",
      reason: client.generation === 1 ? "new_client" : "resumed",
      logs,
      subscriptions: [],
      heartbeat: { interval: 25, missed_limit: 3, deadline: 35 },
      retry: { initial: 0.5, maximum: 20, factor: 2, attempts: 0 },
      ...this.settings,
    };
  }

  #handleConfigure(wire: FakeWire, { id, interval = 25, missed_limit = 3, batch = 0 }: Frame): void {
    const config = { interval, missed_limit, batch, deadline: Math.min(interval + 10, interval * missed_limit + 1) };
    if (interval >= 2) return wire.deliver({ type: "reply", id, config });
    const error = { code: 103, name: "invalid_field", temporary: false, field: "interval", allowed: [2, 55] };
    wire.deliver({ type: "error", id, message: "interval is from 2 to 55 here.", ...error });
  }

  #handleSubscribe(wire: FakeWire, session: FakeSession, client: FakeClient, frame: Frame): void {
    const log = this.#findLog(session, frame.log);
    if (!log) return wire.deliver({ type: "error", id: frame.id, ...this.#refuseTopic(frame.log) });
    const verdict = log.judgePosition(frame.position, frame.since);
    client.follows.add(frame.log);
    wire.deliver({ type: "reply", id: frame.id, verdict });
    for (const followed of log.listReplay(verdict)) wire.deliver(followed);
  }

  #handleHistory(wire: FakeWire, session: FakeSession, { id, log: name, before, limit }: Frame): void {
    const log = this.#findLog(session, name);
    if (!log) wire.deliver({ type: "error", id, ...makeTopicDenied() });
    else wire.deliver({ type: "reply", id, ...log.listPast(before, limit) });
  }

  #handleValue(wire: FakeWire, session: FakeSession, { id, log: name }: Frame): void {
    const log = this.#findLog(session, name);
    if (!log) return wire.deliver({ type: "error", id, ...makeTopicDenied() });
    wire.deliver({ type: "reply", id, position: log.position, data: this.values.get(name.slice("topic:".length)) ?? null });
  }

  /** Answer a frame about presence. Each client is a member with its own name; each change is an entry at once. */
  #handlePresence(wire: FakeWire, session: FakeSession, client: FakeClient, { type, id, log, data }: Frame): void {
    if (!this.#findLog(session, log)) return wire.deliver({ type: "error", id, ...makeTopicDenied() });
    const topic = `presence:${log.slice("topic:".length)}`;
    const there = this.present.get(topic) ?? new Map<string, Json>();
    this.present.set(topic, there);
    if (type === "members") {
      const { position } = this.topic(topic);
      return wire.deliver({ type: "reply", id, position, count: there.size, members: Object.fromEntries(there) });
    }
    const member = { data: data ?? null, since: "2026-11-23T12:00:00.000000Z" };
    const moved = { joined: {}, changed: {}, left: [] as string[] };
    if (type === "leave") moved.left = there.delete(client.id) ? [client.id] : [];
    else {
      moved[there.has(client.id) ? "changed" : "joined"] = { [client.id]: member };
      there.set(client.id, member);
    }
    wire.deliver({ type: "reply", id, ...(type === "enter" ? { member: client.id } : {}) });
    this.publish(topic, { count: there.size, ...moved });
  }

  #handleRefresh(wire: FakeWire, frame: Frame): void {
    const [status, body] = this.#entrance.refresh(frame);
    wire.deliver({ type: status === 200 ? "reply" : "error", id: frame.id, ...body });
  }

  #endAll(session: FakeSession, code: number): void {
    for (const [wire, attached] of this.#attached) if (attached.session === session) this.#sendBye(wire, code);
  }

  #decideWrite(wire: FakeWire, session: FakeSession, client: FakeClient, frame: Frame): void {
    const known = client.receipts.get(frame.seq);
    const content = describeContent(frame);
    if (known) {
      const isOther = (client.contents.get(frame.seq) ?? content) !== content;
      return this.#sendReceipt(wire, isOther ? makeReusedReceipt(frame.seq) : { ...known, replayed: true });
    }
    const refusal = frame.seq === client.lastSeq + 1 ? this.#refusals.shift() : makeGapError(client);
    const { seq } = frame;
    if (refusal?.temporary) return this.#sendReceipt(wire, { type: "receipt", seq, ok: false, error: refusal });
    const effect = (): Partial<ReceiptFrame> => this.#applyEffect(session, client, frame as never, seq);
    const receipt: ReceiptFrame = refusal
      ? { type: "receipt", seq, ok: false, error: refusal }
      : { type: "receipt", seq, ok: true, ...effect(), ...this.#reports.shift() };
    client.lastSeq = frame.seq;
    client.receipts.set(frame.seq, receipt);
    client.contents.set(frame.seq, content);
    this.#sendReceipt(wire, receipt);
  }

  #sendReceipt(wire: FakeWire, receipt: ReceiptFrame): void {
    if (!this.swallowReceipts) wire.deliver(receipt);
  }

  #applyEffect(session: FakeSession, client: FakeClient, write: WriteFrame, seq: number): Partial<ReceiptFrame> {
    if (write.type === "send") return { data: this.#onMessage(write.data) };
    if (write.type === "publish") return { position: this.publish(write.topic, write.data) };
    const document = session.document(write.doc);
    const operations = listOperations(write, document);
    const before = document.value;
    if (write.if_absent && document.head > 0) return { position: document.position, unchanged: true };
    if (operations.length === 0) return { position: document.position, unchanged: true };
    const entry = document.applyWrite(operations, { client_id: client.id, seq });
    this.#spreadEntry(document, entry, session);
    return { position: document.position, ...(areEqual(before, document.value) ? { unchanged: true } : {}) };
  }

  #spreadEphemeral(frame: Frame): void {
    for (const [wire, { client }] of this.#attached) {
      const follows = client.follows.has(`topic:${frame.topic}`);
      if (follows) wire.deliver({ type: "ephemeral", topic: frame.topic, data: frame.data });
    }
  }

  #spreadEntry(log: FakeLog, entry: Entry, owner: FakeSession = this.session): void {
    for (const [wire, { session, client }] of this.#attached) {
      const concerned = log.name.startsWith("topic:") || session === owner;
      if (!concerned || !client.follows.has(log.name)) continue;
      wire.deliver({ type: "entries", log: log.name, epoch: log.epoch, entries: [entry] });
    }
  }

  #findLog(session: FakeSession, name: string): FakeLog | null {
    if (name === "session") return session.log;
    const [, kind, rest = ""] = /^(\w+):(.*)$/s.exec(name) ?? [];
    const told = kind === "topic" ? rest : name;
    if (this.denied.has(told) || this.crowded.has(told)) return null;
    return kind === "state" ? session.document(rest) : this.topic(rest);
  }

  #refuseTopic(name: string): ErrorFields {
    const isCrowded = this.crowded.has(name.replace(/^topic:/, ""));
    return isCrowded ? { code: 300, name: "busy", temporary: true, message: "", retry_after: 5 } : makeTopicDenied();
  }

  #refuseConnect(wire: FakeWire, code: number): void {
    const name = closeName(code);
    wire.deliver({ type: "error", code, name, message: `The connection is refused: ${name}.`, temporary: false });
    this.#sendBye(wire, code);
  }

  #sendBye(wire: FakeWire, code: number, retryAfter: number | null = null, reason?: string): void {
    const reconnect = mayReconnect(code) || code === CLOSE.CLIENT_FORGOTTEN;
    const told = { code, name: closeName(code), reconnect, retry_after: retryAfter, ...(reason && { reason }) };
    wire.deliver({ type: "bye", ...told });
    wire.drop(code);
    this.#handleClose(wire);
  }

  #makeName(prefix: string): string {
    this.#names += 1;
    return `${prefix}${this.#names}`;
  }

  async #answerFetch(url: string, init: RequestInit): Promise<Response> {
    const { pathname } = new URL(url);
    this.requests.push(`${init.method} ${pathname}`);
    if (this.offline) throw new TypeError("no network");
    if (this.portal) return new Response("<html>Log in to the network</html>", { status: this.portal });
    const headers = new Headers(init.headers);
    const name = headers.get("X-Session-Name");
    const cookie = this.#hasCookies ? this.jar.find(name) : undefined;
    const token = headers.get("Authorization")?.slice("Bearer ".length) ?? cookie;
    const session = this.sessions.find(({ tokens }) => token !== undefined && tokens.isKnown(token));
    const body = typeof init.body === "string" ? JSON.parse(init.body) : {};
    if (this.#hasCookies && this.jar.isForged(init.method ?? "GET", headers)) {
      return makeResponse(403, { code: 204, name: "permission_denied", temporary: false, message: "" });
    }
    const proof = this.#hasCookies ? { auth: "cookie", name } : { ...(token !== undefined && { token }) };
    const connection = await this.http.answer(pathname, init, session, proof);
    if (connection) return connection;
    if (pathname.endsWith("/sessions/enter/")) return this.#answerEntrance(body);
    if (pathname.endsWith("/tokens/refresh/")) return this.#answerIdentity(this.#entrance.refresh(body));
    if (pathname.endsWith("/login/")) return makeResponse(200, { user_id: this.login.user, csrf: this.jar.csrf });
    if (init.method === "POST" && pathname.endsWith("/sessions/")) return makeResponse(201, this.#createSession());
    if (!session || session.state !== "active") {
      return makeResponse(401, { code: 200, name: "invalid_token", temporary: false, message: "" });
    }
    return this.#answerSession(session, init.method ?? "GET", new URL(url), body);
  }

  #answerSession(session: FakeSession, method: string, url: URL, body: Json): Response {
    const path = url.pathname;
    if (path.includes("/state/")) {
      const write = (document: FakeDocument, value: Json): void =>
        this.#spreadEntry(document, document.applyWrite([["set", "", value]]), session);
      const { status, body: told, headers } = answerRequest(session, url, { method, body, write });
      return status === 204 ? new Response(null, { status }) : makeResponse(status, told, headers);
    }
    if (path.endsWith("/narrow/")) return makeResponse(...answerNarrow(session, body));
    if (path.includes("/devices/")) return this.#answerDevices(session, method, path);
    if (path.endsWith("/recover/")) {
      const gone = { code: 214, name: "not_recoverable", temporary: false, message: "" };
      if (!session.isRecoverable) return makeResponse(410, gone);
      return makeResponse(201, this.#createSession(describeSuccessor(session)));
    }
    if (path.endsWith("/sessions/")) return makeResponse(200, { results: this.sessions.map((each) => each.fields()) });
    if (path.endsWith("/validate/")) return makeResponse(200, { valid: session.state === "active", reason: null });
    if (method === "DELETE") this.terminate();
    return method === "DELETE" ? new Response(null, { status: 204 }) : makeResponse(200, session.fields());
  }

  #answerDevices(session: FakeSession, method: string, path: string): Response {
    const id = decodeURIComponent(/devices\/([^/]*)/.exec(path)?.[1] ?? "");
    const end = (each: FakeSession): void => {
      each.state = "terminated";
      this.#endAll(each, CLOSE.SESSION_TERMINATED);
    };
    const [status, told] = answerDevices(session, this.sessions, { method, id, end });
    return status === 204 ? new Response(null, { status }) : makeResponse(status, told);
  }

  #answerEntrance(body: Json): Response {
    const cookie = this.#hasCookies ? this.jar.find(body.name) : undefined;
    return this.#answerIdentity(this.#entrance.enter(body, cookie), body.name);
  }

  #answerIdentity([status, body, cookie]: Told, name?: string | null): Response {
    if (this.lostAnswers > 0) {
      this.lostAnswers -= 1;
      throw new TypeError("the answer was lost");
    }
    if (cookie !== undefined) this.jar.keep(name, cookie);
    return makeResponse(status, body);
  }

  get #hasCookies(): boolean {
    return this.login.tokenMode === "cookie";
  }

  #makeSession(before?: FakeSession): FakeSession {
    const session = new FakeSession(this.#makeName("session-"), this.login.user, (prefix) => this.#makeName(prefix));
    for (const [name, { value }] of before?.documents ?? []) session.document(name).applyWrite([["set", "", value]]);
    this.sessions.push(session);
    return session;
  }

  #createSession(more: object = {}): object {
    const session = this.#makeSession();
    return {
      session: session.fields(),
      token: session.token,
      positions: { session: session.log.position },
      endpoints: { websocket: "/ws/session/", session: `/api/sessions/${session.id}/` },
      ...more,
    };
  }
}

function listOperations(write: UpdateFrame, document: FakeDocument): Operation[] {
  if (write.ops) return write.ops;
  return [["set", "", "merge" in write ? mergePatch(document.value, write.merge) : write.data]];
}

function makeReceipt(client: FakeClient, asked: Json, logs: Record<string, Verdict>): object {
  const listRanges = (mode: string): object =>
    Object.fromEntries(
      Object.entries(logs)
        .filter(([, verdict]) => verdict.mode === mode)
        .map(([name, { from, to }]) => [name, [mode === "entries" ? (from as number) + 1 : from, to]]),
    );
  const { generation } = client;
  const fixed = { id: "1", verdict: "full", reason: "resumed", generation, duration_ms: 1, queries: 1 };
  return { ...fixed, asked, replayed: listRanges("entries"), lost: listRanges("gap") };
}

function describeSuccessor({ id, documents }: FakeSession): object {
  const fixed = { verdict: "state_only", reason: "session_expired", subscriptions: [] };
  return { receipt: { ...fixed, recovered_from: id, documents: [...documents.keys()] } };
}

function makeGapError(client: FakeClient): ErrorFields {
  return { code: 230, name: "seq_gap", temporary: true, message: "", expected: client.lastSeq + 1 };
}

function makeReusedReceipt(seq: number): ReceiptFrame {
  return { type: "receipt", seq, ok: false, error: { code: 231, name: "seq_reused", temporary: false, message: "" } };
}

/** Return a text that is equal for equal writes; their base may differ. */
function describeContent({ base, epoch, tag, replaced, ...content }: Frame): string {
  return JSON.stringify(content);
}

function makeTopicDenied(): ErrorFields {
  return { code: 250, name: "topic_denied", temporary: false, message: "" };
}

function makeResponse(status: number, body: object, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });
}
