/** What pages of a list show, and what an application asks of them. */

import type { Unsubscribe } from "../emitter";
import type { SessionError } from "../errors";

/** Changes since the last event. A moved row is in `moved`, and also in `changed` if its content changed. */
export interface PagesChange<Row> {
  inserted: Row[];
  changed: Row[];
  /** Primary keys as text. */
  removed: string[];
  /** Primary keys as text. */
  moved: string[];
}

/** State of the list: the same object until something changes, and never modified. */
export interface PagesShown<Row> {
  /** Rows in the order of the view. An unchanged row is the same object as before. */
  readonly rows: readonly Row[];
  /** Number of rows that may be new, and that only the server can place; `refresh()` shows them. */
  readonly more: number;
  readonly hasNext: boolean;
  /** True while a page is being read. */
  readonly isLoading: boolean;
  /** Error that stopped the reading. If it is `temporary`, the client tries again by itself. */
  readonly error: SessionError | null;
}

export interface PagesOptions {
  /** Function to use instead of the page's `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** More headers for each request. */
  headers?: Record<string, string>;
}

export interface Pages<Row> extends PagesShown<Row> {
  readonly shown: PagesShown<Row>;
  /** Call `callback` once for each group of changes. */
  on(type: "change", callback: (change: PagesChange<Row>) => void): Unsubscribe;
  /** Read the next page. Resolves when it is shown, or if there is none. Rejects with the error, or with `closed`. */
  loadNext(): Promise<void>;
  /** Read the shown pages again, also after an error. Resolves when that is done. */
  refresh(): Promise<void>;
  /** End the list: its requests, callbacks and subscriptions end. */
  close(): void;
}
