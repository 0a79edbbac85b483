/** Changes from HTTP to a socket that come to nothing: the client stays where it was, and nobody sees it. */

import { expect, test } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import type { FakeSocket } from "../src/testing/socket";
import { Browser, pass, passUntil, record, turns, useFakeClock } from "./harness";

useFakeClock();

const carrier = (client: SessionClient) => client.stats().transport;
const attaches = ({ server }: Browser) => server.http.calls.filter(([name]) => name === "connections").length;

/** A client over HTTP that is about to change: a socket answers it, and a call under way has no answer for 2 s. */
async function beginChange() {
  const browser = new Browser();
  browser.server.network.sockets = "refused";
  let isHeld = true;
  const fetch = async (url: string, init?: RequestInit): Promise<Response> => {
    if (isHeld && url.endsWith("/frames/")) await new Promise((resolve) => setTimeout(resolve, 1500));
    return browser.server.fetch(url, init);
  };
  const client = await browser.tab().open({ transports: undefined, fetch } as unknown as StartOptions);
  await passUntil(() => client.status === "connected");
  const statuses = record(client, "status");
  browser.server.network.sockets = "open";
  const isAsked = (): boolean => browser.server.received.some(({ type }) => type === "ping");
  while (!isAsked()) {
    // A call is under way whenever the socket answers.
    void client.state.inc("/n");
    await pass(0.25);
  }
  isHeld = false;
  await turns(2);
  expect([carrier(client), attaches(browser)]).toEqual(["sse", 1]);
  return { browser, client, statuses, socket: browser.server.sockets.at(-1) as FakeSocket };
}

/** Demand that what was written has happened once, and that nobody has seen anything. */
async function check({ browser, client, statuses }: Awaited<ReturnType<typeof beginChange>>): Promise<void> {
  const written = browser.server.received.filter(({ type, doc }) => type === "update" && doc === "main");
  await passUntil(() => client.pending === 0);
  const { n } = browser.server.session.document("main").value as { n: number };
  expect(n).toBe(client.state.get("/n"));
  expect([new Set(written.map(({ seq }) => seq)).size <= n, statuses]).toEqual([true, []]);
}

test("a socket that is lost before it attaches is no more than a try that failed", async () => {
  const change = await beginChange();
  change.socket.drop();
  await pass(6);
  expect([carrier(change.client), attaches(change.browser)]).toEqual(["sse", 1]);
  await check(change);
});

test("a socket on which nothing passes any more is given up, and HTTP carries again", async () => {
  const change = await beginChange();
  change.browser.server.network.sockets = "refused";
  change.socket.cut = true;
  await pass(6);
  expect([carrier(change.client), attaches(change.browser)]).toEqual(["sse", 2]);
  await check(change);
});

test("a socket that was given up and attaches late ends nothing", async () => {
  const change = await beginChange();
  change.browser.server.network.sockets = "refused";
  change.socket.cut = true;
  await pass(6);
  change.browser.server.overtake();
  await pass(2);
  expect([change.client.status, attaches(change.browser)]).toEqual(["connected", 3]);
  await check(change);
});

test("where a slow socket never opens, sockets are tried again later", async () => {
  const browser = new Browser();
  browser.server.network.sockets = "silent";
  const client = await browser.tab().open({ transports: undefined } as unknown as StartOptions);
  await passUntil(() => client.status === "connected");
  await pass(15);
  expect(carrier(client)).toBe("sse");
  browser.server.network.sockets = "open";
  await passUntil(() => carrier(client) === "websocket");
});
