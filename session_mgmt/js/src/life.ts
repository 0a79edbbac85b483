/** Repair of a client whose name, token or session is no longer valid. */

import type { Adoption } from "./adoption";
import { CLOSE } from "./codes";
import type { Repair } from "./connection";
import type { Copies } from "./copies";
import type { Credentials } from "./credentials";
import type { Owner } from "./database";
import type { Documents } from "./documents";
import type { Emitter } from "./emitter";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { SessionEvents, UnsentWrite } from "./events";
import type { Position, SuccessorReceipt } from "./frames";
import type { Logbook } from "./logbook";
import type { OutboxStore } from "./outboxStore";
import type { ClientRecord } from "./record";
import { SESSION_LOG, type Timeline } from "./timeline";
import type { Writer } from "./writer";

export interface LifeParts {
  credentials: Credentials;
  record: ClientRecord;
  writer: Writer;
  documents: Documents;
  logbook: Logbook;
  timeline: Timeline;
  emitter: Emitter<SessionEvents>;
  copies: Copies | null;
  outboxes: OutboxStore | null;
  adoption: Adoption | null;
  readOwner(): Owner;
  clock: Clock;
  tellRecovery(receipt: SuccessorReceipt): void;
}

const CLONE_WITHIN = 10_000;

export class Life {
  readonly #parts: LifeParts;
  /** The page was away, so another tab may have taken its writes over. */
  #isInDoubt = false;
  #replacedAt = -Infinity;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  /** Repair what a close code reports; null if it is an ordinary end. */
  repairAfter(code: number, wasReady: boolean): Repair | Promise<Repair> | null {
    switch (code) {
      case CLOSE.CLIENT_FORGOTTEN:
        this.#beginClient("client_forgotten");
        return "reconnect";
      case CLOSE.SESSION_EXPIRED:
        return this.#recoverSession("session_expired", "session_expired");
      case CLOSE.TOKEN_EXPIRED:
        return this.#recoverSession("token_expired", "auth_required");
      case CLOSE.INVALID_TOKEN:
        return this.#leaveSession("invalid_token", "auth_required");
      case CLOSE.SESSION_TERMINATED:
        return this.#leaveSession("session_terminated", "session_terminated");
      case CLOSE.REPLACED:
        return this.#replaceClient(wasReady);
      case CLOSE.INVALID_FRAME:
        if (!wasReady) return null;
        // One of the writes may be why; sent again by the next page, it would end that page's connection too.
        this.#beginClient("invalid_frame");
        return "stop";
      default:
        return null;
    }
  }

  /** Note that the page was away: before it sends anything again, `checkOwnership` asks whose its writes are. */
  doubtOwnership(): void {
    this.#isInDoubt = true;
  }

  /** Begin as a new client if another tab has taken the writes over while the page was away. */
  checkOwnership(): Promise<void> | null {
    if (!this.#isInDoubt) return null;
    this.#isInDoubt = false;
    return this.#leaveAdopted().then(() => undefined);
  }

  /** Enter the session that another tab has stored instead of this one's. */
  adoptSession(reason: string): boolean {
    const { credentials, documents } = this.#parts;
    const user = credentials.session.user_id;
    const adopted = credentials.adoptStored();
    if (adopted) this.#enterSession(reason);
    if (credentials.session.user_id !== user) documents.resetValues();
    return adopted;
  }

  /** Separate the record from an earlier session's at the start. `begins`: start of a new session's log. */
  settleIn(begins: Position | undefined): void {
    const { record, credentials } = this.#parts;
    const session = credentials.session.session_id;
    const stale = record.session !== null && record.session !== session;
    if (stale || begins) record.setPosition(SESSION_LOG, begins ?? null);
    if (!stale) return record.assignClient(session, record.client);
    const writes = this.#restartClient("session_changed");
    // Not before the application has had its chance to listen.
    this.#parts.clock.setTimeout(() => this.#tellUnsent(writes, "session_changed"), 0);
  }

  /**
   * Decide after another connection of this client took over. Before `connected` that can only be this client's own
   * earlier attempt, which the server served late; twice in a short time it is a copy of this client elsewhere.
   */
  async #replaceClient(wasReady: boolean): Promise<Repair> {
    if (await this.#leaveAdopted()) return "reconnect";
    if (wasReady) return "stop";
    const now = this.#parts.clock.now();
    const isClone = now - this.#replacedAt < CLONE_WITHIN;
    this.#replacedAt = now;
    if (isClone) this.#beginClient("replaced");
    return "reconnect";
  }

  /** Begin as a new client if another tab has taken this one's writes over; return whether it has. */
  async #leaveAdopted(): Promise<boolean> {
    const { record, outboxes, documents, writer } = this.#parts;
    if (!(await record.isAdopted().catch(() => false))) return false;
    const answers = await outboxes?.readResults(record.key).catch(() => undefined);
    documents.dropPending();
    writer.settleAdopted(answers ?? new Map());
    record.renew();
    return true;
  }

  #leaveSession(reason: string, event: "auth_required" | "session_terminated" | "session_expired"): Repair {
    if (this.adoptSession(reason)) return "reconnect";
    this.#parts.credentials.forgetSession();
    void this.#parts.copies?.wipeRecords();
    void this.#parts.adoption?.abandon(this.#parts.readOwner(), reason);
    this.#beginClient(reason);
    this.#parts.timeline.announceEnd(event, { reason });
    return "stop";
  }

  /** Enter the session that another tab has stored meanwhile, or the successor; `event` tells that there is none. */
  async #recoverSession(reason: string, event: "auth_required" | "session_expired"): Promise<Repair> {
    const before = this.#parts.readOwner();
    try {
      const receipt = await this.#parts.credentials.recoverSession();
      this.#enterSession(reason);
      void this.#parts.adoption?.abandon(before, reason);
      if (receipt) this.#parts.tellRecovery(receipt);
      return "reconnect";
    } catch (error) {
      const failure = error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
      this.#parts.emitter.emit("error", failure);
      // Coming back with the old token leads here again, after the next wait.
      return failure.temporary ? "reconnect" : this.#leaveSession(reason, event);
    }
  }

  /** Enter another session: its documents and its own log are other logs, topics are the same. */
  #enterSession(reason: string): void {
    const { logbook, copies, readOwner: owner } = this.#parts;
    copies?.enterSession(owner());
    logbook.forgetPlaces(logbook.names().filter((name) => !name.startsWith("topic:")));
    this.#beginClient(reason);
  }

  /** Begin as another client; unconfirmed writes go to the application. */
  #beginClient(reason: string): void {
    this.#tellUnsent(this.#restartClient(reason), reason);
  }

  #restartClient(reason: string): UnsentWrite[] {
    const { record, credentials, documents, writer } = this.#parts;
    record.assignClient(credentials.session.session_id, null);
    documents.dropPending();
    return writer.abandonWrites(reason);
  }

  #tellUnsent(writes: UnsentWrite[], reason: string): void {
    if (writes.length > 0) this.#parts.emitter.emit("unsent", writes, reason);
  }
}
