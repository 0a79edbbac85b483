/** Types of pages. Compiled, and never run. */

import type { SessionClient, SessionError } from "../../src/index";
import { pages, type Pages, type PagesChange } from "../../src/pages";
import { usePages } from "../../src/react";
import type { App } from "./declared";

interface Order {
  id: number;
  status: "paid" | "sent";
}

declare const client: SessionClient;
declare const typed: SessionClient<App>;

const orders: Pages<Order> = pages<Order>(typed, "/api/orders/", { headers: { "X-Shop": "7" } });
const statuses: ("paid" | "sent")[] = orders.rows.map(({ status }) => status);
const error: SessionError | null = orders.error;
orders.on("change", ({ inserted, removed }: PagesChange<Order>) => [inserted[0]?.id.toFixed(), removed[0]?.trim()]);
// @ts-expect-error: rows are not changed in place
orders.rows.push({ id: 1, status: "paid" });
// @ts-expect-error: a row is no text
const wrong: Pages<string> = orders;
// @ts-expect-error: there is no such event
orders.on("row", () => undefined);
const unknown: unknown = pages(client, "/api/orders/").rows[0]?.anything;
const shown: readonly Order[] = usePages<Order>("/api/orders/").rows;

export { error, shown, statuses, unknown, wrong };
