/** Outboxes that outlive the tabs of this browser, and the adoption of those of closed tabs. Loaded with each start. */

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

/** Parts of the client that adopts the writes of closed tabs. */
export interface AdoptingParts extends Pick<AdoptionPort, "loadSending"> {
  credentials: Credentials;
  record: ClientRecord;
  writer: Writer;
  documents: Documents;
  emitter: Emitter<SessionEvents>;
  transport: Transport;
  pending: Pending;
  /** Name that separates several sessions of one site. */
  name: string | undefined;
  /** Return the owner of what is stored for a session. */
  nameOwner(session: SessionFields): Owner;
}

export class Outboxes {
  readonly store: OutboxStore;
  readonly #env: Environment;

  private constructor(env: Environment, store: OutboxStore) {
    this.#env = env;
    this.store = store;
  }

  /** Open the outboxes. Rejects if the browser stores nothing. */
  static async open(env: Environment): Promise<Outboxes> {
    return new Outboxes(env, await OutboxStore.open(env));
  }

  /**
   * Return the copy of a tab's outbox, whose row `describe` returns. `tellStored` is called when the copy is up to
   * date, or when the store has failed (`isGone`).
   */
  newMirror(describe: () => ClientRow, tellStored: (isGone: boolean) => void): Mirror {
    return new Mirror(this.#env.clock, this.store, describe, tellStored);
  }

  /**
   * Find out what other pages have left of a record: its names and its writes. `isTaken`: they have numbered the writes
   * of this page too, so that what is missing was sent or given up. Of a record that was adopted (`isGone`) that is true
   * for late writes, which the next page of the tab takes before it writes itself.
   */
  async findLeft({ key, client, lateFrom }: ClientRecord, isGone: boolean) {
    const { store } = this;
    // A write gets its answer before it is removed.
    const [row, writes, results] = await Promise.all([store.readRow(key), store.readWrites(key), store.readResults(key)]);
    const numbers = [...writes.map(([seq]) => seq), ...results.keys()];
    const names = row && { client: row.client, user: row.owner[1] || null, session: row.owner[2] || null };
    const isTaken = isGone ? numbers.some((seq) => seq >= lateFrom) : row && row.client !== client;
    return { names, writes, isTaken };
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
