/** Local copy of one document: written with each change, read by the next page. */

import { BASE, BODY, isBase, type Entry, type NewBase, type Records } from "./copyRecords";
import type { Position } from "./frames";
import type { applyOperations, Operation } from "./operations";
import type { Json } from "./values";

export interface Kept {
  data: Json;
  position: Position;
}

const MOST_CLIENTS = 100;
// A fold costs as much as the document is large, so it waits for entries of about that size. At its start, a page reads
// a thousand entries in a few milliseconds.
const FOLD_BYTES = 65_536;
const FOLD_ENTRIES = 1000;

/** Content of an entry in a document's log. */
export interface EntryBody {
  ops: readonly Operation[];
  client_id?: string;
  seq?: number;
}

/** Store of the copies, as a document uses it. */
export interface CopyStore {
  takeRecords(document: string): Records | null;
  appendEntry(document: string, version: number, entry: Entry): void;
  replaceBase(document: string, base: NewBase): void;
  removeDocument(document: string): void;
}

export class DocumentCopy {
  /** Value that an earlier page left; null if there is none, or if it is incomplete. */
  readonly kept: Kept | null;
  readonly #copies: CopyStore;
  readonly #name: string;
  readonly #keepsSealed: boolean;
  readonly #apply: typeof applyOperations;
  readonly #seqs = new Map<string, number>();
  /** End of the chain; null if the chain cannot be continued. */
  #at: Position | null = null;
  #base = { version: 0, bytes: 0 };
  #entries = { count: 0, bytes: 0 };
  #sealed = false;

  /** `apply`: return a value after operations. */
  constructor(copies: CopyStore, name: string, keepsSealed: boolean, apply: typeof applyOperations) {
    this.#copies = copies;
    this.#name = name;
    this.#keepsSealed = keepsSealed;
    this.#apply = apply;
    const records = copies.takeRecords(name);
    this.kept = records && this.#rebuildValue(records);
    this.#at = this.kept?.position ?? null;
    if (records && !this.kept) copies.removeDocument(name);
  }

  /** Return true if the copy contains the effect of this write although its receipt never came. */
  holdsWrite(client: string | null, seq: number): boolean {
    return client !== null && seq <= (this.#seqs.get(client) ?? 0);
  }

  appendEntry(position: Position, { ops, client_id: client = "", seq = 0 }: EntryBody): void {
    const at = this.#at;
    this.#noteSeq(client, seq);
    if (!at) return;
    const [epoch, version, tag] = position;
    this.#at = at[0] === epoch && at[1] + 1 === version ? position : null;
    if (!this.#at) return;
    this.#copies.appendEntry(this.#name, version, { epoch, tag, after: at[2], ops, client, seq });
    this.#entries.count += 1;
    this.#entries.bytes += JSON.stringify(ops).length;
  }

  /** Call after the last entry of a frame. */
  foldEntries(data: Json): void {
    const { count, bytes } = this.#entries;
    const many = count >= FOLD_ENTRIES || bytes > Math.max(FOLD_BYTES, this.#base.bytes / 2);
    // If another tab has folded since, its base is as good.
    if (this.#at && many) this.#storeBase(this.#at, data, this.#base.version);
  }

  /** Store a snapshot, which contains the writes of this client up to `decided`. */
  replaceBase(position: Position, data: Json, client: string | null, decided: number): void {
    if (this.#sealed) return;
    this.#noteSeq(client ?? "", decided);
    const before = this.#at;
    const wentBack = before !== null && before[0] === position[0] && before[1] >= position[1];
    this.#storeBase(position, data, wentBack ? Infinity : position[1]);
  }

  /** Drop the copy, because the server stores the document encrypted. */
  dropSealed(): void {
    if (this.#keepsSealed || this.#sealed) return;
    this.#sealed = true;
    this.dropRecords();
  }

  dropRecords(): void {
    this.#at = null;
    this.#copies.removeDocument(this.#name);
  }

  /** Stop adding to the chain, because another epoch or session begins. */
  leaveChain(): void {
    this.#at = null;
  }

  #storeBase(position: Position, data: Json, over: number): void {
    const text = JSON.stringify(data);
    const seqs = Object.fromEntries([...this.#seqs].slice(-MOST_CLIENTS));
    this.#copies.replaceBase(this.#name, { position, text, over, seqs });
    this.#at = position;
    this.#base = { version: position[1], bytes: text.length };
    this.#entries = { count: 0, bytes: 0 };
  }

  #noteSeq(client: string, seq: number): void {
    if (seq <= (this.#seqs.get(client) ?? 0)) return;
    // Clients are kept in the order of their last writes.
    this.#seqs.delete(client);
    this.#seqs.set(client, seq);
  }

  #rebuildValue(records: Records): Kept | null {
    const base = records.get(BASE);
    const text = records.get(BODY);
    if (!isBase(base) || typeof text !== "string") return null;
    let data: Json;
    try {
      data = JSON.parse(text);
    } catch {
      return null;
    }
    this.#base = { version: base.position[1], bytes: text.length };
    for (const [client, seq] of Object.entries(base.seqs)) this.#noteSeq(client, Number(seq));
    return this.#followChain(records, { data, position: base.position });
  }

  #followChain(records: Records, { data, position }: Kept): Kept {
    for (;;) {
      const [epoch, version, tag] = position;
      const entry = records.get(version + 1);
      if (!isEntry(entry) || entry.epoch !== epoch || entry.after !== tag) return { data, position };
      try {
        data = this.#apply(data, entry.ops);
      } catch {
        return { data, position };
      }
      position = [epoch, version + 1, entry.tag];
      this.#noteSeq(entry.client ?? "", entry.seq);
      this.#entries.count += 1;
      this.#entries.bytes += JSON.stringify(entry.ops).length;
    }
  }
}

function isEntry(record: unknown): record is Entry {
  const { epoch, tag, after, ops } = (record ?? {}) as Partial<Entry>;
  return typeof epoch === "string" && typeof tag === "string" && typeof after === "string" && Array.isArray(ops);
}
