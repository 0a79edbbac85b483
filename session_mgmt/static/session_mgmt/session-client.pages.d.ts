/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Pages of a list that stay up to date while they are shown (PROTOCOL, "Live pages"). */
import type { Pages, PagesOptions, SessionClient } from "./session-client.js";
export type { Pages, PagesChange, PagesOptions, PagesShown } from "./session-client.js";
/**
 * Show a list view with `LivePages` or `LiveCursorPagination`: read its first page now, then apply changes as they
 * happen.
 */
export declare function pages<Row = Record<string, unknown>>(session: Pick<SessionClient, "auth" | "id" | "on" | "status" | "topics">, url: string, options?: PagesOptions): Pages<Row>;
