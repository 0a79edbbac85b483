/** Repair of a client whose name or session is no longer valid. */

import { CLOSE } from "../codes";
import type { Repair } from "../connection";
import { maySucceed, type Kept } from "../credentials";
import type { StatusReason, UnsentWrite } from "../events";
import { LOGGED_OUT } from "../identity";
import type { Ending } from "../transport";
import type { ChangedLife } from "./parts";
import { restoreRecord } from "./restoring";
import type { Change, Turns } from "./turns";

const CLONE_WITHIN = 10_000;

export class Repairs {
  readonly #life: ChangedLife;
  readonly #turns: Turns;
  #replacedAt = -Infinity;
  /** Opening of a record that the page had released; null if none is in progress. */
  #takingUp: Promise<void> | null = null;
  /** Value of `record.leavings` when that opening began. */
  #leavings = 0;

  constructor(life: ChangedLife, turns: Turns) {
    this.#life = life;
    this.#turns = turns;
  }

  /** Repair the client after a close code that invalidates its name or session. */
  repairAfter({ code, name, reason }: Ending, wasReady: boolean): Repair | Promise<Repair> {
    switch (code) {
      case CLOSE.CLIENT_FORGOTTEN:
        this.#beginClient("client_forgotten");
        return "reconnect";
      case CLOSE.SESSION_TERMINATED:
        return this.#leaveSession(reason ?? "session_terminated", { code, name: name ?? "session_terminated" });
      case CLOSE.REPLACED:
        return this.#replaceClient(wasReady);
      default:
        // One of the writes may be the reason. If the next page sent it again, that connection would end too.
        this.#beginClient("invalid_frame");
        return "stop";
    }
  }

  /** Open the record again if the page has released it; null if there is nothing to wait for. */
  takeUp(): Promise<void> | null {
    const { record } = this.#life.parts;
    if (!record.isAway || (this.#takingUp && this.#leavings === record.leavings)) return this.#takingUp;
    const leavings = (this.#leavings = record.leavings);
    const reopen = (): Promise<void> => this.#reopenRecord(leavings);
    // If the page was left again while an opening was in progress, that opening ends without the record.
    const taking = (this.#takingUp?.then(reopen) ?? reopen()).finally(() => {
      if (this.#takingUp === taking) this.#takingUp = null;
    });
    this.#takingUp = taking;
    return this.#takingUp;
  }

  /** Continue with other tokens, or with another session. */
  takeChange({ before, after, reason, entered }: Change): void {
    const { copies, documents, record, logbook, nameOwner } = this.#life.parts;
    const isSame = before?.session.session_id === after.session.session_id;
    if (!isSame) this.#enterSession(before, after, reason);
    else if (before.session.user_id !== after.session.user_id) {
      // A visitor has logged in: everything continues, but the local copies have another owner.
      record.assignClient(after.session, record.client);
      if (copies) logbook.forgetPlaces(logbook.names().filter((name) => name.startsWith("state:")));
      copies?.enterSession(nameOwner(after.session));
    }
    if (before?.session.user_id !== after.session.user_id) logbook.forgetDenials();
    documents.showRestored();
    if (entered?.receipt) this.#life.parts.tellRecovery(entered.receipt);
    if (entered) this.#life.tellIdentity(entered);
  }

  /** End the session of this tab, and remove everything of it from the page and the browser. */
  takeEnd(reason: string, { code }: StatusReason): void {
    const { credentials, copies, logbook, documents, emitter, timeline } = this.#life.parts;
    const { session } = credentials;
    const unsent = this.#wipeRecord(reason);
    logbook.forgetPlaces(logbook.names());
    documents.resetValues();
    copies?.wipeScope();
    this.#life.abandonClosed({ session }, reason);
    this.#life.tellUnsent(unsent, reason);
    if (code === CLOSE.SESSION_TERMINATED || reason === "session_terminated") {
      timeline.announceEnd("session_terminated", { reason });
    } else if (reason !== LOGGED_OUT) timeline.announceEnd("auth_required", { reason });
    emitter.emit("ended", { reason });
  }

  /**
   * Decide what to do after another connection of this client replaced this one. Before `connected`, or while an attach
   * is unanswered, that was an earlier attach of this client, which the server handled late. If it happens twice in a
   * short time, another tab or machine has a copy of this client.
   */
  async #replaceClient(wasReady: boolean): Promise<Repair> {
    const { record } = this.#life.parts;
    if (await record.isAdopted().catch(() => false)) {
      record.leave();
      return "reconnect";
    }
    const now = this.#life.parts.env.clock.now();
    const isClone = now - this.#replacedAt < CLONE_WITHIN;
    if (wasReady && !isClone && record.latest === record.generation) return "stop";
    this.#replacedAt = now;
    if (isClone) this.#beginClient("replaced");
    return "reconnect";
  }

  /** Continue with the record as it is now: another page may have used it, or may have adopted its writes. */
  async #reopenRecord(leavings: number): Promise<void> {
    const { record, outboxes, documents, writer, credentials } = this.#life.parts;
    const { key } = record;
    writer.flush();
    await record.reopen(leavings, (...lost) => restoreRecord(record, writer.outbox, outboxes, ...lost));
    if (record.isAway) return;
    const gone = writer.reload(record.lateFrom);
    if (credentials.kept) {
      const reason = "session_changed";
      this.#life.tellUnsent(this.#life.settleRecord(credentials.session, undefined, reason), reason);
      documents.showRestored();
    } else this.#wipeRecord();
    const answers = gone.length > 0 && (await outboxes?.store.readResults(key).catch(() => undefined));
    writer.settleSent(gone, answers || new Map());
  }

  /** Leave a session that has ended; come back if another tab has stored a session to continue with. */
  #leaveSession(reason: string, status: StatusReason): Repair | Promise<Repair> {
    const { credentials } = this.#life.parts;
    const decide = (): Repair => {
      if (this.#turns.hasSuccessor()) return "reconnect";
      this.#turns.endSession(reason, status);
      return "stop";
    };
    // A visitor may have logged in: the tab that enters holds the lock until it has stored the new session.
    return credentials.session.user_id === null ? this.#turns.awaitOthers().then(decide) : decide();
  }

  /** Enter another session. Its documents and its own log are other logs; topics stay the same for the same user. */
  #enterSession(before: Kept | null, after: Kept, reason: string): void {
    const { logbook, copies, documents, record, credentials, nameOwner } = this.#life.parts;
    const isSuccessor = before !== null && maySucceed(before, after);
    const names = logbook.names();
    logbook.forgetPlaces(isSuccessor ? names.filter((name) => !name.startsWith("topic:")) : names);
    if (!isSuccessor) record.clearPositions();
    const unsent = this.#life.restartClient(credentials.session, reason);
    copies?.enterSession(nameOwner(after.session));
    if (!isSuccessor || before.session.user_id !== after.session.user_id) documents.resetValues();
    if (before) this.#life.abandonClosed(before, reason);
    this.#life.tellUnsent(unsent, reason);
  }

  /** Begin as another client; give unconfirmed writes to the application. */
  #beginClient(reason: string): void {
    this.#life.tellUnsent(this.#life.restartClient(this.#life.parts.credentials.session, reason), reason);
  }

  /** Remove everything of an ended session from the record; return its unsent writes. */
  #wipeRecord(reason = "session_changed"): UnsentWrite[] {
    const { record, credentials } = this.#life.parts;
    const unsent = this.#life.restartClient(credentials.session, reason);
    record.clearPositions();
    record.leaveSession();
    return unsent;
  }
}
