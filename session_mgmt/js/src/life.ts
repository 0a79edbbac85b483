/** What becomes of a client whose name, token or session is no good any more. */

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
  owner(): Owner;
  clock: Clock;
  recovered(receipt: SuccessorReceipt): void;
}

export class Life {
  readonly #parts: LifeParts;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  /** What to do about a close code; null if it is an ordinary end. */
  repair(code: number, wasReady: boolean): Repair | Promise<Repair> | null {
    switch (code) {
      case CLOSE.CLIENT_FORGOTTEN:
        this.#begin("client_forgotten");
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
        this.#begin("invalid_frame");
        return "stop";
      default:
        return null;
    }
  }

  /** Goes over to the session that another tab has put in the place of this one's. */
  adopt(reason: string): boolean {
    const { credentials, documents } = this.#parts;
    const user = credentials.session.user_id;
    const adopted = credentials.adopt();
    if (adopted) this.#enterSession(reason);
    if (credentials.session.user_id !== user) documents.reset();
    return adopted;
  }

  /** At the start: an earlier session's record has writes that belong to that one. `begins`: of a new session's log. */
  settleIn(begins: Position | undefined): void {
    const { record, credentials } = this.#parts;
    const session = credentials.session.session_id;
    const stale = record.session !== null && record.session !== session;
    if (stale || begins) record.setPosition(SESSION_LOG, begins ?? null);
    if (!stale) return record.belongTo(session, record.client);
    const writes = this.#restart("session_changed");
    // Not before the application has had its chance to listen.
    this.#parts.clock.setTimeout(() => this.#tell(writes, "session_changed"), 0);
  }

  #refused(reason: string, event: "auth_required" | "session_terminated" | "session_expired"): Repair {
    if (this.adopt(reason)) return "reconnect";
    this.#parts.credentials.forget();
    void this.#parts.copies?.wipe();
    this.#begin(reason);
    this.#parts.timeline.announce(event, { reason });
    return "stop";
  }

  async #recover(): Promise<Repair> {
    try {
      const receipt = await this.#parts.credentials.recover();
      this.#enterSession("session_expired");
      if (receipt) this.#parts.recovered(receipt);
      return "reconnect";
    } catch (error) {
      const failure = error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
      this.#parts.emitter.emit("error", failure);
      // Coming back with the old token leads here again, after the next wait.
      return failure.temporary ? "reconnect" : this.#refused("session_expired", "session_expired");
    }
  }

  /** Another session: its documents and its own log are other logs; topics are the same ones. */
  #enterSession(reason: string): void {
    const { logbook, copies, owner } = this.#parts;
    copies?.enter(owner());
    logbook.forget(logbook.names().filter((name) => !name.startsWith("topic:")));
    this.#begin(reason);
  }

  /** Another client, by another name; what this one had not confirmed goes to the application. */
  #begin(reason: string): void {
    this.#tell(this.#restart(reason), reason);
  }

  #restart(reason: string): UnsentWrite[] {
    const { record, credentials, documents, writer } = this.#parts;
    record.belongTo(credentials.session.session_id, null);
    documents.dropPending();
    return writer.abandon(reason);
  }

  #tell(writes: UnsentWrite[], reason: string): void {
    if (writes.length > 0) this.#parts.emitter.emit("unsent", writes, reason);
  }
}
