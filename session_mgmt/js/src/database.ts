/** IndexedDB database of local copies: one store, its keys, and a limit to waiting for it. */

import type { Clock } from "./environment";

/** Owner of copies; nobody else's are ever read. */
export type Owner = readonly [scope: string, user: string, session: string];

export type Work = (store: IDBObjectStore) => void;

const DATABASE = "session-mgmt";
const VERSION = 1;
const STORE = "copies";
const PATIENCE = 1000;

/** Reject if there is none, or if it does not open soon: another tab may be in its way for as long as it lives. */
export function openDatabase(factory: IDBFactory | null, clock: Clock): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    if (!factory) return reject(new Error("There is no IndexedDB."));
    const request = factory.open(DATABASE, VERSION);
    let late = false;
    const timer = clock.setTimeout(() => {
      late = true;
      reject(new Error("IndexedDB does not open."));
    }, PATIENCE);
    request.onupgradeneeded = () => void request.result.createObjectStore(STORE);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      clock.clearTimeout(timer);
      if (late) request.result.close();
      else resolve(request.result);
    };
  });
}

/**
 * Run `work` in one transaction; `ended` gets the error, or null when all of it is stored. Relaxed durability: after a
 * power loss a copy may be older, which it may be at any time.
 */
export function runTransaction(db: IDBDatabase, work: Work, ended: (error: unknown) => void): void {
  try {
    const transaction = db.transaction(STORE, "readwrite", { durability: "relaxed" });
    transaction.oncomplete = () => ended(null);
    transaction.onabort = () => ended(transaction.error ?? new Error("The transaction was aborted."));
    work(transaction.objectStore(STORE));
  } catch (error) {
    ended(error);
  }
}

/** All records of an owner, with their keys, in the order of the keys. */
export function readRecords(db: IDBDatabase, owner: Owner): Promise<[key: IDBValidKey, record: unknown][]> {
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(STORE, "readonly");
    const keys = transaction.objectStore(STORE).getAllKeys(keysUnder(owner));
    const records = transaction.objectStore(STORE).getAll(keysUnder(owner));
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
