/** Parts of a client that the handling of session changes uses. */

import type { Adoption } from "../adoption";
import type { Begun } from "../beginning";
import type { Connection } from "../connection";
import type { Copies } from "../copies";
import type { Credentials, Kept } from "../credentials";
import type { Owner } from "../database";
import type { Documents } from "../documents";
import type { Emitter } from "../emitter";
import type { Environment } from "../environment";
import type { SessionEvents, UnsentWrite } from "../events";
import type { Position, SessionFields, SuccessorReceipt } from "../frames";
import type { Handshake } from "../handshake";
import type { Identity } from "../identity";
import type { Logbook } from "../logbook";
import type { Outboxes } from "../outboxes";
import type { ClientRecord } from "../record";
import type { Rest } from "../rest";
import type { Timeline } from "../timeline";
import type { Writer } from "../writer";

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
  /** Return the owner of what is stored for a session. */
  nameOwner(session: SessionFields): Owner;
  tellRecovery(receipt: SuccessorReceipt): void;
}

/** Life of a client, as the handling of its changes uses it. */
export interface ChangedLife {
  readonly parts: LifeParts;
  /** Drop what closed tabs of a session left. */
  abandonClosed(kept: Pick<Kept, "session">, reason: string): void;
  /** Begin as another client; return the writes that get no answer any more. */
  restartClient(session: SessionFields, reason: string): UnsentWrite[];
  /** Return the writes of an earlier session in the record of this tab, if the present user may see them. */
  settleRecord(session: SessionFields, begins: Position | undefined, reason: string): UnsentWrite[];
  tellIdentity(entered: NonNullable<Begun["entered"]>): void;
  tellUnsent(writes: UnsentWrite[], reason: string): void;
}
