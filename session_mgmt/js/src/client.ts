/** Client that an application holds. It builds the parts of the client, and connects them with each other. */

import type { Adoption } from "./adoption";
import { Auth } from "./auth";
import type { AnyApplication, ApplicationTypes, DocumentOf, Returned, Sent, TypeOf } from "./application";
import { askForReply } from "./asking";
import { Connection, type ConnectionPort } from "./connection";
import { ConnectionControls } from "./controls";
import type { Copies } from "./copies";
import type { Credentials } from "./credentials";
import type { Owner } from "./database";
import type { Documents } from "./documents";
import type { Emitter, Unsubscribe } from "./emitter";
import { readEnvironment, type Environment, type Surroundings } from "./environment";
import { replaceFacts, SessionError, silenceRejection } from "./errors";
import type { SessionEntry, SessionEvents, Status, StatusReason } from "./events";
import type { SessionFields, SuccessorReceipt } from "./frames";
import { Handshake } from "./handshake";
import type { Identity } from "./identity";
import { Inbox } from "./inbox";
import type { SessionInfo } from "./info";
import { Life } from "./life";
import { Logbook } from "./logbook";
import type { StartOptions } from "./options";
import { loadDebug, loadOutboxes, loadSending } from "./parts";
import type { DocumentHead } from "./past";
import type { Outboxes } from "./outboxes";
import { askBeforeLeaving, watchCache, watchPage } from "./page";
import { Pending } from "./pending";
import type { ClientRecord } from "./record";
import type { Rest } from "./rest";
import { Sessions } from "./sessions";
import type { StateDocument, WriteOptions } from "./state";
import { Stats, type ClientStats } from "./stats";
import { Shelf } from "./storage";
import { nameOwner, nameScope, prepareStart, type Parts } from "./startup";
import { SESSION_LOG, Timeline } from "./timeline";
import type { Topics } from "./topics";
import type { Transport, TransportHost } from "./transport";
import { chooseTransport } from "./choosing";
import type { Json } from "./values";
import { watchUpdates, type Updates } from "./updates";
import type { Writer, WriterPort } from "./writer";

/** Session of this page. Make it with `SessionClient.start`. */
export class SessionClient<A extends ApplicationTypes = AnyApplication> {
  readonly state: StateDocument<TypeOf<A, "state">>;
  readonly topics: Topics<TypeOf<A, "topics">>;
  readonly connection: ConnectionControls;
  readonly sessions: Sessions;
  readonly auth: Auth;
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #identity: Identity;
  readonly #record: ClientRecord;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats = new Stats();
  readonly #connection: Connection;
  readonly #logbook: Logbook;
  readonly #writer: Writer;
  readonly #documents: Documents;
  readonly #copies: Copies | null;
  readonly #outboxes: Outboxes | null;
  readonly #adoption: Adoption | null;
  readonly #pending: Pending;
  readonly #handshake: Handshake;
  readonly #inbox: Inbox;
  readonly #life: Life;
  readonly #env: Environment;
  readonly #transport: Transport;
  readonly #updates: Updates;
  readonly #unwatch: Unsubscribe;

  /**
   * Resume the client of this tab, or join the session of this browser, or create a session. Resolves without waiting
   * for the connection. Rejects if the page needs a session and the server refuses it or does not answer, and with
   * `slot_taken` if another client of this tab uses the same `slot`.
   */
  static async start<A extends ApplicationTypes = AnyApplication>(
    options: StartOptions = {},
  ): Promise<SessionClient<A>> {
    const client = new SessionClient<A>(await prepareStart(options));
    if (options.autoConnect !== false) void client.#connection.connect();
    return client;
  }

  /** Remove everything that this browser keeps for an address; no session is needed. Clients in open tabs end. */
  static async forget(options: Pick<StartOptions, "url" | "name"> & Surroundings = {}): Promise<void> {
    const [env, scope] = [readEnvironment(options), nameScope(options)];
    for (const store of [env.local, env.session]) new Shelf(store, scope).clear();
    await (await loadOutboxes()).removeRecords(env, scope);
  }

  private constructor(parts: Parts) {
    const { env, rest, credentials, identity, record, emitter, copies, outboxes } = parts;
    this.#env = env;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#identity = identity;
    this.#record = record;
    this.#emitter = emitter;
    const waiting = { readWriter: () => this.#writer, readAdoption: () => this.#adoption };
    this.#updates = watchUpdates(new Shelf(env.session, parts.scope), emitter);
    this.#pending = new Pending(emitter, record, waiting);
    this.#transport = this.#newTransport(parts);
    this.#connection = this.#newConnection(env);
    const logbook = (this.#logbook = this.#newLogbook(parts));
    const writer = (this.#writer = this.#newWriter(parts));
    this.#copies = copies;
    this.#outboxes = outboxes;
    const documents = (this.#documents = this.#newDocuments(parts));
    const timeline = new Timeline(record, emitter, this.#stats);
    this.topics = this.#newTopics(parts);
    const [connection, transport, pending] = [this.#connection, this.#transport, this.#pending];
    const nameOwnerOf = (session: SessionFields): Owner => nameOwner(parts.scope, session);
    const made = { ...parts, name: parts.options.name, connection, writer, documents, logbook, nameOwner: nameOwnerOf };
    const handshake = (this.#handshake = new Handshake(made));
    const inbox = (this.#inbox = new Inbox({ ...made, topics: this.topics, stats: this.#stats }));
    const adoption = (this.#adoption = outboxes?.newAdoption({ ...made, transport, pending, loadSending }) ?? null);
    const tellRecovery = (receipt: SuccessorReceipt): void => inbox.tellRecovery(receipt);
    this.#life = new Life({ ...made, handshake, timeline, adoption, tellRecovery });
    this.#life.settleIn(parts.begun);
    this.#life.begin();
    parts.stored.tell = () => this.#pending.planReport();
    const unwatch = [
      watchCache(env.page, () => this.#leavePage(), () => this.#life.takeUp()),
      watchPage(env.page, () => this.#life.look()),
    ];
    this.#unwatch = () => unwatch.forEach((stop) => stop());
    logbook.followLog(SESSION_LOG, timeline);
    this.state = documents.getDocument("main");
    this.sessions = new Sessions(rest, credentials, emitter, () => this.clearCache());
    this.auth = new Auth(rest, credentials, this.sessions, emitter);
    this.connection = new ConnectionControls(connection, emitter, env.clock, {
      send: (data, options) => this.send(data, options),
      stats: () => this.stats(),
    });
  }

  /** Id of the session; empty until the server has confirmed that this page may use the session. */
  get id(): string {
    return this.#identity.isHidden ? "" : this.#credentials.session.session_id;
  }

  /** Id that the server gave to the client of this tab; null before the first connection. */
  get clientId(): string | null {
    return this.#record.client;
  }

  get info(): SessionInfo {
    return this.#handshake.describeSession(this.status);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** Reason of the present status; null if no connection has ended. */
  get reason(): StatusReason | null {
    return this.#connection.reason;
  }

  /** Number of writes without an answer, including those of closed tabs of this browser. */
  get pending(): number {
    return this.#pending.count;
  }

  /**
   * Let the browser ask the user before the page is left while writes are unanswered. Returns a function that ends it.
   */
  warnBeforeLeaving(): Unsubscribe {
    return askBeforeLeaving(this.#env.page, () => this.pending > 0);
  }

  /** Call `callback` for each event of this type. Returns a function that ends the registration. */
  on<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe {
    return this.#emitter.on(type, callback);
  }

  /** Call `callback` for the next event of this type only. */
  once<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe {
    return this.#emitter.once(type, callback);
  }

  /** End every registration of `callback` that `on` made; the function that `on` returned ends one registration. */
  off<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): void {
    this.#emitter.off(type, callback);
  }

  /** Call `callback` for each message that the server sends to this session. */
  onMessage(callback: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.on("message", callback);
  }

  /**
   * Call the server's message handler exactly once, also over lost connections and reloads. Resolves with its answer.
   */
  send<const Message extends Sent<A>>(data: Message, { signal }: WriteOptions = {}): Promise<Returned<A, Message>> {
    return silenceRejection(this.#writer.sendMessage(data, signal));
  }

  /** Send the updates that delayed synchronisation has collected. */
  flush(): void {
    this.#writer.flush();
  }

  /** Return a named document; `main` is the same document as `state`. */
  document<const Name extends string>(name: Name): StateDocument<DocumentOf<A, Name>> {
    return this.#documents.getDocument(name);
  }

  /**
   * Continue after a login without a page load, in the session that the server names. Rejects if the server refuses.
   */
  async login({ user }: { user?: string | number | null } = {}): Promise<void> {
    await this.#life.change((changes) => changes.enterAgain(user));
    void this.#connection.connect();
  }

  /**
   * End the session, before a logout: send unanswered writes for at most 2 s, then remove everything from this browser.
   */
  logout(): Promise<void> {
    return this.#life.change((changes) => changes.leave());
  }

  /** Remove the local copies of this session from the browser, and keep no more of them; for a logout button. */
  async clearCache(): Promise<void> {
    await this.#copies?.wipeRecords();
  }

  /** List all documents of the session, without their data. */
  documents(): Promise<DocumentHead[]> {
    return this.#documents.listHeads();
  }

  stats(): ClientStats {
    return this.#stats.buildSummary(this.pending, this.#connection.transport);
  }

  /**
   * Show a panel over the page with what this client does: frames, positions, outbox and verdicts, but no tokens.
   * Resolves with a function that removes the panel.
   */
  async debug(): Promise<Unsubscribe> {
    const { openPanel } = await loadDebug();
    return openPanel(this, this.#connection, this.#logbook, this.#writer);
  }

  /**
   * End this object: none of its callbacks, timers and listeners is left. Unanswered writes stay for the next start in
   * this tab.
   */
  close(): void {
    this.#writer.flush();
    this.connection.stopHeartbeat();
    this.#emitter.clear();
    this.#documents.clearWatches();
    this.#connection.close();
    this.topics.clearListeners();
    this.#writer.close();
    this.#unwatch();
    this.#updates.close();
    this.#life.close();
    this.#record.flush();
    this.#record.releaseLock();
    this.#adoption?.close();
    this.#outboxes?.store.close();
    this.#copies?.close();
  }

  /** Release everything that other pages may need, or that keeps this page out of the browser's back/forward cache. */
  #leavePage(): void {
    this.flush();
    this.#connection.leavePage();
    this.#transport.rest?.();
    this.#adoption?.close();
    this.#record.leave();
  }

  #newTransport({ options, env, rest, credentials, scope, share }: Parts): Transport {
    const host: TransportHost = {
      env,
      rest,
      readEndpoints: () => credentials.endpoints,
      readToken: () => credentials.token,
      nameOwner: () => nameOwner(scope, credentials.session).join(":"),
    };
    const own = chooseTransport(options.transports, host);
    return share ? share(host, own) : own;
  }

  #newConnection(env: Environment): Connection {
    const port: ConnectionPort = {
      openLink: (port) => this.#transport.open(port),
      findPlace: (log) => this.#logbook.findPlace(log),
      readAcked: () => this.#writer.outbox.acked,
      tellTransport: (name) => this.#emitter.emit("transport", name),
      buildConnect: () => this.#handshake.buildConnect(),
      takeConnected: (frame) => {
        if (!this.#handshake.takeConnected(frame)) return this.#connection.leaveSession();
        this.#updates.takeVersion(frame.sdk);
        void this.#adoption?.look();
      },
      handleFrame: (frame) => this.#inbox.takeFrame(frame),
      handleDetach: () => {
        this.#logbook.detach();
        this.#writer.outbox.detach();
      },
      prepare: () => this.#life.prepare(),
      tellStatus: (...change) => {
        const failure = this.#connection.readFailure();
        if (failure) this.#writer.stopWaiting(failure);
        if (change[0] === "disconnected" || change[0] === "failed") this.#transport.rest?.();
        this.#emitter.emit("status", ...change);
      },
      tellMissed: (missed) => {
        this.#stats.count("missedBeats");
        this.#emitter.emit("heartbeat_missed", { missed });
      },
      tellRoundTrip: (milliseconds) => this.#stats.addLatency(milliseconds),
      repairAfter: (ending, wasReady) => this.#life.repairAfter(ending, wasReady),
    };
    return new Connection(env, port, this.#stats);
  }

  #newLogbook({ content }: Parts): Logbook {
    return new Logbook({
      ...this.#env,
      connection: this.#connection,
      fetchDocument: (url) => content.fetchDocument(this.#rest, url, this.#credentials.token),
      tellFailed: (log, { message }) => this.#emitter.emit("error", SessionError.local("snapshot_failed", `${log}: ${message}`, true)),
      tellRange: (event, ...range) => {
        if (event === "gap") this.#stats.count("gaps");
        this.#emitter.emit(event, ...range);
      },
    });
  }

  #newWriter({ options, env, content, sync }: Parts): Writer {
    const port: WriterPort = {
      connection: this.#connection,
      findReplica: (name) => this.#documents.findReplica(name),
      tellPending: () => this.#pending.planReport(),
    };
    return new content.Writer(this.#record, env.clock, options.outbox, this.#emitter, this.#stats, port, sync);
  }

  #newDocuments({ options: { strategy, schema, cache }, env, content }: Parts): Documents {
    return new content.Documents({
      logbook: this.#logbook,
      writer: this.#writer,
      rest: this.#rest,
      credentials: this.#credentials,
      record: this.#record,
      strategy,
      schema,
      clock: env.clock,
      copies: this.#copies,
      keepsSealed: typeof cache === "object" && cache.encrypted === true,
      isHidden: () => this.#identity.isHidden,
      tellCached: (document, fromCache) => this.#emitter.emit("cache", { document, fromCache }),
      tellError: (document, error) => this.#emitter.emit("error", replaceFacts(error, { document })),
    });
  }

  #newTopics({ content }: Parts): Topics {
    return new content.Topics(this.#logbook, this.#record, this.#stats, {
      askSocket: (frame) => askForReply(this.#connection, this.#env.clock, frame),
      closed: this.#connection.closed,
      events: this.#emitter,
      publishEntry: async (frame, signal) => (await this.#writer.publishEntry(frame, signal)).position ?? null,
      publishEphemeral: async (topic, data) => {
        this.#writer.flush();
        const checkedData = this.#writer.normalizePublication(data);
        this.#connection.sendFrame({ type: "publish", topic, data: checkedData, ephemeral: true });
        return null;
      },
      tellDenied: (topic, error) => this.#emitter.emit("error", replaceFacts(error, { topic })),
    });
  }
}
