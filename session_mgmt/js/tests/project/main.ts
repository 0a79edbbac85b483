/** Program of a project that installed the package; it is compiled and bundled, and never run. */

import { SessionClient, SessionError, type StartOptions } from "session-mgmt-client";
import { SessionProvider, usePages, useTopic, useValue } from "session-mgmt-client/react";
import cache from "session-mgmt-client/cache";
import content from "session-mgmt-client/content";
import debug from "session-mgmt-client/debug";
import http from "session-mgmt-client/http";
import tabs from "session-mgmt-client/tabs";
import { pages } from "session-mgmt-client/pages";
import { FakeServer } from "session-mgmt-client/testing";

const server = new FakeServer();
const options: StartOptions = { fetch: server.fetch, WebSocket: server.WebSocket, cache: "indexeddb", parts: [content, http, cache, tabs] };
const session = await SessionClient.start(options);
session.on("error", (error) => console.log(error instanceof SessionError, error.name));
const { version } = await session.state.set("/cart/coupon", "WELCOME");
version.toFixed();
// @ts-expect-error: a version is a number
version.trim();

interface App {
  state: { cart: { coupon?: string; items: { sku: string; n: number }[] } };
  topics: { "orders:{pk}": { status: "paid" | "sent" } };
}

declare module "session-mgmt-client/react" {
  interface Register {
    application: App;
  }
}

SessionProvider({ client: await SessionClient.start<App>() });
const coupon: string = useValue("/cart/coupon", "none");
const status: "paid" | "sent" | undefined = useTopic("orders:42")?.status;
const totals: readonly number[] = usePages<{ total: number }>("/api/orders/").rows.map(({ total }) => total);
await pages<{ total: number }>(session, "/api/orders/").loadNext();
// @ts-expect-error: no such place
useValue("/card");
// @ts-expect-error: no part
const wrong: StartOptions = { parts: ["http"] };
console.log(coupon, status, totals, debug, wrong);
