/** IndexedDB databases: stores, keys, and limits for waiting. */

import type { Environment } from "./environment";

/** Owner of records. The client never reads records of another owner. */
export type Owner = readonly [scope: string, user: string, session: string];

export type Work = (transaction: IDBTransaction) => void;

const VERSION = 1;
const PATIENCE = 1000;

/**
 * Open a database. Rejects if there is no IndexedDB, or if the database does not open soon: an open tab may block it.
 */
export function openDatabase(
  { indexedDB, clock }: Pick<Environment, "indexedDB" | "clock">,
  name: string,
  stores: readonly string[],
): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    if (!indexedDB) return reject(new Error("There is no IndexedDB."));
    const request = indexedDB.open(name, VERSION);
    let late = false;
    const timer = clock.setTimeout(() => {
      late = true;
      reject(new Error("IndexedDB does not open."));
    }, PATIENCE);
    request.onupgradeneeded = () => stores.forEach((store) => request.result.createObjectStore(store));
    request.onerror = () => {
      clock.clearTimeout(timer);
      reject(request.error);
    };
    request.onsuccess = () => {
      clock.clearTimeout(timer);
      if (late) request.result.close();
      else resolve(request.result);
    };
  });
}

/**
 * Run `work` in one transaction on all stores. `ended` receives the error, or null when everything is stored. The
 * durability is relaxed: after a power loss the database may be older, and its readers expect that at any time.
 */
export function runTransaction(db: IDBDatabase, work: Work, ended: (error: unknown) => void): void {
  try {
    const transaction = db.transaction([...db.objectStoreNames], "readwrite", { durability: "relaxed" });
    transaction.oncomplete = () => ended(null);
    transaction.onabort = () => ended(transaction.error ?? new Error("The transaction was aborted."));
    work(transaction);
  } catch (error) {
    ended(error);
  }
}

/** Read all records whose keys begin with `start`, with their keys, in the order of the keys. */
export function readRecords(
  db: IDBDatabase,
  store: string,
  start?: readonly (string | number)[],
): Promise<[key: IDBValidKey, record: unknown][]> {
  const range = start && keysUnder(start);
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(store, "readonly");
    const keys = transaction.objectStore(store).getAllKeys(range);
    const records = transaction.objectStore(store).getAll(range);
    transaction.oncomplete = () => resolve(keys.result.map((key, at) => [key, records.result[at]]));
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Return the range of keys that begin with these parts; in IndexedDB an array sorts after texts and numbers. */
export function keysUnder(start: readonly (string | number)[]): IDBKeyRange {
  return IDBKeyRange.bound([...start], [...start, []]);
}

/** Remove the records of other owners in the owner's scope. */
export function removeOthers(store: IDBObjectStore, owner: Owner): void {
  const [scope] = owner;
  store.delete(IDBKeyRange.bound([scope], [...owner], false, true));
  store.delete(IDBKeyRange.bound([...owner, []], [scope, []], true));
}
