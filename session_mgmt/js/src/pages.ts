/** Pages of a list that stay up to date while they are shown (PROTOCOL, "Live pages"). */

import type { Pages, PagesOptions, SessionClient } from "./index";
import { LiveList } from "./pages/list";

export type { Pages, PagesChange, PagesOptions, PagesShown } from "./index";

/**
 * Show a list view with `LivePages` or `LiveCursorPagination`: read its first page now, then apply changes as they
 * happen.
 */
export function pages<Row = Record<string, unknown>>(
  session: Pick<SessionClient, "auth" | "id" | "on" | "status" | "topics">,
  url: string,
  options: PagesOptions = {},
): Pages<Row> {
  return new LiveList<Row>(session, url, options);
}
