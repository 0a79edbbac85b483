/** Object that an application holds. It joins the parts; each of them knows one thing. */

import { Adoption } from "./adoption";
import { Auth } from "./auth";
import { askForReply } from "./asking";
import { Connection, type ConnectionPort, type Preparation } from "./connection";
import { CLOSE } from "./codes";
import { ConnectionControls } from "./controls";
import type { Copies } from "./copies";
import type { Credentials } from "./credentials";
import type { Owner } from "./database";
import { Documents, fetchDocument } from "./documents";
import type { Emitter, Unsubscribe } from "./emitter";
import { readEnvironment, type Clock, type Environment, type Surroundings } from "./environment";
import { silenceRejection, SessionError } from "./errors";
import type { SessionEntry, SessionEvents, Status } from "./events";
import { AGENT, toWire } from "./frames";
import type { ConnectedFrame, ErrorFrame, RecoveryReceipt, ServerFrame, SessionFields } from "./frames";
import type { Strategy, SuccessorReceipt, Verdict } from "./frames";
import { forgetScope } from "./forgetting";
import { LOGGED_OUT, type Change, type Identity } from "./identity";
import { toSessionInfo, type SessionInfo } from "./info";
import { leaveSession } from "./leaving";
import { Life } from "./life";
import { Logbook } from "./logbook";
import type { StartOptions } from "./options";
import type { DocumentHead } from "./past";
import type { OutboxStore } from "./outboxStore";
import { askBeforeLeaving, watchPage, watchReturn } from "./page";
import type { ClientRecord } from "./record";
import type { Rest } from "./rest";
import { Sessions } from "./sessions";
import type { StateDocument, WriteOptions } from "./state";
import { Stats, type ClientStats } from "./stats";
import { nameOwner, nameScope, prepareStart, type Parts } from "./startup";
import { SESSION_LOG, Timeline } from "./timeline";
import { Topics } from "./topics";
import type { Json } from "./values";
import { Writer, type WriterPort } from "./writer";

export class SessionClient {
  readonly state: StateDocument;
  readonly topics: Topics;
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
  readonly #outboxes: OutboxStore | null;
  readonly #adoption: Adoption | null;
  readonly #life: Life;
  readonly #env: Environment;
  readonly #unwatch: Unsubscribe;
  #isPendingPlanned = false;
  /** Session as the last connection told it; null before the first. */
  #fields: SessionFields | null = null;
  /** Logs that this connection's `connect` asked for. */
  #asked: ReadonlySet<string> = new Set();

  /**
   * Resume this tab's client, or join the browser's session, or create one; resolves without waiting for the
   * connection. Rejects if a session is needed and the server refuses or does not answer, and with `slot_taken` if
   * another client of this tab uses the same `slot`.
   */
  static async start(options: StartOptions = {}): Promise<SessionClient> {
    const client = new SessionClient(await prepareStart(options));
    if (options.autoConnect !== false) void client.#connection.connect();
    return client;
  }

  /** Remove everything that this browser keeps for an address, without a session; its tabs end. */
  static async forget(options: Pick<StartOptions, "url" | "name"> & Surroundings = {}): Promise<void> {
    await forgetScope(readEnvironment(options), nameScope(options));
  }

  private constructor(parts: Parts) {
    const { env, rest, credentials, identity, record, emitter, copies } = parts;
    this.#env = env;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#identity = identity;
    this.#record = record;
    this.#emitter = emitter;
    this.#connection = this.#newConnection(env);
    const logbook = (this.#logbook = this.#newLogbook());
    const writer = (this.#writer = this.#newWriter(parts));
    this.#copies = copies;
    this.#outboxes = parts.outboxes;
    const documents = (this.#documents = this.#newDocuments(env.clock, parts.strategy, parts.keepsSealed));
    const timeline = new Timeline(record, emitter, this.#stats);
    const { clock } = env;
    const tellRecovery = (receipt: SuccessorReceipt): void => this.#tellRecovery(receipt);
    const nameOwnerOf = (session: SessionFields): Owner => nameOwner(parts.scope, session);
    const adoption = (this.#adoption = this.#newAdoption(parts.outboxes, () => nameOwnerOf(credentials.session)));
    const outlasting = { outboxes: parts.outboxes, adoption, copies };
    const logs = { documents, logbook, timeline };
    const told = { nameOwner: nameOwnerOf, tellRecovery };
    this.#life = new Life({ credentials, identity, record, writer, ...logs, emitter, clock, ...outlasting, ...told });
    this.#life.settleIn(parts.begun);
    this.#followIdentity();
    parts.stored.tell = () => this.#planPending();
    const unwatch = [
      watchReturn(env.page, () => this.#life.doubtOwnership()),
      watchPage(env.page, () => this.#identity.look()),
    ];
    this.#unwatch = () => unwatch.forEach((stop) => stop());
    logbook.followLog(SESSION_LOG, timeline);
    this.state = documents.getDocument("main");
    this.topics = this.#newTopics();
    this.sessions = new Sessions(rest, credentials, emitter, () => this.clearCache());
    this.auth = new Auth(credentials, this.sessions, emitter);
    this.connection = new ConnectionControls(this.#connection, emitter, clock, {
      send: (data, options) => this.send(data, options),
      stats: () => this.stats(),
    });
  }

  /** Id of the session; empty while nobody knows whether it is this page's. */
  get id(): string {
    return this.#identity.isHidden ? "" : this.#credentials.session.session_id;
  }

  /** Name that the server gave this tab; null before the first connection. */
  get clientId(): string | null {
    return this.#record.client;
  }

  get info(): SessionInfo {
    const { session } = this.#credentials;
    const unknown = { session_id: "", user_id: null, label: "", metadata: {} };
    const shown = this.#identity.isHidden ? { ...session, ...unknown } : (this.#fields ?? session);
    return toSessionInfo(shown, this.status);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** Number of writes without an answer, those of closed tabs of this browser included. */
  get pending(): number {
    return this.#writer.outbox.size + (this.#adoption?.waiting ?? 0);
  }

  /** Let the browser ask before the page is left while writes wait; return the function that ends it. */
  warnBeforeLeaving(): Unsubscribe {
    return askBeforeLeaving(this.#env.page, () => this.pending > 0);
  }

  on<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe {
    return this.#emitter.on(type, callback);
  }

  /** Call back for messages that the server sent to this session. */
  onMessage(callback: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.on("message", callback);
  }

  /** Call the server's handler exactly once, over drops and reloads; resolves with what it returned. */
  send(data: Json, { signal }: WriteOptions = {}): Promise<Json> {
    return silenceRejection(this.#writer.sendMessage(data, signal));
  }

  /** Send the updates that delayed synchronisation holds back. */
  flush(): void {
    this.#writer.flush();
  }

  /** Return a named document; `main` is `state`. */
  document(name: string): StateDocument {
    return this.#documents.getDocument(name);
  }

  /** Go on after a login without a page load, in the session that the server names. Rejects with its refusal. */
  async login({ user }: { user?: string | number | null } = {}): Promise<void> {
    await this.#identity.enterAgain(user);
    void this.#connection.connect();
  }

  /** End the session, before a logout: sends what waits for at most 2 s, then leaves nothing in this browser. */
  async logout(): Promise<void> {
    const { clock } = this.#env;
    await leaveSession(clock, this.#rest, this.#credentials, {
      flush: () => this.flush(),
      isSending: () => this.#connection.connected && this.#writer.outbox.size > 0,
      end: () => this.#identity.endSession(LOGGED_OUT),
    });
  }

  /** Remove the local copies of this session from the browser and keeps no more; for a button that logs out. */
  async clearCache(): Promise<void> {
    await this.#copies?.wipeRecords();
  }

  /** List all documents of the session, without their data. */
  documents(): Promise<DocumentHead[]> {
    return this.#documents.listHeads();
  }

  stats(): ClientStats {
    return this.#stats.buildSummary(this.pending);
  }

  /**
   * End this object: no callback, timer or listener of it is left. Unanswered writes stay for the next start in this
   * tab.
   */
  close(): void {
    this.#writer.flush();
    this.connection.stopHeartbeat();
    this.#emitter.clear();
    this.topics.clearListeners();
    this.#documents.clearWatches();
    this.#connection.close();
    this.#writer.close();
    this.#unwatch();
    this.#identity.close();
    this.#record.flush();
    this.#record.releaseLock();
    this.#adoption?.close();
    this.#outboxes?.close();
    this.#copies?.close();
  }

  #newConnection(env: Environment): Connection {
    const port: ConnectionPort = {
      buildAddress: () => this.#buildAddress(),
      buildConnect: () => this.#buildConnect(),
      takeConnected: (frame) => this.#takeConnected(frame),
      handleFrame: (frame) => this.#handleFrame(frame),
      handleDetach: () => {
        this.#logbook.detach();
        this.#writer.outbox.detach();
      },
      prepare: () => this.#prepare(),
      tellStatus: (...change) => {
        const failure = this.#connection.readFailure();
        if (failure) this.#writer.stopWaiting(failure);
        this.#emitter.emit("status", ...change);
      },
      repairAfter: (ending, wasReady) => this.#life.repairAfter(ending, wasReady),
    };
    return new Connection(env, port, this.#stats);
  }

  #newLogbook(): Logbook {
    return new Logbook({
      askServer: (frame, answer) => this.#connection.askServer(frame, (reply) => passAnswer(reply, answer)),
      fetchDocument: (url) => fetchDocument(this.#rest, url, this.#credentials.token),
      abandonConnection: () => this.#connection.abandonSocket(),
      tellGap: (gap) => {
        this.#stats.count("gaps");
        this.#emitter.emit("gap", gap);
      },
    });
  }

  #newAdoption(outboxes: OutboxStore | null, readOwner: () => Owner): Adoption | null {
    if (!outboxes) return null;
    return new Adoption(this.#env, outboxes, {
      readOwner,
      readKey: () => this.#record.key,
      buildAddress: () => this.#buildAddress(),
      readToken: () => this.#credentials.token,
      findPosition: (name) => this.#documents.findReplica(name)?.position ?? null,
      tellAdopted: (count) => this.#emitter.emit("adopted", { count }),
      tellWaiting: () => this.#planPending(),
      tellUnsent: (writes, reason) => {
        const unsent = writes.map(([seq, write]) => ({ seq, write: toWire(write) }));
        this.#emitter.emit("unsent", unsent, reason);
      },
      tellConflict: (write, receipt) => this.#writer.tellConflict(write, receipt, true),
    });
  }

  /** Report waiting writes, once for many changes. */
  #planPending(): void {
    if (this.#isPendingPlanned) return;
    this.#isPendingPlanned = true;
    queueMicrotask(() => {
      this.#isPendingPlanned = false;
      const orphaned = this.#adoption?.waiting ?? 0;
      this.#emitter.emit("pending", { count: this.pending, orphaned, durable: this.#record.isDurable });
    });
  }

  #newWriter({ env, bounds, sync }: Parts): Writer {
    const port: WriterPort = {
      sendFrame: (frame) => this.#connection.sendFrame(frame),
      findReplica: (name) => this.#documents.findReplica(name),
      abandonConnection: () => this.#connection.abandonSocket(),
      readFailure: () => this.#connection.readFailure(),
      tellPending: () => this.#planPending(),
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
      isHidden: () => this.#identity.isHidden,
      tellCached: (document, fromCache) => this.#emitter.emit("cache", { document, fromCache }),
      tellDenied: (document, error) => this.#tellDenied({ document }, error),
    });
  }

  #newTopics(): Topics {
    return new Topics(this.#logbook, this.#record, this.#stats, {
      publishEntry: async (frame, signal) => (await this.#writer.publishEntry(frame, signal)).position ?? null,
      publishEphemeral: async (topic, data) => {
        this.#writer.flush();
        const checkedData = this.#writer.normalizePublication(data);
        this.#connection.sendFrame({ type: "publish", topic, data: checkedData, ephemeral: true });
        return null;
      },
      tellDenied: (topic, error) => this.#tellDenied({ topic }, error),
    });
  }

  /** Settle whose writes and whose session this tab has, before it connects. */
  #prepare(): Promise<Preparation> | null {
    this.#identity.look();
    const owned = this.#life.checkOwnership();
    if (!owned) return this.#identity.settle();
    return owned.then(() => this.#identity.settle() ?? { repair: null });
  }

  #followIdentity(): void {
    this.#identity.attach({
      askSocket: (frame) => askForReply(this.#connection, this.#env.clock, frame),
      isConnected: () => this.#connection.connected,
      isWanted: () => this.#connection.status !== "disconnected",
      connect: () => void this.#connection.connect(),
      takeChange: (change) => this.#takeChange(change),
      takeEnd: (reason, status) => {
        this.#fields = null;
        this.#life.takeEnd(reason, status);
        this.#connection.fail(status);
      },
    });
  }

  #takeChange(change: Change): void {
    this.#life.takeChange(change);
    if (change.before?.session.session_id === change.after.session.session_id) return;
    this.#fields = null;
    // What is connected belongs to the session of before.
    this.#connection.abandonSocket(CLOSE.DETACHED);
  }

  #buildAddress(): string {
    const url = new URL(this.#credentials.endpoints.websocket, this.#rest.base);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  #buildConnect(): object {
    const logs = this.#logbook.listPositions();
    this.#asked = new Set(Object.keys(logs));
    return {
      type: "connect",
      token: this.#identity.useToken(),
      user: this.#credentials.session.user_id,
      client_id: this.clientId,
      acked: this.#writer.outbox.acked,
      logs,
      capabilities: [],
      agent: AGENT,
    };
  }

  #takeConnected(frame: ConnectedFrame): void {
    this.#fields = frame.session;
    this.#record.assignClient(frame.session, frame.client_id);
    this.#documents.decided = frame.last_seq;
    this.#writer.applyLimits(frame.limits ?? {});
    this.#logbook.attach(this.#asked, frame.logs);
    this.#writer.outbox.attach(frame.last_seq);
    void this.#adoption?.look();
  }

  #handleFrame(frame: ServerFrame): void {
    switch (frame.type) {
      case "entries":
        return this.#logbook.takeEntries(frame);
      case "snapshot":
        return this.#logbook.takeSnapshot(frame);
      case "gap":
        return this.#logbook.takeGap(frame);
      case "receipt":
        return this.#writer.takeReceipt(frame);
      case "recovery":
        return this.#tellRecovery(frame.receipt);
      case "ephemeral":
        return this.topics.takeEphemeral(frame.topic, frame.data);
      case "ping":
        if (typeof frame.rtt_ms === "number") this.#stats.addLatency(frame.rtt_ms);
        this.#connection.sendFrame({ type: "pong", ping: frame.ping, acked: this.#writer.outbox.acked });
        return;
      case "error":
        return this.#handleError(frame);
    }
  }

  #tellRecovery(receipt: RecoveryReceipt | SuccessorReceipt): void {
    this.#stats.countRecovery(receipt.verdict);
    this.#emitter.emit("recovery", receipt);
  }

  #handleError({ type: _type, id, log, seq, ...error }: ErrorFrame): void {
    if (log !== undefined && id === undefined) return this.#logbook.takeDenial(log, new SessionError(error));
    // An error with a number answers that write, as a receipt would.
    if (seq !== undefined) return this.#writer.takeReceipt({ type: "receipt", seq, ok: false, error });
    this.#emitter.emit("error", new SessionError(error));
  }

  #tellDenied(facts: Record<string, string>, { code, name, temporary, message }: SessionError): void {
    this.#emitter.emit("error", new SessionError({ code, name, temporary, message, ...facts }));
  }
}

function passAnswer(frame: ServerFrame, answer: (verdict: Verdict | SessionError) => void): void {
  if (frame.type === "reply" && frame.verdict) answer(frame.verdict);
  else if (frame.type === "error") answer(new SessionError(frame));
}
