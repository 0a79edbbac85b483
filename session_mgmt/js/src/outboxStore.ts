/**
 * Outboxes in IndexedDB, so that the writes of a closed tab survive it: another tab sends them (`Adoption`).
 *
 * While writes wait, a tab has a row that names its owner, its lock and its client, and a record for each unanswered
 * write. A tab that adopts these writes first marks the key as adopted; if the former tab comes back, it begins as a
 * new client. Each change is one transaction, so the store always contains the outbox of one moment.
 */

import { keysUnder, openDatabase, readRecords, runTransaction, type Owner } from "./database";
import type { Environment } from "./environment";
import type { ReceiptFrame, WriteFrame } from "./frames";

export interface ClientRow {
  /** Key of the tab's record. */
  key: string;
  /** Name of the Web Lock that a tab must hold to number or send these writes. */
  lock: string;
  owner: Owner;
  /** Name that the server gave to the client; null if the tab was never connected. */
  client: string | null;
  /** Time of the last change. */
  at: number;
}

/** Writes to store, by number; null removes one. */
export type WriteChanges = ReadonlyMap<number, WriteFrame | null>;

const DATABASE = "session-mgmt-outbox";
const [CLIENTS, WRITES, ADOPTED, RESULTS] = ["clients", "writes", "adopted", "results"] as const;
const KEPT_FOR = 7 * 24 * 3600 * 1000;

export class OutboxStore {
  readonly #env: Environment;
  readonly #db: IDBDatabase;

  private constructor(env: Environment, db: IDBDatabase) {
    this.#env = env;
    this.#db = db;
  }

  /** Open the database, and remove what is too old. Rejects if the browser stores nothing there. */
  static async open(env: Environment): Promise<OutboxStore> {
    const store = new OutboxStore(env, await openDatabase(env, DATABASE, [CLIENTS, WRITES, ADOPTED, RESULTS]));
    await store.#removeOld().catch((error) => {
      store.close();
      throw error;
    });
    return store;
  }

  /** List the other tabs of an owner that have waiting writes, the oldest first, with the number of these writes. */
  async listWaiting(owner: Owner, own: string): Promise<[row: ClientRow, count: number][]> {
    const counts = new Map<string, number>();
    for (const [key] of await readRecords(this.#db, WRITES)) {
      const [client] = key as [string, number];
      counts.set(client, (counts.get(client) ?? 0) + 1);
    }
    const rows = (await this.#readRows()).filter((row) => row.key !== own && belongsTo(row.owner, owner));
    return rows
      .sort((a, b) => a.at - b.at)
      .map((row): [ClientRow, number] => [row, counts.get(row.key) ?? 0])
      .filter(([, count]) => count > 0);
  }

  async readWrites(key: string): Promise<[seq: number, write: WriteFrame][]> {
    const records = await readRecords(this.#db, WRITES, [key]);
    return records.map(([at, write]) => [(at as [string, number])[1], write as WriteFrame]);
  }

  /** Return the row of a tab; undefined if no writes wait. */
  readRow(key: string): Promise<ClientRow | undefined> {
    return this.#get(CLIENTS, key) as Promise<ClientRow | undefined>;
  }

  async readResults(key: string): Promise<Map<number, ReceiptFrame>> {
    const records = await readRecords(this.#db, RESULTS, [key]);
    return new Map(records.map(([at, receipt]) => [(at as [string, number])[1], receipt as ReceiptFrame]));
  }

  /** Store the row and changed writes of a tab; remove the row if no writes wait. */
  save(row: ClientRow, changes: WriteChanges, hasWrites: boolean, ended: (error: unknown) => void): void {
    const work = (transaction: IDBTransaction): void => {
      const clients = transaction.objectStore(CLIENTS);
      if (hasWrites) clients.put(row, row.key);
      else clients.delete(row.key);
      putWrites(transaction, row.key, changes);
      // A page that is being left gets no more events, so no later step may be needed.
      transaction.commit?.();
    };
    runTransaction(this.#db, work, ended);
  }

  /** Mark the writes of a tab as adopted, and name its client. Resolves when that is stored. */
  markAdopted(row: ClientRow): Promise<void> {
    return new Promise((resolve, reject) => {
      const work = (transaction: IDBTransaction): void => {
        transaction.objectStore(ADOPTED).put(this.#env.clock.now(), row.key);
        transaction.objectStore(CLIENTS).put(row, row.key);
      };
      runTransaction(this.#db, work, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Return true if another tab has adopted these writes. */
  async isAdopted(key: string): Promise<boolean> {
    return (await this.#get(ADOPTED, key)) !== undefined;
  }

  /** Store the answer to an adopted write, for the tab that made it. */
  saveResult(key: string, seq: number, receipt: ReceiptFrame): void {
    const work = (transaction: IDBTransaction): void => {
      transaction.objectStore(RESULTS).put(receipt, [key, seq]);
    };
    runTransaction(this.#db, work, () => undefined);
  }

  /** Remove the row of a tab and all its records. */
  remove(key: string): void {
    runTransaction(this.#db, (transaction) => removeClient(transaction, key), () => undefined);
  }

  close(): void {
    this.#db.close();
  }

  #readRows(): Promise<ClientRow[]> {
    return this.#read(CLIENTS, (store) => store.getAll());
  }

  #get(store: string, key: string): Promise<unknown> {
    return this.#read(store, (found) => found.get(key));
  }

  #read<T>(store: string, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const request = ask(this.#db.transaction(store, "readonly").objectStore(store));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  async #removeOld(): Promise<void> {
    const oldest = this.#env.clock.now() - KEPT_FOR;
    for (const row of await this.#readRows()) if (row.at < oldest) this.remove(row.key);
    for (const [key, at] of await readRecords(this.#db, ADOPTED)) {
      if ((at as number) < oldest) this.remove(key as string);
    }
  }
}

function putWrites(transaction: IDBTransaction, key: string, changes: WriteChanges): void {
  const writes = transaction.objectStore(WRITES);
  for (const [seq, frame] of changes) {
    if (frame) writes.put(frame, [key, seq]);
    else writes.delete([key, seq]);
  }
}

function removeClient(transaction: IDBTransaction, key: string): void {
  for (const store of [CLIENTS, ADOPTED]) transaction.objectStore(store).delete(key);
  for (const store of [WRITES, RESULTS]) transaction.objectStore(store).delete(keysUnder([key]));
}

/** Return true if writes of one owner belong to another owner now: a user may have taken over a visitor's session. */
function belongsTo([scope, user, session]: Owner, now: Owner): boolean {
  return scope === now[0] && session === now[2] && (user === now[1] || user === "");
}
