/**
 * Life of a client: the record that a page begins with, and what happens when its name, token or session is no longer
 * valid. The part `changes` does the repairs. It is loaded with the start; if it is needed earlier, the connection
 * waits, and the client tries to load the part until it arrives.
 */

import { Backoff } from "./backoff";
import { RENEW_AGAIN, type Begun } from "./beginning";
import type { Changes } from "./changes/index";
import type { LifeParts } from "./changes/parts";
import { CLOSE, isServers } from "./codes";
import type { Preparation, Repair } from "./connection";
import type { Kept } from "./credentials";
import { toFailure } from "./errors";
import type { UnsentWrite } from "./events";
import type { Position, SessionFields } from "./frames";
import { loadChanges } from "./parts";
import { pause } from "./pause";
import { SESSION_LOG } from "./timeline";
import type { Ending } from "./transport";

/**
 * Close codes after which nothing is lost yet: before the next connection, the client asks the server how to continue.
 */
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

  /** Begin to load the part `changes`. */
  begin(): void {
    this.#awaitChanges().catch(() => undefined);
  }

  close(): void {
    this.#isClosed = true;
    this.#pausing.abort();
    this.#changes?.close();
  }

  /**
   * Run `work` with the part `changes`, at once if it is loaded. Rejects with `closed`, and with `part_unavailable`;
   * the next call loads the part again.
   */
  async change(work: (changes: Changes) => Promise<void>): Promise<void> {
    this.parts.connection.closed.throwIfAborted();
    return work(this.#changes ?? (await this.#load()));
  }

  /** Repair the client after a close code; null for an ordinary end. */
  repairAfter(ending: Ending, wasReady: boolean): Repair | Promise<Repair> | null {
    const { code, name } = ending;
    // A refused attach cannot arrive any more.
    if (!wasReady && isServers(code) && code !== CLOSE.REPLACED) this.parts.record.latest -= 1;
    if (DOUBTS.has(code)) {
      this.parts.identity.doubtSession(name ?? "session_changed");
      return "reconnect";
    }
    if (!REPAIRED.has(code) && !(code === CLOSE.INVALID_FRAME && wasReady)) return null;
    const repair = (changes: Changes): Repair | Promise<Repair> => changes.repairAfter(ending, wasReady);
    return this.#changes ? repair(this.#changes) : this.#awaitChanges().then(repair, () => "stop");
  }

  /** Look in the storage for changes by other tabs. If the part `changes` is not loaded yet, it looks when it is. */
  look(): void {
    this.#changes?.look();
    // The network may be available again.
    this.#pausing.abort();
  }

  /** Open the record again if the page has released it. */
  takeUp(): void {
    if (this.#changes) void this.#changes.takeUp();
    else this.#awaitChanges().then((changes) => changes.takeUp()).catch(() => undefined);
  }

  /** Before a connection, decide which writes and which session this tab has. */
  prepare(): Promise<Preparation> | null {
    if (this.#changes) return this.#changes.prepare();
    const { isCurrent, isSettled } = this.parts.identity;
    if (!this.parts.record.isAway && isCurrent && isSettled) return null;
    return this.#awaitChanges().then(
      (changes) => changes.prepare() ?? { repair: null },
      () => ({ repair: "stop", reason: { code: 0, name: "closed" } }),
    );
  }

  /** At the start, separate the record from that of an earlier session, and report how the session was found. */
  settleIn({ before, entered }: Begun): void {
    const { credentials, env } = this.parts;
    const begins = entered?.positions[SESSION_LOG];
    const reason = entered?.verdict === "recovered" ? "session_expired" : "session_changed";
    const unsent = this.settleRecord(credentials.session, begins, reason);
    const receipt = entered?.receipt;
    // Not earlier, so that the application can register its listeners.
    if (receipt) env.clock.setTimeout(() => this.parts.tellRecovery(receipt), 0);
    if (unsent.length > 0) env.clock.setTimeout(() => this.tellUnsent(unsent, reason), 0);
    if (before && before.session.session_id !== credentials.session.session_id) this.abandonClosed(before, reason);
    if (entered) this.tellIdentity(entered);
  }

  /** Drop what closed tabs of a session left. */
  abandonClosed({ session }: Pick<Kept, "session">, reason: string): void {
    const { adoption, credentials, nameOwner } = this.parts;
    const isTold = mayTell(session.user_id, credentials.session);
    void adoption?.abandon(nameOwner(session), reason, isTold);
  }

  /**
   * Begin as another client, and return the writes that get no answer any more. Writes in a record that the page has
   * released are returned when the record is open again.
   */
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

  /** Return the writes of an earlier session in the record of this tab, if the present user may see them. */
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

  /** Load the part `changes` until that succeeds; report an error once. Rejects when the client is closed. */
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

/** Return true if this user may see writes of `user`; everyone may see those of a visitor in the same browser. */
function mayTell(user: string | null | undefined, { user_id: now }: SessionFields): boolean {
  return user === null || user === now;
}
