/**
 * Life of a client: whose record a page begins with, and what happens to it when its name, token or session is no
 * longer valid. What repairs it is a part of its own (`changes`), loaded with the start; where it is needed before it is
 * there, the connection waits, and the part is loaded until it comes.
 */

import type { Adoption } from "./adoption";
import { Backoff } from "./backoff";
import { RENEW_AGAIN, type Begun } from "./beginning";
import type { Changes } from "./changes/index";
import { CLOSE, isServers } from "./codes";
import type { Connection, Preparation, Repair } from "./connection";
import type { Copies } from "./copies";
import type { Credentials, Kept } from "./credentials";
import type { Owner } from "./database";
import type { Documents } from "./documents";
import type { Emitter } from "./emitter";
import type { Environment } from "./environment";
import { toFailure } from "./errors";
import type { SessionEvents, UnsentWrite } from "./events";
import type { Position, SessionFields, SuccessorReceipt } from "./frames";
import type { Handshake } from "./handshake";
import type { Identity } from "./identity";
import { loadChanges } from "./loading";
import type { Logbook } from "./logbook";
import type { Outboxes } from "./outboxes";
import { pause } from "./pause";
import type { ClientRecord } from "./record";
import type { Rest } from "./rest";
import { SESSION_LOG, type Timeline } from "./timeline";
import type { Ending } from "./transport";
import type { Writer } from "./writer";

export interface LifeParts {
  env: Environment;
  rest: Rest;
  credentials: Credentials;
  identity: Identity;
  record: ClientRecord;
  connection: Connection;
  handshake: Handshake;
  writer: Writer;
  documents: Documents;
  logbook: Logbook;
  timeline: Timeline;
  emitter: Emitter<SessionEvents>;
  copies: Copies | null;
  outboxes: Outboxes | null;
  adoption: Adoption | null;
  /** Return the owner of what is kept of a session. */
  nameOwner(session: SessionFields): Owner;
  tellRecovery(receipt: SuccessorReceipt): void;
}

/** Ends after which nothing is lost yet: before the next connection the server is asked what goes on. */
const DOUBTS: ReadonlySet<number> = new Set([
  ...[CLOSE.TOKEN_EXPIRED, CLOSE.DETACHED, CLOSE.LOGIN_CHECK, CLOSE.INVALID_TOKEN, CLOSE.SESSION_EXPIRED],
]);
const REPAIRED: ReadonlySet<number> = new Set([CLOSE.CLIENT_FORGOTTEN, CLOSE.SESSION_TERMINATED, CLOSE.REPLACED]);

export class Life {
  readonly parts: LifeParts;
  #changes: Changes | null = null;
  #loading: Promise<Changes> | null = null;
  #waiting: Promise<Changes> | null = null;
  /** Ends the wait before the part is loaded again. */
  #pausing = new AbortController();
  #isClosed = false;

  constructor(parts: LifeParts) {
    this.parts = parts;
  }

  /** Begin to load what takes changes. */
  begin(): void {
    this.#awaitChanges().catch(() => undefined);
  }

  close(): void {
    this.#isClosed = true;
    this.#pausing.abort();
    this.#changes?.close();
  }

  /** Run `work`, at once if what takes changes is there. Rejects with `closed`, and `part_unavailable`; the next call loads it again. */
  async change(work: (changes: Changes) => Promise<void>): Promise<void> {
    this.parts.connection.closed.throwIfAborted();
    return work(this.#changes ?? (await this.#load()));
  }

  /** Repair what a close code reports; null if it is an ordinary end. */
  repairAfter(ending: Ending, wasReady: boolean): Repair | Promise<Repair> | null {
    const { code, name } = ending;
    // What was refused never arrives.
    if (!wasReady && isServers(code) && code !== CLOSE.REPLACED) this.parts.record.latest -= 1;
    if (DOUBTS.has(code)) {
      this.parts.identity.doubtSession(name ?? "session_changed");
      return "reconnect";
    }
    if (!REPAIRED.has(code) && !(code === CLOSE.INVALID_FRAME && wasReady)) return null;
    const repair = (changes: Changes): Repair | Promise<Repair> => changes.repairAfter(ending, wasReady);
    return this.#changes ? repair(this.#changes) : this.#awaitChanges().then(repair, () => "stop");
  }

  /** Look at storage for what other tabs have done; what takes changes, and is not there yet, looks when it comes. */
  look(): void {
    this.#changes?.look();
    // The network may be back.
    this.#pausing.abort();
  }

  /** Take the record up again if the page had let go of it. */
  takeUp(): void {
    if (this.#changes) void this.#changes.takeUp();
    else this.#awaitChanges().then((changes) => changes.takeUp()).catch(() => undefined);
  }

  /** Settle whose writes and whose session this tab has, before it connects. */
  prepare(): Promise<Preparation> | null {
    if (this.#changes) return this.#changes.prepare();
    const { isCurrent, isSettled } = this.parts.identity;
    if (!this.parts.record.isAway && isCurrent && isSettled) return null;
    return this.#awaitChanges().then(
      (changes) => changes.prepare() ?? { repair: null },
      () => ({ repair: "stop", reason: { code: 0, name: "closed" } }),
    );
  }

  /** Separate the record from an earlier session's at the start, and tell how the session was found. */
  settleIn({ before, entered }: Begun): void {
    const { credentials, env } = this.parts;
    const begins = entered?.positions[SESSION_LOG];
    const reason = entered?.verdict === "recovered" ? "session_expired" : "session_changed";
    const unsent = this.settleRecord(credentials.session, begins, reason);
    const receipt = entered?.receipt;
    // Not before the application has had its chance to listen.
    if (receipt) env.clock.setTimeout(() => this.parts.tellRecovery(receipt), 0);
    if (unsent.length > 0) env.clock.setTimeout(() => this.tellUnsent(unsent, reason), 0);
    if (before && before.session.session_id !== credentials.session.session_id) this.abandonClosed(before, reason);
    if (entered) this.tellIdentity(entered);
  }

  /** Give up what closed tabs of a session left. */
  abandonClosed({ session }: Pick<Kept, "session">, reason: string): void {
    const { adoption, credentials, nameOwner } = this.parts;
    const isTold = mayTell(session.user_id, credentials.session);
    void adoption?.abandon(nameOwner(session), reason, isTold);
  }

  /** Begin as another client; return what nobody will answer, once: what is in a record that is away, when it is back. */
  restartClient(session: SessionFields, reason: string): UnsentWrite[] {
    const { record, documents, writer } = this.parts;
    documents.dropPending();
    const unsent = writer.abandonWrites(reason);
    record.assignClient(session, null);
    return record.isAway ? [] : unsent;
  }

  tellUnsent(writes: UnsentWrite[], reason: string): void {
    if (writes.length > 0) this.parts.emitter.emit("unsent", writes, reason);
  }

  tellIdentity({ verdict, reason, session }: NonNullable<Begun["entered"]>): void {
    if (verdict !== "ask") this.parts.emitter.emit("identity", { verdict, reason, userId: session.user_id });
  }

  /** Return the writes of an earlier session that the tab's record holds, if this person may see them. */
  settleRecord(session: SessionFields, begins: Position | undefined, reason: string): UnsentWrite[] {
    const { record } = this.parts;
    const isStale = record.session !== null && record.session !== session.session_id;
    const isForeign = isStale && !mayTell(record.user, session);
    if (isForeign) record.clearPositions();
    if (isStale || begins) record.setPosition(SESSION_LOG, begins ?? null);
    if (isStale) {
      const unsent = this.restartClient(session, reason);
      return isForeign ? [] : unsent;
    }
    record.assignClient(session, record.client);
    return [];
  }

  #load(): Promise<Changes> {
    return (this.#loading ??= loadChanges().then(
      ({ Changes }) => {
        const changes = (this.#changes = new Changes(this));
        if (this.#isClosed) changes.close();
        else changes.begin();
        return changes;
      },
      (error) => {
        this.#loading = null;
        throw error;
      },
    ));
  }

  /** Load what takes changes until it is there; an error is told once. Rejects when the client is closed. */
  #awaitChanges(): Promise<Changes> {
    return (this.#waiting ??= this.#loadPatiently());
  }

  async #loadPatiently(): Promise<Changes> {
    const { env, emitter } = this.parts;
    const backoff = new Backoff(env.random);
    for (;;) {
      try {
        return await this.#load();
      } catch (error) {
        if (backoff.attempt === 0) emitter.emit("error", toFailure(error));
        this.#pausing = new AbortController();
        await pause(env.clock, backoff.nextWait() ?? RENEW_AGAIN, this.#pausing.signal).catch(() => undefined);
        if (this.#isClosed) throw error;
      }
    }
  }
}

/** Return true if somebody may see what was written for a user, or by a visitor of the same browser. */
function mayTell(user: string | null | undefined, { user_id: now }: SessionFields): boolean {
  return user === null || user === now;
}
