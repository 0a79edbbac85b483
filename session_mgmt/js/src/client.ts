/** The one object that an application holds. It joins the parts; each of them knows one thing. */

import { Auth } from "./auth";
import { CLOSE } from "./codes";
import { Connection, type Repair } from "./connection";
import { ConnectionControls } from "./controls";
import { Credentials, type CreateOptions } from "./credentials";
import { Emitter, type Unsubscribe } from "./emitter";
import { environment, type Environment, type Surroundings } from "./environment";
import { quiet, SessionError, type ErrorFields } from "./errors";
import type { SessionEntry, SessionEvents, Status } from "./events";
import {
  AGENT,
  type ConnectedFrame,
  type Position,
  type ReceiptFrame,
  type ServerFrame,
  type SessionFields,
  type UpdateFrame,
  type Verdict,
  type WriteFrame,
} from "./frames";
import { sessionInfo, type SessionInfo } from "./info";
import { Logbook } from "./logbook";
import { DEFAULT_BOUNDS, Outbox, unsent, type OutboxBounds, type Write } from "./outbox";
import { ClientRecord } from "./record";
import { Replica } from "./replica";
import { Rest } from "./rest";
import { Sessions } from "./sessions";
import { StateDocument, type WriteOptions } from "./state";
import { Stats, type ClientStats } from "./stats";
import { Shelf } from "./storage";
import { SESSION_LOG, Timeline } from "./timeline";
import { Topics } from "./topics";
import { byteLength, checked, DEFAULT_VALUE_LIMITS, type Json, type ValueLimits } from "./values";

export interface StartOptions extends Surroundings {
  /** Where `session_mgmt.urls` is included. */
  url?: string;
  /** Whether the tabs of a browser share one session. */
  share?: "browser" | "tab";
  /** Separates several sessions of one site. */
  name?: string;
  /** Separates several clients of one page, or of frames of one tab; each needs its own. */
  slot?: string;
  /** Further headers of calls that use the page's own login, such as a CSRF token under another name. */
  headers?: () => Record<string, string>;
  create?: CreateOptions;
  autoConnect?: boolean;
  outbox?: Partial<OutboxBounds>;
}

interface Parts {
  env: Environment;
  rest: Rest;
  credentials: Credentials;
  record: ClientRecord;
  emitter: Emitter<SessionEvents>;
  bounds: OutboxBounds;
}

const FRAME_BYTES = 262_144;
/** What a frame says around its write. */
const FRAME_MARGIN = 64;

export class SessionClient {
  readonly state: StateDocument;
  readonly topics: Topics;
  readonly connection: ConnectionControls;
  readonly sessions: Sessions;
  readonly auth: Auth;
  readonly #env: Environment;
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #record: ClientRecord;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats = new Stats();
  readonly #connection: Connection;
  readonly #logbook: Logbook;
  readonly #outbox: Outbox;
  readonly #timeline: Timeline;
  readonly #documents = new Map<string, { replica: Replica; document: StateDocument }>();
  #fields: SessionFields;
  #asked: ReadonlySet<string> = new Set();
  /** The last number that the server had decided when this connection began. */
  #decided = 0;
  #limits: ValueLimits = DEFAULT_VALUE_LIMITS;
  #frameBytes = FRAME_BYTES;

  /**
   * Resumes this tab's client, or joins the browser's session, or creates one; resolves without waiting for the
   * connection. Rejects if a session is needed and the server refuses or does not answer.
   */
  static async start(options: StartOptions = {}): Promise<SessionClient> {
    const env = environment(options);
    const base = absolute(options.url ?? "/api/");
    const scope = `session-mgmt:${base}:${options.name ?? "default"}:`;
    const emitter = new Emitter<SessionEvents>();
    const warn = warnOnce(env, emitter);
    const rest = new Rest(env, base, options.headers);
    const store = options.share === "tab" ? env.session : env.local;
    const credentials = new Credentials(env, rest, new Shelf(store, scope, warn), scope);
    const begins = await credentials.obtain(options.create ?? {});
    const slot = `${scope}client:${options.slot ?? ""}:`;
    const record = await ClientRecord.open(env, new Shelf(env.session, slot, warn), slot);
    if (begins[SESSION_LOG]) record.setPosition(SESSION_LOG, begins[SESSION_LOG]);
    const bounds = { ...DEFAULT_BOUNDS, ...options.outbox };
    const client = new SessionClient({ env, rest, credentials, record, emitter, bounds });
    if (options.autoConnect !== false) void client.#connection.connect();
    return client;
  }

  private constructor({ env, rest, credentials, record, emitter, bounds }: Parts) {
    this.#env = env;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#record = record;
    this.#emitter = emitter;
    this.#fields = credentials.session;
    this.#timeline = new Timeline(record, emitter, this.#stats);
    this.#connection = this.#newConnection();
    this.#logbook = this.#newLogbook();
    this.#outbox = this.#newOutbox(bounds);
    this.sessions = new Sessions(rest, credentials, emitter);
    this.auth = new Auth(credentials, this.sessions, emitter);
    this.topics = this.#newTopics();
    this.connection = new ConnectionControls(this.#connection, emitter, env.clock, {
      send: (data, options) => this.send(data, options),
      stats: () => this.stats(),
    });
    this.#startInSession(begunElsewhere(record, this.id));
    this.#logbook.follow(SESSION_LOG, this.#timeline);
    this.state = this.document("main");
  }

  get id(): string {
    return this.#credentials.session.session_id;
  }

  /** The server's name for this tab; null before the first connection. */
  get clientId(): string | null {
    return this.#record.client;
  }

  get info(): SessionInfo {
    return sessionInfo(this.#fields, this.status);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** Writes without an answer. */
  get pending(): number {
    return this.#outbox.size;
  }

  on<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe {
    return this.#emitter.on(type, callback);
  }

  /** Messages that the server sent to this session. */
  onMessage(callback: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.on("message", callback);
  }

  /** Calls the application's handler once, also over drops and reloads; resolves with what it returned. */
  send(data: Json, { signal }: WriteOptions = {}): Promise<Json> {
    const answer = this.#write(() => ({ type: "send", data: checked(data, this.#limits) }), signal);
    return quiet(answer.then((receipt) => receipt.data));
  }

  /** A named document; `main` is `state`. */
  document(name: string): StateDocument {
    return (this.#documents.get(name) ?? this.#newDocument(name)).document;
  }

  stats(): ClientStats {
    return this.#stats.summary(this.pending);
  }

  /** Ends this object: no callback, timer or listener of it is left. Unanswered writes stay for the next start in this tab. */
  destroy(): void {
    this.connection.stopHeartbeat();
    this.#emitter.clear();
    this.topics.clear();
    for (const { replica } of this.#documents.values()) replica.clear();
    this.#connection.destroy();
    this.#outbox.detach();
    this.#record.release();
    const error = SessionError.local("destroyed", "The client was destroyed; its writes wait for the next start.");
    for (const write of this.#outbox.writes) write.settle?.(error);
  }

  #newConnection(): Connection {
    return new Connection(
      this.#env,
      {
        address: () => this.#address(),
        connect: () => this.#connectFrame(),
        connected: (frame) => this.#connected(frame),
        frame: (frame) => this.#frame(frame),
        detached: () => this.#detached(),
        status: (status, reason) => this.#emitter.emit("status", status, reason),
        repair: (code, wasReady) => this.#repair(code, wasReady),
      },
      this.#stats,
    );
  }

  #newLogbook(): Logbook {
    return new Logbook({
      ask: (frame, answer) => this.#connection.ask(frame, (reply) => answered(reply, answer)),
      fetchDocument: (url) => this.#fetchDocument(url),
      lost: () => this.#connection.abandon(),
      gap: (gap) => {
        this.#stats.count("gaps");
        this.#emitter.emit("gap", gap);
      },
    });
  }

  #newOutbox(bounds: OutboxBounds): Outbox {
    const port = {
      send: (frame: object) => this.#connection.send(frame),
      rebase: (write: Write) => this.#rebase(write),
      stuck: () => this.#connection.abandon(),
    };
    return new Outbox(this.#record, this.#env.clock, port, bounds);
  }

  #newTopics(): Topics {
    return new Topics(this.#logbook, this.#record, this.#stats, {
      publish: async (frame, signal) => {
        const data = checked(frame.data, this.#limits);
        const receipt = await this.#write(() => ({ type: "publish", ...frame, data }), signal);
        return receipt.position ?? null;
      },
      publishEphemeral: async (topic, data) => {
        this.#connection.send({ type: "publish", topic, data: checked(data, this.#limits), ephemeral: true });
        return null;
      },
      denied: (topic, error) => this.#tellDenied({ topic }, error),
    });
  }

  #newDocument(name: string): { replica: Replica; document: StateDocument } {
    const replica = new Replica();
    const client = this;
    const document = new StateDocument(name, replica, {
      update: (frame, signal) => this.#write(() => frame, signal),
      request: (method, path, body) => this.#stateRequest(name, method, path, body),
      sync: () => this.#sync(name, replica),
      get limits() {
        return client.#limits;
      },
    });
    this.#documents.set(name, { replica, document });
    for (const write of this.#outbox.writes) if (updates(write, name)) replica.expect(write);
    this.#logbook.follow(`state:${name}`, {
      start: null,
      moved: (position) => replica.moved(position),
      entry: (body) => replica.advance(body.ops, body.client_id === this.clientId ? (body.seq ?? null) : null),
      settled: () => replica.settled(),
      snapshot: (data) => replica.replace(data, this.#decided),
      awaitSnapshot: () => replica.awaitSnapshot(),
      denied: (error) => this.#tellDenied({ document: name }, error),
    });
    return { replica, document };
  }

  /** Numbers and keeps a write; resolves with its good receipt, rejects with the refusal. */
  #write(content: () => WriteFrame, signal?: AbortSignal): Promise<ReceiptFrame> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const frame = content();
      if (byteLength(JSON.stringify(frame)) + FRAME_MARGIN > this.#frameBytes) {
        // The server would end the connection for it, again and again.
        return reject(SessionError.local("frame_too_large", `A write is larger than ${this.#frameBytes} bytes.`));
      }
      const write = this.#outbox.add(frame);
      write.settle = (answer) => (answer instanceof SessionError ? reject(answer) : resolve(answer));
      if (frame.type === "update") this.#documents.get(frame.doc)?.replica.expect(write);
      signal?.addEventListener("abort", () => this.#aborted(write, signal, reject), { once: true });
    });
  }

  #aborted(write: Write, signal: AbortSignal, reject: (reason: unknown) => void): void {
    if (this.#outbox.withdraw(write)) this.#replicaOf(write)?.answered(write, null);
    reject(signal.reason);
  }

  #address(): string {
    if (this.#credentials.adopt()) this.#enterSession("session_changed");
    const url = new URL(this.#credentials.endpoints.websocket, this.#rest.base);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  #connectFrame(): object {
    const logs = this.#logbook.positions();
    this.#asked = new Set(Object.keys(logs));
    return {
      type: "connect",
      token: this.#credentials.token,
      client_id: this.clientId,
      acked: this.#outbox.acked,
      logs,
      capabilities: [],
      agent: AGENT,
    };
  }

  #connected(frame: ConnectedFrame): void {
    this.#fields = frame.session;
    this.#record.belongTo(frame.session.session_id, frame.client_id);
    this.#decided = frame.last_seq;
    this.#takeLimits(frame.limits ?? {});
    this.#logbook.attach(this.#asked, frame.logs);
    this.#outbox.attach(frame.last_seq);
  }

  #detached(): void {
    this.#logbook.detach();
    this.#outbox.detach();
  }

  #frame(frame: ServerFrame): void {
    switch (frame.type) {
      case "entries":
        return this.#logbook.entries(frame);
      case "snapshot":
        return this.#logbook.snapshot(frame);
      case "gap":
        return this.#logbook.gap(frame);
      case "receipt":
        return this.#receipt(frame);
      case "recovery":
        this.#stats.recovered(frame.receipt.verdict);
        return this.#emitter.emit("recovery", frame.receipt);
      case "ephemeral":
        return this.topics.ephemeral(frame.topic, frame.data);
      case "ping":
        if (typeof frame.rtt_ms === "number") this.#stats.latency(frame.rtt_ms);
        this.#connection.send({ type: "pong", ping: frame.ping, acked: this.#outbox.acked });
        return;
      case "error":
        return this.#errorFrame(frame);
    }
  }

  #receipt(frame: ReceiptFrame): void {
    const write = this.#outbox.receipt(frame);
    if (!write) return;
    this.#stats.count(frame.ok ? "receipts" : "refusals");
    this.#replicaOf(write)?.answered(write, frame.ok ? (frame.position ?? null) : null);
    if (frame.ok) return write.settle?.(frame);
    const error = new SessionError(frame.error ?? {});
    this.#emitter.emit("error", error);
    write.settle?.(error);
  }

  #errorFrame({ type: _type, id: _id, seq, ...fields }: ErrorFields & { type: string; id?: number; seq?: number }): void {
    // An error with a number answers that write, as a receipt would.
    if (seq !== undefined) return this.#receipt({ type: "receipt", seq, ok: false, error: fields });
    this.#emitter.emit("error", new SessionError(fields));
  }

  #rebase(write: Write): void {
    if (write.frame.type !== "update") return;
    const replica = this.#replicaOf(write);
    // Of a document that this page does not follow no version is known.
    const { base: _base, epoch: _epoch, ...frame } = write.frame;
    const at = replica?.position;
    write.frame = at ? { ...frame, base: at[1], epoch: at[0] } : replica ? write.frame : frame;
  }

  #repair(code: number, wasReady: boolean): Repair | Promise<Repair> | null {
    switch (code) {
      case CLOSE.CLIENT_FORGOTTEN:
        this.#newLife("client_forgotten");
        return "reconnect";
      case CLOSE.SESSION_EXPIRED:
        return this.#recover();
      case CLOSE.INVALID_TOKEN:
        return this.#refused("invalid_token", "auth_required");
      case CLOSE.SESSION_TERMINATED:
        return this.#refused("session_terminated", "session_terminated");
      case CLOSE.INVALID_FRAME:
        if (!wasReady) return null;
        // One of the writes may be why; sent again by the next page, it would end that page's connection too.
        this.#newLife("invalid_frame");
        return "stop";
      default:
        return null;
    }
  }

  #refused(reason: string, event: "auth_required" | "session_terminated" | "session_expired"): Repair {
    if (this.#credentials.adopt()) {
      this.#enterSession(reason);
      return "reconnect";
    }
    this.#credentials.forget();
    this.#newLife(reason);
    this.#timeline.announce(event, { reason });
    return "stop";
  }

  async #recover(): Promise<Repair> {
    try {
      await this.#credentials.recover();
      this.#enterSession("session_expired");
      return "reconnect";
    } catch (error) {
      const failure = error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
      this.#emitter.emit("error", failure);
      // Coming back with the old token leads here again, after the next wait.
      return failure.temporary ? "reconnect" : this.#refused("session_expired", "session_expired");
    }
  }

  /** This client begins anew under another name; what it had not confirmed goes to the application. */
  #newLife(reason: string): void {
    const writes = this.#outbox.abandon();
    this.#record.belongTo(this.id, null);
    for (const { replica } of this.#documents.values()) replica.dropPending();
    const error = SessionError.local(reason, `The write can no longer be sent: ${reason}.`);
    for (const write of writes) write.settle?.(error);
    if (writes.length > 0) this.#emitter.emit("unsent", unsent(writes), reason);
  }

  /** As `#newLife`, in another session: its documents and its own log are other logs; topics are the same ones. */
  #enterSession(reason: string): void {
    this.#fields = this.#credentials.session;
    this.#logbook.forget(this.#logbook.names().filter((name) => !name.startsWith("topic:")));
    this.#newLife(reason);
  }

  /** A record of an earlier session: its writes belong to that one. Told later, when the application listens. */
  #startInSession(stale: boolean): void {
    if (!stale) return void this.#record.belongTo(this.id, this.clientId);
    this.#record.setPosition(SESSION_LOG, null);
    const writes = this.#outbox.abandon();
    this.#record.belongTo(this.id, null);
    if (writes.length === 0) return;
    this.#env.clock.setTimeout(() => this.#emitter.emit("unsent", unsent(writes), "session_changed"), 0);
  }

  #replicaOf(write: Write): Replica | undefined {
    return write.frame.type === "update" ? this.#documents.get(write.frame.doc)?.replica : undefined;
  }

  #tellDenied(facts: Record<string, string>, error: SessionError): void {
    const { code, name, temporary, message } = error;
    this.#emitter.emit("error", new SessionError({ code, name, temporary, message, ...facts }));
  }

  #takeLimits(limits: Record<string, number>): void {
    this.#frameBytes = limits.frame_bytes ?? FRAME_BYTES;
    this.#limits = {
      depth: limits.depth ?? DEFAULT_VALUE_LIMITS.depth,
      keyBytes: limits.key_bytes ?? DEFAULT_VALUE_LIMITS.keyBytes,
      stringBytes: limits.string_bytes ?? DEFAULT_VALUE_LIMITS.stringBytes,
    };
  }

  async #fetchDocument(url: string): Promise<{ data: Json; position: Position }> {
    const { body, etag } = await this.#rest.request("GET", url, { token: this.#credentials.token });
    const parts = /"(.+)\.(\d+)\.([^.]*)"$/.exec(etag ?? "");
    if (!parts) throw SessionError.local("no_position", "The document came without its ETag.");
    return { data: body.data, position: [parts[1] as string, Number(parts[2]), parts[3] as string] };
  }

  async #stateRequest(name: string, method: string, path: string, body?: unknown): Promise<Json> {
    const address = `sessions/${this.id}/state/${encodeURIComponent(name)}/${path}`;
    return (await this.#rest.request(method, address, { body, token: this.#credentials.token })).body;
  }

  async #sync(name: string, replica: Replica): Promise<void> {
    const answer = await this.#stateRequest(name, "POST", "sync/", { position: replica.position });
    this.#logbook.synced(`state:${name}`, answer);
  }
}

function begunElsewhere(record: ClientRecord, session: string): boolean {
  return record.session !== null && record.session !== session;
}

function updates(write: Write, name: string): boolean {
  return write.frame.type === "update" && (write.frame as UpdateFrame).doc === name;
}

function answered(frame: ServerFrame, answer: (verdict: Verdict | SessionError) => void): void {
  if (frame.type === "reply" && frame.verdict) answer(frame.verdict);
  else if (frame.type === "error") answer(new SessionError(frame));
}

function absolute(url: string): string {
  const page = typeof location === "undefined" ? undefined : location.href;
  const base = new URL(url, page).href;
  return base.endsWith("/") ? base : `${base}/`;
}

function warnOnce(env: Environment, emitter: Emitter<SessionEvents>): () => void {
  let warned = false;
  return () => {
    if (warned) return;
    warned = true;
    const error = SessionError.local("storage_unavailable", "The browser keeps nothing; a reload loses unanswered writes.");
    // Not before the application has had its chance to listen.
    env.clock.setTimeout(() => emitter.emit("error", error), 0);
  };
}
