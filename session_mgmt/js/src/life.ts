/** Repair of a client whose name, token or session is no longer valid. */

import type { Adoption } from "./adoption";
import type { Begun } from "./beginning";
import { CLOSE } from "./codes";
import type { Preparation, Repair } from "./connection";
import type { Copies } from "./copies";
import { maySucceed, type Credentials, type Kept } from "./credentials";
import type { Owner } from "./database";
import type { Documents } from "./documents";
import type { Emitter } from "./emitter";
import type { Clock } from "./environment";
import type { SessionEvents, StatusReason, UnsentWrite } from "./events";
import type { Position, SessionFields, SuccessorReceipt } from "./frames";
import { LOGGED_OUT, type Change, type Identity } from "./identity";
import type { Logbook } from "./logbook";
import type { Outboxes } from "./outboxes";
import type { ClientRecord } from "./record";
import { SESSION_LOG, type Timeline } from "./timeline";
import type { Ending } from "./transport";
import type { Writer } from "./writer";

export interface LifeParts {
  credentials: Credentials;
  identity: Identity;
  record: ClientRecord;
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
  clock: Clock;
  tellRecovery(receipt: SuccessorReceipt): void;
}

const CLONE_WITHIN = 10_000;

export class Life {
  readonly #parts: LifeParts;
  /** Taking up of what the page had let go of; null while nothing is. */
  #takingUp: Promise<void> | null = null;
  #replacedAt = -Infinity;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  /** Repair what a close code reports; null if it is an ordinary end. */
  repairAfter({ code, name, reason }: Ending, wasReady: boolean): Repair | Promise<Repair> | null {
    // What was refused never arrives.
    if (!wasReady && code >= 4000 && code !== CLOSE.REPLACED && code !== CLOSE.SILENT_SERVER) {
      this.#parts.record.latest -= 1;
    }
    switch (code) {
      case CLOSE.CLIENT_FORGOTTEN:
        this.#beginClient("client_forgotten");
        return "reconnect";
      case CLOSE.TOKEN_EXPIRED:
      case CLOSE.DETACHED:
      case CLOSE.LOGIN_CHECK:
      case CLOSE.INVALID_TOKEN:
      case CLOSE.SESSION_EXPIRED:
        // Nothing is lost yet: before the next connection the server is asked what goes on.
        this.#parts.identity.doubtSession(name ?? "session_changed");
        return "reconnect";
      case CLOSE.SESSION_TERMINATED:
        return this.#leaveSession(reason ?? "session_terminated", { code, name: name ?? "session_terminated" });
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

  /** Take the record up again if the page had let go of it; null if there is nothing to wait for. */
  takeUp(): Promise<void> | null {
    if (this.#parts.record.isAway) this.#takingUp ??= this.#reopenRecord().finally(() => (this.#takingUp = null));
    return this.#takingUp;
  }

  /** Settle whose writes and whose session this tab has, before it connects. */
  prepare(): Promise<Preparation> | null {
    const { identity } = this.#parts;
    identity.look();
    const taken = this.takeUp();
    return taken ? taken.then(() => identity.settle() ?? { repair: null }) : identity.settle();
  }

  /** Separate the record from an earlier session's at the start, and tell how the session was found. */
  settleIn({ before, entered }: Begun): void {
    const { credentials, clock } = this.#parts;
    const begins = entered?.positions[SESSION_LOG];
    const reason = entered?.verdict === "recovered" ? "session_expired" : "session_changed";
    const unsent = this.#settleRecord(credentials.session, begins, reason);
    const receipt = entered?.receipt;
    // Not before the application has had its chance to listen.
    if (receipt) clock.setTimeout(() => this.#parts.tellRecovery(receipt), 0);
    if (unsent.length > 0) clock.setTimeout(() => this.#tellUnsent(unsent, reason), 0);
    if (before && before.session.session_id !== credentials.session.session_id) this.#abandonClosed(before, reason);
    if (entered) this.#tellIdentity(entered);
  }

  /** Go on with other tokens or with another session. */
  takeChange({ before, after, reason, entered }: Change): void {
    const { copies, documents, record, logbook, nameOwner } = this.#parts;
    const isSame = before?.session.session_id === after.session.session_id;
    if (!isSame) this.#enterSession(before, after, reason);
    else if (before.session.user_id !== after.session.user_id) {
      // A visitor has logged in: everything goes on, but the copies have another owner.
      record.assignClient(after.session, record.client);
      if (copies) logbook.forgetPlaces(logbook.names().filter((name) => name.startsWith("state:")));
      copies?.enterSession(nameOwner(after.session));
    }
    if (before?.session.user_id !== after.session.user_id) logbook.forgetDenials();
    documents.showRestored();
    if (entered?.receipt) this.#parts.tellRecovery(entered.receipt);
    if (entered) this.#tellIdentity(entered);
  }

  /** End what this tab has of a session: nothing of it stays in the page or in the browser. */
  takeEnd(reason: string, { code }: StatusReason): void {
    const { credentials, copies, logbook, documents, emitter, timeline } = this.#parts;
    const { session } = credentials;
    const unsent = this.#wipeRecord(reason);
    logbook.forgetPlaces(logbook.names());
    documents.resetValues();
    copies?.wipeScope();
    this.#abandonClosed({ session }, reason);
    this.#tellUnsent(unsent, reason);
    if (code === CLOSE.SESSION_TERMINATED || reason === "session_terminated") {
      timeline.announceEnd("session_terminated", { reason });
    } else if (reason !== LOGGED_OUT) timeline.announceEnd("auth_required", { reason });
    emitter.emit("ended", { reason });
  }

  /**
   * Decide after another connection of this client took over. Before `connected`, or while an answer is outstanding,
   * that is this client's own earlier attach, which the server served late; twice in a short time it is a copy of this
   * client elsewhere.
   */
  async #replaceClient(wasReady: boolean): Promise<Repair> {
    const { record } = this.#parts;
    if (await record.isAdopted().catch(() => false)) {
      record.leave();
      return "reconnect";
    }
    const now = this.#parts.clock.now();
    const isClone = now - this.#replacedAt < CLONE_WITHIN;
    if (wasReady && !isClone && record.latest === record.generation) return "stop";
    this.#replacedAt = now;
    if (isClone) this.#beginClient("replaced");
    return "reconnect";
  }

  /** Go on with the record as it is now: another page may have had it, or have taken its writes over. */
  async #reopenRecord(): Promise<void> {
    const { record, outboxes, documents, writer, credentials } = this.#parts;
    const { key } = record;
    writer.flush();
    await record.reopen();
    const gone = writer.reload(record.lateFrom);
    if (credentials.kept) {
      const reason = "session_changed";
      this.#tellUnsent(this.#settleRecord(credentials.session, undefined, reason), reason);
      documents.showRestored();
    } else this.#wipeRecord();
    const answers = gone.length > 0 && (await outboxes?.store.readResults(key).catch(() => undefined));
    writer.settleSent(gone, answers || new Map());
  }

  /** Leave a session that somebody has ended; come back if another tab has one to go on with. */
  #leaveSession(reason: string, status: StatusReason): Repair | Promise<Repair> {
    const { identity, credentials } = this.#parts;
    const decide = (): Repair => {
      if (identity.hasSuccessor()) return "reconnect";
      identity.endSession(reason, status);
      return "stop";
    };
    // A visitor may have logged in: the tab that enters holds the lock until it has stored what it got.
    return credentials.session.user_id === null ? identity.awaitOthers().then(decide) : decide();
  }

  /** Return the writes of an earlier session that the tab's record holds, if this person may see them. */
  #settleRecord(session: SessionFields, begins: Position | undefined, reason: string): UnsentWrite[] {
    const { record } = this.#parts;
    const isStale = record.session !== null && record.session !== session.session_id;
    const isForeign = isStale && !mayTell(record.user, session);
    if (isForeign) record.clearPositions();
    if (isStale || begins) record.setPosition(SESSION_LOG, begins ?? null);
    if (isStale) {
      const unsent = this.#restartClient(session, reason);
      return isForeign ? [] : unsent;
    }
    record.assignClient(session, record.client);
    return [];
  }

  /** Enter another session: its documents and its own log are other logs, topics are the same for the same person. */
  #enterSession(before: Kept | null, after: Kept, reason: string): void {
    const { logbook, copies, documents, record, credentials, nameOwner } = this.#parts;
    const isSuccessor = before !== null && maySucceed(before, after);
    const names = logbook.names();
    logbook.forgetPlaces(isSuccessor ? names.filter((name) => !name.startsWith("topic:")) : names);
    if (!isSuccessor) record.clearPositions();
    const unsent = this.#restartClient(credentials.session, reason);
    copies?.enterSession(nameOwner(after.session));
    if (!isSuccessor || before.session.user_id !== after.session.user_id) documents.resetValues();
    if (before) this.#abandonClosed(before, reason);
    this.#tellUnsent(unsent, reason);
  }

  /** Give up what closed tabs of a session left. */
  #abandonClosed({ session }: Pick<Kept, "session">, reason: string): void {
    const { adoption, credentials, nameOwner } = this.#parts;
    const isTold = mayTell(session.user_id, credentials.session);
    void adoption?.abandon(nameOwner(session), reason, isTold);
  }

  /** Begin as another client; unconfirmed writes go to the application. */
  #beginClient(reason: string): void {
    this.#tellUnsent(this.#restartClient(this.#parts.credentials.session, reason), reason);
  }

  /** Begin as another client; return what nobody will answer, once: what is in a record that is away, when it is back. */
  #restartClient(session: SessionFields, reason: string): UnsentWrite[] {
    const { record, documents, writer } = this.#parts;
    documents.dropPending();
    const unsent = writer.abandonWrites(reason);
    record.assignClient(session, null);
    return record.isAway ? [] : unsent;
  }

  /** Leave nothing in the record of a session that is over. */
  #wipeRecord(reason = "session_changed"): UnsentWrite[] {
    const { record, credentials } = this.#parts;
    const unsent = this.#restartClient(credentials.session, reason);
    record.clearPositions();
    record.leaveSession();
    return unsent;
  }

  #tellUnsent(writes: UnsentWrite[], reason: string): void {
    if (writes.length > 0) this.#parts.emitter.emit("unsent", writes, reason);
  }

  #tellIdentity({ verdict, reason, session }: NonNullable<Begun["entered"]>): void {
    if (verdict !== "ask") this.#parts.emitter.emit("identity", { verdict, reason, userId: session.user_id });
  }
}

/** Return true if somebody may see what was written for a user, or by a visitor of the same browser. */
function mayTell(user: string | null | undefined, { user_id: now }: SessionFields): boolean {
  return user === null || user === now;
}
