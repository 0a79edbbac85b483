/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Pages of a list that stay true while they are shown (PROTOCOL, "Live pages"). */
import type { SessionClient, SessionError, Unsubscribe } from "./session-client.js";
/** What changed since the event before. A row that moved is in `moved`, and in `changed` too if its content changed. */
export interface PagesChange<Row> {
    inserted: Row[];
    changed: Row[];
    /** Primary keys, as text. */
    removed: string[];
    /** Primary keys, as text. */
    moved: string[];
}
/** What is shown now: the same object until something changes, and never changed itself. */
export interface PagesShown<Row> {
    /** In the order of the view; a row that did not change is the same object as before. */
    readonly rows: readonly Row[];
    /** Rows that may be new and that only the server can judge; `refresh()` shows them. */
    readonly more: number;
    readonly hasNext: boolean;
    /** A first or further page is being read. */
    readonly isLoading: boolean;
    /** Why reading does not go on; if it is `temporary`, it is tried again by itself. */
    readonly error: SessionError | null;
}
export interface PagesOptions {
    /** In place of the page's own `fetch`. */
    fetch?: (url: string, init: RequestInit) => Promise<Response>;
    /** Further headers of each request. */
    headers?: Record<string, string>;
}
export interface Pages<Row> extends PagesShown<Row> {
    readonly shown: PagesShown<Row>;
    /** Call back once for each batch of changes. */
    on(type: "change", callback: (change: PagesChange<Row>) => void): Unsubscribe;
    /** Read the next page; resolves when it is shown, or there is none. Rejects with the error, and with `closed`. */
    loadNext(): Promise<void>;
    /** Read what is shown again; resolves when that is done. Tries again after an error. */
    refresh(): Promise<void>;
    /** End it: no request, no callback and no subscription is left. */
    close(): void;
}
/** Show a list view with `LivePages` or `LiveCursorPagination`: its first page at once, and its changes as they happen. */
export declare function pages<Row = Record<string, unknown>>(session: Pick<SessionClient, "auth" | "id" | "on" | "status" | "topics">, url: string, options?: PagesOptions): Pages<Row>;
