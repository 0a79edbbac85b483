/** Rows of one range of keys: a page as it was read, with the later changes from its topic. */

import type { Position } from "../frames";
import { areEqual, type Json } from "../values";
import { compareKeys, type Column, type Key, type KeyValue } from "./order";

export interface Item<Row> {
  readonly pk: string;
  readonly key: Key;
  row: Row;
}

/** Publication of a live model. */
export type Entry<Row> =
  | { op: "put"; pk: string; row: Row; key: Record<string, KeyValue> }
  | { op: "del"; pk: string };

/** Fields of a page besides its rows. */
export interface Live {
  topic: string;
  position: Position;
  ordering: Column[];
  pks: string[];
  keys: Key[];
  /** Range: after < key <= until; null for an open end. */
  after: Key | null;
  until: Key | null;
  filters: Record<string, KeyValue | { in: KeyValue[] }>;
  other_filters: boolean;
  refresh: string;
}

export interface Page<Row> {
  results: Row[];
  next: string | null;
  live: Live;
}

export interface SegmentPort<Row> {
  /** Note a row before it changes; undefined if it was not in the list. */
  touch(pk: string, before: Item<Row> | undefined): void;
  /** Note a row that may be new in the range. */
  tellMore(pk: string): void;
}

export class Segment<Row> {
  readonly live: Live;
  /** True if the range must be read again. */
  isDirty = false;
  readonly #items: Item<Row>[];
  readonly #byPk: Map<string, Item<Row>>;
  readonly #port: SegmentPort<Row>;
  readonly #isOrdered: boolean;

  constructor({ results, live }: Page<Row>, port: SegmentPort<Row>) {
    this.live = live;
    this.#port = port;
    this.#items = results.map((row, at) => ({ pk: live.pks[at] as string, key: live.keys[at] as Key, row }));
    this.#byPk = new Map(this.#items.map((item) => [item.pk, item]));
    this.#isOrdered = live.ordering.every(({ kind }) => kind !== "unknown");
  }

  get items(): readonly Item<Row>[] {
    return this.#items;
  }

  find(pk: string): Item<Row> | undefined {
    return this.#byPk.get(pk);
  }

  /** Apply an entry. `shown`: the row as any segment had it before. */
  applyEntry(entry: Entry<Row>, shown: Item<Row> | undefined): void {
    const { pk } = entry;
    const isOpen = this.live.other_filters;
    if (entry.op === "del") return isOpen && shown ? this.#doubt(pk) : this.remove(pk);
    const key = this.#readKey(entry.key);
    const fits = this.#judgeFilters(entry.key);
    if (!key || fits === undefined || !this.#isOrdered) {
      const isSame = shown && key && fits && !isOpen && areEqual(shown.key, key);
      if (isSame) this.#change(pk, entry.row);
      // Only the server knows the place of this row.
      else this.#doubt(fits === false ? pk : undefined);
      return;
    }
    const isHome = fits && this.#includes(key);
    if (isOpen && shown) this.#doubt(isHome ? undefined : pk);
    else if (isOpen) isHome && this.#port.tellMore(pk);
    else if (!isHome) this.remove(pk);
    else if (shown && areEqual(shown.key, key)) this.#change(pk, entry.row);
    else {
      this.remove(pk);
      this.#insert({ pk, key, row: entry.row });
    }
  }

  /** Note that only the server knows which rows belong here; `pk` is given if the row is here. */
  #doubt(pk?: string): void {
    this.isDirty ||= pk === undefined || this.#byPk.has(pk);
  }

  remove(pk: string): void {
    const old = this.find(pk);
    if (!old) return;
    this.#port.touch(pk, old);
    this.#items.splice(this.#findIndex(old), 1);
    this.#byPk.delete(pk);
  }

  #insert(item: Item<Row>): void {
    this.#port.touch(item.pk, undefined);
    this.#items.splice(this.#findPlace(item.key), 0, item);
    this.#byPk.set(item.pk, item);
  }

  /** Change the content of a row, if it is here. */
  #change(pk: string, row: Row): void {
    const old = this.find(pk);
    if (!old) return;
    this.#port.touch(pk, old);
    const item = { ...old, row };
    this.#items[this.#findIndex(old)] = item;
    this.#byPk.set(pk, item);
  }

  /** Return the key in the order of the page; undefined if the entry lacks a part of it. */
  #readKey(values: Record<string, KeyValue>): Key | undefined {
    const { ordering } = this.live;
    if (!ordering.every(({ field }) => Object.hasOwn(values, field))) return undefined;
    return ordering.map(({ field }) => values[field] as KeyValue);
  }

  /** Return whether a row passes the filters; undefined if the entry does not tell. */
  #judgeFilters(values: Record<string, KeyValue>): boolean | undefined {
    const verdicts = Object.entries<Json>(this.live.filters).map(([field, wanted]) => {
      const allowed: Json[] = wanted?.in ?? [wanted];
      return Object.hasOwn(values, field) ? allowed.includes(values[field]) : undefined;
    });
    return verdicts.includes(false) ? false : verdicts.includes(undefined) ? undefined : true;
  }

  #includes(key: Key): boolean {
    const { after, until, ordering } = this.live;
    return (!after || compareKeys(after, key, ordering) < 0) && (!until || compareKeys(key, until, ordering) <= 0);
  }

  #findIndex(item: Item<Row>): number {
    const at = this.#isOrdered ? this.#findPlace(item.key) : -1;
    return this.#items[at] === item ? at : this.#items.indexOf(item);
  }

  /** Return the index of the first row that does not come before a key. */
  #findPlace(key: Key): number {
    let [low, high] = [0, this.#items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { key: other } = this.#items[middle] as Item<Row>;
      if (compareKeys(other, key, this.live.ordering) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
