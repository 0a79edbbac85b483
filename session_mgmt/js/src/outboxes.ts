/** What outlives the tabs of this browser: their outboxes, and who sends those of closed ones. Loaded with each start. */

import { Adoption, type AdoptionPort } from "./adoption";
import type { Credentials } from "./credentials";
import type { Owner } from "./database";
import type { Documents } from "./documents";
import type { Emitter } from "./emitter";
import type { Environment } from "./environment";
import type { SessionEvents } from "./events";
import type { SessionFields } from "./frames";
import { describeProof } from "./handshake";
import { Mirror } from "./mirror";
import { OutboxStore, type ClientRow } from "./outboxStore";
import type { Pending } from "./pending";
import type { ClientRecord } from "./record";
import type { Transport } from "./transport";
import type { Writer } from "./writer";

export { removeRecords } from "./forgetting";

/** Parts of the client whose tab sends what closed ones left. */
export interface AdoptingParts extends Pick<AdoptionPort, "loadSending"> {
  credentials: Credentials;
  record: ClientRecord;
  writer: Writer;
  documents: Documents;
  emitter: Emitter<SessionEvents>;
  transport: Transport;
  pending: Pending;
  /** Name of the page's session among those of the site. */
  name: string | undefined;
  /** Return the owner of what is kept of a session. */
  nameOwner(session: SessionFields): Owner;
}

export class Outboxes {
  readonly store: OutboxStore;
  readonly #env: Environment;

  private constructor(env: Environment, store: OutboxStore) {
    this.#env = env;
    this.store = store;
  }

  /** Open the outboxes; rejects if the browser keeps nothing. */
  static async open(env: Environment): Promise<Outboxes> {
    return new Outboxes(env, await OutboxStore.open(env));
  }

  /** Return the copy of a tab's outbox, which `describe` names; `tellStored` is called when it has caught up. */
  newMirror(describe: () => ClientRow, tellStored: () => void): Mirror {
    return new Mirror(this.#env.clock, this.store, describe, tellStored);
  }

  newAdoption(parts: AdoptingParts): Adoption {
    const { credentials, record, writer, documents, emitter, transport, pending, name, nameOwner, loadSending } = parts;
    return new Adoption(this.#env, this, {
      loadSending,
      readOwner: () => nameOwner(credentials.session),
      readKey: () => record.key,
      openLink: (port) => transport.openWriter(port),
      readProof: () => describeProof(credentials.token, name),
      findPosition: (document) => documents.findReplica(document)?.position ?? null,
      tellAdopted: (count) => emitter.emit("adopted", { count }),
      tellWaiting: () => pending.planReport(),
      tellUnsent: (writes, reason) => emitter.emit("unsent", writer.describeUnsent(writes), reason),
      newOutbox: (...parts) => writer.newOutbox(...parts),
      tellConflict: (write, receipt) => writer.tellConflict(write, receipt, true),
    });
  }
}
