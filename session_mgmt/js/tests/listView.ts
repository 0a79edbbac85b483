/** A list view with live pages: a table, its publications, and the pages that are read from it. */

import fc from "fast-check";
import { compareKeys, type Column, type Key, type KeyValue } from "../src/pages/order";
import type { Live, Page } from "../src/pages/segment";
import type { FakeServer } from "../src/testing";

export type Row = Record<string, KeyValue>;

export const TOPIC = "orders";
const ID: Column = { field: "id", descending: false, kind: "number", nulls: "last" };

export interface ViewOptions {
  ordering?: Column[];
  filters?: Live["filters"];
  /** Filter that entries do not show. */
  hidden?: (row: Row) => boolean;
  size?: number;
  /** What its session asked for before: an address without parameters is answered so until `giveUp`. */
  remembered?: Pick<ViewOptions, "ordering" | "filters">;
}

export class ListView {
  readonly rows = new Map<number, Row>();
  readonly requests: string[] = [];
  readonly headers: Record<string, string>[] = [];
  ordering: Column[];
  filters: Live["filters"];
  readonly size: number;
  /** End of what has been read; null at the end of the list. */
  until: Key | null = null;
  /** Answers of the next requests in place of pages. */
  refusals: (Response | "lost")[] = [];
  /** Requests whose answers wait for `release`. */
  holds = false;
  #held: (() => void)[] = [];
  readonly #hidden: ((row: Row) => boolean) | undefined;
  readonly giveUp: () => void;

  constructor(
    readonly server: FakeServer,
    { ordering = [], filters = {}, hidden, size = 4, remembered }: ViewOptions = {},
  ) {
    this.ordering = [...(remembered?.ordering ?? ordering), ID];
    this.filters = remembered?.filters ?? filters;
    this.giveUp = () => {
      this.ordering = [...ordering, ID];
      this.filters = filters;
    };
    this.#hidden = hidden;
    this.size = size;
  }

  put(row: Row): void {
    this.rows.set(row.id as number, row);
    this.server.publish(TOPIC, { op: "put", pk: String(row.id), row, key: { ...row } });
  }

  del(id: number): void {
    this.rows.delete(id);
    this.server.publish(TOPIC, { op: "del", pk: String(id) });
  }

  /** Return what a page of the whole list would have. */
  query(after: Key | null = null, until: Key | null = null): Row[] {
    const inside = this.listInRange(after, until).filter((row) => this.#isWanted(row));
    return inside.sort((a, b) => compareKeys(this.keyOf(a), this.keyOf(b), this.#known));
  }

  /** Return the rows of the range, whatever the filters say of them. */
  listInRange(after: Key | null, until: Key | null): Row[] {
    return [...this.rows.values()].filter((row) => {
      const key = this.keyOf(row);
      return (!after || compareKeys(after, key, this.#known) < 0) && (!until || compareKeys(key, until, this.#known) <= 0);
    });
  }

  keyOf(row: Row): Key {
    return this.ordering.map(({ field }) => row[field] ?? null);
  }

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    this.requests.push(new URL(url).search);
    this.headers.push(init.headers as Record<string, string>);
    const refusal = this.refusals.shift();
    if (refusal === "lost") throw new TypeError("no network");
    const response = refusal ?? Response.json(this.readPage(new URL(url).searchParams));
    if (this.holds) await new Promise<void>((resolve) => this.#held.push(resolve));
    return response;
  };

  release(count = Infinity): void {
    for (const resolve of this.#held.splice(0, count)) resolve();
  }

  readPage(asked: URLSearchParams): Page<Row> {
    const after = JSON.parse(asked.get("after") ?? "null") as Key | null;
    const until = JSON.parse(asked.get("until") ?? "null") as Key | null;
    const isAgain = asked.has("until");
    const found = this.query(after, until);
    const results = found.slice(0, isAgain ? this.size * 2 : this.size);
    const isCut = results.length < found.length;
    const last = isCut ? this.keyOf(results.at(-1) as Row) : until;
    if (!isAgain || isCut) this.until = last;
    const follows = last && this.query(last).length > 0;
    const write = (key: Key | null): string => encodeURIComponent(JSON.stringify(key));
    return {
      results,
      next: follows ? `http://behind.test/orders/?after=${write(last)}` : null,
      live: {
        topic: TOPIC,
        position: this.server.topic(TOPIC).position,
        ordering: this.ordering,
        pks: results.map(({ id }) => String(id)),
        keys: results.map((row) => this.keyOf(row)),
        after,
        until: last,
        filters: this.filters,
        other_filters: this.#hidden !== undefined,
        refresh: `/orders/?after=${write(after)}&until=${write(last)}`,
      },
    };
  }

  /** The server orders what clients cannot. */
  get #known(): Column[] {
    return this.ordering.map((column) => (column.kind === "unknown" ? { ...column, kind: "text" } : column));
  }

  #isWanted(row: Row): boolean {
    if (this.#hidden && !this.#hidden(row)) return false;
    return Object.entries(this.filters).every(([field, wanted]) => {
      const values = wanted !== null && typeof wanted === "object" ? wanted.in : [wanted];
      return values.includes(row[field] ?? null);
    });
  }
}

const MOMENT = fc.constantFrom("2026-01-01", "2026-01-02", "\u{1F600}", "\uFFFD", "Z", "a", "__proto__");

export const rowOf = (ids: number): fc.Arbitrary<Row> =>
  fc.record({
    id: fc.integer({ min: 1, max: ids }),
    made: fc.option(MOMENT),
    price: fc.option(fc.constantFrom("1.5", "1.50", "-2", 7, "10", "9007199254740993")),
    paid: fc.boolean(),
    count: fc.option(fc.integer({ min: -2, max: 2 })),
  });
