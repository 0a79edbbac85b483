/**
 * Local copies of documents in IndexedDB: confirmed values that survive a reload (option `cache`). If they fail, the
 * client works without them.
 *
 * A copy has a base, which is the whole value at one version, and the later entries of the log; each entry is a record
 * of its own. So a change costs as much as the change is large, also in a document of 5 MB. From time to time the
 * entries are folded into a new base (`DocumentCopy`). No record says how far the copy reaches, because several tabs
 * would overwrite it. Instead, an entry is the same whichever tab writes it, each entry names the tag of the entry
 * before it, and the copy reaches to the end of that chain. So the copy is complete at every moment, and never goes
 * back.
 *
 * No timer delays a write: changes that arrive during one transaction are collected for the next one.
 */

import { DocumentCopy } from "./copy";
import { BASE, BODY, isBase, type Entry, type Records, type NewBase } from "./copyRecords";
import { keysUnder, openDatabase, readRecords, removeOthers, runTransaction, type Owner } from "./database";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import type { applyOperations } from "./operations";
import { watchLeaving } from "./leaving";

const DATABASE = "session-mgmt";
const STORE = "copies";

interface Change {
  removed: boolean;
  base: NewBase | null;
  entries: Map<number, Entry>;
}

export class Copies {
  readonly #warn: (error: SessionError) => void;
  readonly #unwatch: () => void;
  #db: IDBDatabase | null = null;
  #owner: Owner;
  #found = new Map<string, Map<number, unknown>>();
  #waiting = new Map<string, Change>();
  #writing = 0;

  private constructor(env: Environment, owner: Owner, warn: (error: SessionError) => void) {
    this.#owner = owner;
    this.#warn = warn;
    this.#unwatch = watchLeaving(env.page, () => this.#writeWaiting());
  }

  /** Open the copies of the owner, and remove those of others in its scope. Never rejects, and never waits long. */
  static async open(env: Environment, owner: Owner, warn: (error: SessionError) => void): Promise<Copies> {
    const copies = new Copies(env, owner, warn);
    try {
      await copies.#readOwned(await openDatabase(env, DATABASE, [STORE]));
    } catch (error) {
      copies.#giveUp(error);
    }
    return copies;
  }

  /** Return the copy of one document. `keepsSealed`: keep it also if the server stores the document encrypted. */
  openDocument(...copied: [name: string, keepsSealed: boolean, apply: typeof applyOperations]): DocumentCopy {
    return new DocumentCopy(this, ...copied);
  }

  /** Return the records of a document that were found at the start. */
  takeRecords(document: string): Records | null {
    const records = this.#found.get(document) ?? null;
    this.#found.delete(document);
    return records;
  }

  appendEntry(document: string, version: number, entry: Entry): void {
    this.#planChange(document, ({ entries }) => void entries.set(version, entry));
  }

  /** Store a whole value. Entries that wait to be stored are part of it, or belong to another epoch. */
  replaceBase(document: string, base: NewBase): void {
    this.#planChange(document, (change) => {
      change.base = base;
      change.entries.clear();
    });
  }

  removeDocument(document: string): void {
    this.#found.delete(document);
    this.#planChange(document, (change) => {
      change.removed = true;
      change.base = null;
      change.entries.clear();
    });
  }

  /** Forget the records that were found, because their owner may not be here. They stay stored. */
  hideFound(): void {
    this.#found.clear();
  }

  /** Remove everything in this scope. Copies are kept again in the next session. */
  wipeScope(): void {
    this.#found.clear();
    this.#waiting.clear();
    const [scope] = this.#owner;
    this.#runTransaction((store) => void store.delete(keysUnder([scope])));
  }

  /** Enter another session, and remove everything of the session before. */
  enterSession(owner: Owner): void {
    this.#owner = owner;
    this.#found.clear();
    this.#waiting.clear();
    this.#runTransaction((store) => removeOthers(store, owner));
  }

  /** Remove the copies of this session, and keep no more. Resolves when they are gone. */
  async wipeRecords(): Promise<void> {
    this.#found.clear();
    this.#waiting.clear();
    const owner = this.#owner;
    await new Promise<void>((resolve) => this.#runTransaction((store) => void store.delete(keysUnder(owner)), resolve));
    this.close();
  }

  /** Write what waits, then close the database. */
  close(): void {
    this.#writeWaiting();
    this.#unwatch();
    // A transaction that has begun still ends.
    this.#db?.close();
    this.#db = null;
  }

  async #readOwned(db: IDBDatabase): Promise<void> {
    this.#db = db;
    // A newer version of this library in another tab must not wait for this tab.
    db.onversionchange = db.onclose = () => this.#giveUp(new Error("The database was closed."));
    for (const [key, record] of await readRecords(db, STORE, this.#owner)) {
      const [document, place] = (key as unknown[]).slice(this.#owner.length) as [string, number];
      const records = this.#found.get(document) ?? new Map<number, unknown>();
      this.#found.set(document, records.set(place, record));
    }
    this.#runTransaction((store) => removeOthers(store, this.#owner));
  }

  #planChange(document: string, amend: (change: Change) => void): void {
    if (!this.#db) return;
    const change = this.#waiting.get(document) ?? { removed: false, base: null, entries: new Map() };
    this.#waiting.set(document, change);
    amend(change);
    if (this.#writing === 0) this.#writeWaiting();
  }

  #writeWaiting(): void {
    const changes = [...this.#waiting];
    this.#waiting.clear();
    if (changes.length === 0) return;
    const owner = this.#owner;
    this.#runTransaction((store) => {
      for (const [document, change] of changes) applyChange(store, [...owner, document], change);
      // A page that is being left gets no more events, so no later step may be needed.
      if (changes.every(([, { base }]) => base === null)) store.transaction.commit?.();
    });
  }

  #runTransaction(work: (store: IDBObjectStore) => void, done: () => void = () => undefined): void {
    if (!this.#db) return done();
    this.#writing += 1;
    const inStore = (transaction: IDBTransaction): void => work(transaction.objectStore(STORE));
    runTransaction(this.#db, inStore, (error) => {
      this.#writing -= 1;
      if (error) this.#giveUp(error);
      else if (this.#writing === 0) this.#writeWaiting();
      done();
    });
  }

  /** Stop keeping copies. The present copy stays valid, for an earlier version. */
  #giveUp(error: unknown): void {
    this.#waiting.clear();
    this.#unwatch();
    this.#db?.close();
    this.#db = null;
    this.#warn(SessionError.local("cache_unavailable", `No local copies are kept: ${String(error)}`));
  }
}

type DocumentKey = readonly [...Owner, document: string];

function applyChange(store: IDBObjectStore, key: DocumentKey, { removed, base, entries }: Change): void {
  if (removed) store.delete(keysUnder(key));
  const putEntries = (): void => entries.forEach((entry, version) => void store.put(entry, [...key, version]));
  if (!base) return putEntries();
  const there = store.get([...key, BASE]);
  there.onsuccess = () => {
    if (mayReplace(base, there.result)) putBase(store, key, base, there.result);
    putEntries();
  };
}

/** Return true if a base may replace another; a base of a tab that is further ahead stays. */
function mayReplace({ position, over }: NewBase, there: unknown): boolean {
  return !isBase(there) || there.position[0] !== position[0] || there.position[1] <= over;
}

function putBase(store: IDBObjectStore, key: DocumentKey, base: NewBase, there: unknown): void {
  const { position, seqs, text, over } = base;
  const goesOn = isBase(there) && there.position[0] === position[0] && over !== Infinity;
  store.put({ position: [...position], seqs }, [...key, BASE]);
  store.put(text, [...key, BODY]);
  const last = goesOn ? position[1] : Number.MAX_SAFE_INTEGER;
  if (last > 0) store.delete(IDBKeyRange.bound([...key, 1], [...key, last]));
}
