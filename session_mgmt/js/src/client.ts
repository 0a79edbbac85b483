/** The one object that an application holds. It joins the parts; each of them knows one thing. */

import { Auth } from "./auth";
import type { SyncOptions } from "./batch";
import { Connection } from "./connection";
import { ConnectionControls } from "./controls";
import type { Copies } from "./copies";
import { Credentials } from "./credentials";
import type { Owner } from "./database";
import { Documents, fetchDocument } from "./documents";
import { Emitter, type Unsubscribe } from "./emitter";
import { environment, type Clock, type Environment } from "./environment";
import { quiet, SessionError } from "./errors";
import type { SessionEntry, SessionEvents, Status } from "./events";
import { AGENT } from "./frames";
import type { ConnectedFrame, ErrorFrame, Position, RecoveryReceipt, ServerFrame, SessionFields } from "./frames";
import type { Strategy, SuccessorReceipt, Verdict } from "./frames";
import { sessionInfo, type SessionInfo } from "./info";
import { Life } from "./life";
import { Logbook } from "./logbook";
import { absolute, openCopies, tellLater, warnOnce, type StartOptions } from "./options";
import { DEFAULT_BOUNDS, type OutboxBounds } from "./outbox";
import type { DocumentHead } from "./past";
import { ClientRecord } from "./record";
import { Rest } from "./rest";
import { Sessions } from "./sessions";
import type { StateDocument, WriteOptions } from "./state";
import { Stats, type ClientStats } from "./stats";
import { Shelf } from "./storage";
import { SESSION_LOG, Timeline } from "./timeline";
import { Topics } from "./topics";
import { checked, type Json } from "./values";
import { Writer } from "./writer";

interface Parts {
  env: Environment;
  rest: Rest;
  credentials: Credentials;
  record: ClientRecord;
  emitter: Emitter<SessionEvents>;
  bounds: OutboxBounds;
  strategy: Strategy | undefined;
  sync: SyncOptions | undefined;
  copies: Copies | null;
  keepsSealed: boolean;
  scope: string;
  /** Where the logs of a session begin that was created just now. */
  begins: Record<string, Position>;
}

export class SessionClient {
  readonly state: StateDocument;
  readonly topics: Topics;
  readonly connection: ConnectionControls;
  readonly sessions: Sessions;
  readonly auth: Auth;
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #record: ClientRecord;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats = new Stats();
  readonly #connection: Connection;
  readonly #logbook: Logbook;
  readonly #writer: Writer;
  readonly #documents: Documents;
  readonly #copies: Copies | null;
  readonly #life: Life;
  /** What the last connection told about the session; null before the first. */
  #fields: SessionFields | null = null;
  /** The logs that this connection's `connect` asked for. */
  #asked: ReadonlySet<string> = new Set();

  /**
   * Resumes this tab's client, or joins the browser's session, or creates one; resolves without waiting for the
   * connection. Rejects if a session is needed and the server refuses or does not answer.
   */
  static async start(options: StartOptions = {}): Promise<SessionClient> {
    const env = environment(options);
    const base = absolute(options.url ?? "/api/");
    const scope = `session-mgmt:${base}:${options.name ?? "default"}:`;
    const emitter = new Emitter<SessionEvents>();
    const tell = tellLater(env, emitter);
    const warn = warnOnce(tell);
    const rest = new Rest(env, base, options.headers);
    const store = options.share === "tab" ? env.session : env.local;
    const credentials = new Credentials(env, rest, new Shelf(store, scope, warn), scope, options.user);
    const begins = await credentials.obtain(options.create ?? {});
    const slot = `${scope}client:${options.slot ?? ""}:`;
    const [record, copies] = await Promise.all([
      ClientRecord.open(env, new Shelf(env.session, slot, warn), slot),
      openCopies(options, env, ownerOf(scope, credentials), tell),
    ]);
    const { strategy, sync } = options;
    const keepsSealed = typeof options.cache === "object" && options.cache.encrypted === true;
    const bounds = { ...DEFAULT_BOUNDS, ...options.outbox };
    const kept = { record, copies, keepsSealed, scope, begins };
    const client = new SessionClient({ env, rest, credentials, emitter, bounds, strategy, sync, ...kept });
    if (options.autoConnect !== false) void client.#connection.connect();
    return client;
  }

  private constructor({ env, rest, credentials, record, emitter, bounds, sync, copies, ...more }: Parts) {
    this.#rest = rest;
    this.#credentials = credentials;
    this.#record = record;
    this.#emitter = emitter;
    this.#connection = this.#newConnection(env);
    const logbook = (this.#logbook = this.#newLogbook());
    const writer = (this.#writer = this.#newWriter(env, bounds, sync));
    this.#copies = copies;
    const documents = (this.#documents = this.#newDocuments(env.clock, more.strategy, more.keepsSealed));
    const timeline = new Timeline(record, emitter, this.#stats);
    const { clock } = env;
    const recovered = (receipt: SuccessorReceipt): void => this.#recovered(receipt);
    const owner = (): Owner => ownerOf(more.scope, credentials);
    const logs = { documents, logbook, timeline };
    this.#life = new Life({ credentials, record, writer, ...logs, emitter, copies, owner, clock, recovered });
    this.#life.settleIn(more.begins[SESSION_LOG]);
    logbook.follow(SESSION_LOG, timeline);
    this.state = documents.get("main");
    this.topics = this.#newTopics();
    this.sessions = new Sessions(rest, credentials, emitter, () => this.clearCache());
    this.auth = new Auth(credentials, this.sessions, emitter);
    this.connection = new ConnectionControls(this.#connection, emitter, clock, {
      send: (data, options) => this.send(data, options),
      stats: () => this.stats(),
    });
  }

  get id(): string {
    return this.#credentials.session.session_id;
  }

  /** The server's name for this tab; null before the first connection. */
  get clientId(): string | null {
    return this.#record.client;
  }

  get info(): SessionInfo {
    return sessionInfo(this.#fields ?? this.#credentials.session, this.status);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** Writes without an answer. */
  get pending(): number {
    return this.#writer.outbox.size;
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
    return quiet(this.#writer.send(data, signal));
  }

  /** Sends the updates that delayed synchronisation holds back. */
  flush(): void {
    this.#writer.flush();
  }

  /** A named document; `main` is `state`. */
  document(name: string): StateDocument {
    return this.#documents.get(name);
  }

  /** Removes the local copies of this session from the browser and keeps no more; for a button that logs out. */
  async clearCache(): Promise<void> {
    await this.#copies?.wipe();
  }

  /** All documents of the session, without their data. */
  documents(): Promise<DocumentHead[]> {
    return this.#documents.list();
  }

  stats(): ClientStats {
    return this.#stats.summary(this.pending);
  }

  /**
   * Ends this object: no callback, timer or listener of it is left. Unanswered writes stay for the next start in this
   * tab.
   */
  destroy(): void {
    this.#writer.flush();
    this.connection.stopHeartbeat();
    this.#emitter.clear();
    this.topics.clear();
    this.#documents.clear();
    this.#connection.destroy();
    this.#writer.destroy();
    this.#record.release();
    this.#copies?.close();
  }

  #newConnection(env: Environment): Connection {
    const port = {
      address: () => this.#address(),
      connect: () => this.#connectFrame(),
      connected: (frame: ConnectedFrame) => this.#connected(frame),
      frame: (frame: ServerFrame) => this.#frame(frame),
      detached: () => {
        this.#logbook.detach();
        this.#writer.outbox.detach();
      },
      status: (...change: SessionEvents["status"]) => this.#emitter.emit("status", ...change),
      repair: (code: number, wasReady: boolean) => this.#life.repair(code, wasReady),
    };
    return new Connection(env, port, this.#stats);
  }

  #newLogbook(): Logbook {
    return new Logbook({
      ask: (frame, answer) => this.#connection.ask(frame, (reply) => answered(reply, answer)),
      fetchDocument: (url) => fetchDocument(this.#rest, url, this.#credentials.token),
      lost: () => this.#connection.abandon(),
      gap: (gap) => {
        this.#stats.count("gaps");
        this.#emitter.emit("gap", gap);
      },
    });
  }

  #newWriter(env: Environment, bounds: OutboxBounds, sync: SyncOptions | undefined): Writer {
    const port = {
      send: (frame: object) => this.#connection.send(frame),
      replica: (name: string) => this.#documents.replica(name),
      stuck: () => this.#connection.abandon(),
    };
    const { page, clock } = env;
    return new Writer(this.#record, clock, bounds, this.#emitter, this.#stats, port, sync && { ...sync, page });
  }

  #newDocuments(clock: Clock, strategy: Strategy | undefined, keepsSealed: boolean): Documents {
    return new Documents({
      logbook: this.#logbook,
      writer: this.#writer,
      rest: this.#rest,
      credentials: this.#credentials,
      record: this.#record,
      strategy,
      clock,
      copies: this.#copies,
      keepsSealed,
      cached: (document, fromCache) => this.#emitter.emit("cache", { document, fromCache }),
      denied: (document, error) => this.#tellDenied({ document }, error),
    });
  }

  #newTopics(): Topics {
    return new Topics(this.#logbook, this.#record, this.#stats, {
      publish: async (frame, signal) => (await this.#writer.publish(frame, signal)).position ?? null,
      publishEphemeral: async (topic, data) => {
        this.#writer.flush();
        const checkedData = checked(data, this.#writer.limits);
        this.#connection.send({ type: "publish", topic, data: checkedData, ephemeral: true });
        return null;
      },
      denied: (topic, error) => this.#tellDenied({ topic }, error),
    });
  }

  #address(): string {
    this.#life.adopt("session_changed");
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
      acked: this.#writer.outbox.acked,
      logs,
      capabilities: [],
      agent: AGENT,
    };
  }

  #connected(frame: ConnectedFrame): void {
    this.#fields = frame.session;
    this.#record.belongTo(frame.session.session_id, frame.client_id);
    this.#documents.decided = frame.last_seq;
    this.#writer.takeLimits(frame.limits ?? {});
    this.#logbook.attach(this.#asked, frame.logs);
    this.#writer.outbox.attach(frame.last_seq);
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
        return this.#writer.receipt(frame);
      case "recovery":
        return this.#recovered(frame.receipt);
      case "ephemeral":
        return this.topics.ephemeral(frame.topic, frame.data);
      case "ping":
        if (typeof frame.rtt_ms === "number") this.#stats.latency(frame.rtt_ms);
        this.#connection.send({ type: "pong", ping: frame.ping, acked: this.#writer.outbox.acked });
        return;
      case "error":
        return this.#errorFrame(frame);
    }
  }

  #recovered(receipt: RecoveryReceipt | SuccessorReceipt): void {
    this.#stats.recovered(receipt.verdict);
    this.#emitter.emit("recovery", receipt);
  }

  #errorFrame({ type: _type, id: _id, seq, ...error }: ErrorFrame): void {
    // An error with a number answers that write, as a receipt would.
    if (seq !== undefined) return this.#writer.receipt({ type: "receipt", seq, ok: false, error });
    this.#emitter.emit("error", new SessionError(error));
  }

  #tellDenied(facts: Record<string, string>, { code, name, temporary, message }: SessionError): void {
    this.#emitter.emit("error", new SessionError({ code, name, temporary, message, ...facts }));
  }
}

function ownerOf(scope: string, { session }: Credentials): Owner {
  return [scope, session.user_id ?? "", session.session_id];
}

function answered(frame: ServerFrame, answer: (verdict: Verdict | SessionError) => void): void {
  if (frame.type === "reply" && frame.verdict) answer(frame.verdict);
  else if (frame.type === "error") answer(new SessionError(frame));
}
