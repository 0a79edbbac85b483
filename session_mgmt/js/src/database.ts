/** IndexedDB databases: their stores and keys, and a limit to waiting for them. */

import type { Environment } from "./environment";

/** Owner of records; nobody else's are ever read. */
export type Owner = readonly [scope: string, user: string, session: string];

export type Work = (transaction: IDBTransaction) => void;

const VERSION = 1;
const PATIENCE = 1000;

/** Reject if there is none, or if it does not open soon: another tab may be in its way for as long as it lives. */
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
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      clock.clearTimeout(timer);
      if (late) request.result.close();
      else resolve(request.result);
    };
  });
}

/**
 * Run `work` in one transaction on all stores; `ended` gets the error, or null when all of it is stored. Relaxed
 * durability: after a power loss the database may be older, which its readers expect at any time.
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

/** Read all records of a store whose keys begin with `start`, with their keys, in the order of the keys. */
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

/** Return the range of keys that begin with these; an array sorts after strings and numbers. */
export function keysUnder(start: readonly (string | number)[]): IDBKeyRange {
  return IDBKeyRange.bound([...start], [...start, []]);
}

/** Remove what others have in the owner's scope. */
export function removeOthers(store: IDBObjectStore, owner: Owner): void {
  const [scope] = owner;
  store.delete(IDBKeyRange.bound([scope], [...owner], false, true));
  store.delete(IDBKeyRange.bound([...owner, []], [scope, []], true));
}
