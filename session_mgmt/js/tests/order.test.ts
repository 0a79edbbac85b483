/** Calls in an order that nobody has in mind: each is refused with what to do, or works, and no promise is left open. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SessionClient } from "../src/index";
// Loaded before the clock stands still: loading takes real time.
import "../src/requests/index";
import { Browser, pass, passUntil, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

const noise: unknown[] = [];
const hear = (reason: unknown): void => void noise.push(reason);
beforeEach(() => void process.on("unhandledRejection", hear));
afterEach(async () => {
  await turns();
  process.off("unhandledRejection", hear);
  expect(noise.splice(0)).toEqual([]);
});

type Call = (client: SessionClient) => Promise<unknown>;

/** Calls that need a client which is not closed. */
const CALLS: Record<string, Call> = {
  set: ({ state }) => state.set("/a", 1),
  createIfAbsent: ({ state }) => state.createIfAbsent({ a: 1 }),
  "another document": (client) => client.document("other").inc("/a"),
  send: (client) => client.send("x"),
  publish: ({ topics }) => topics.publish("t", 1),
  subscribe: ({ topics }) => topics.subscribe("t", () => undefined).subscribed,
  "subscribe with a snapshot": ({ topics }) => topics.subscribe("t", () => undefined, { snapshot: () => undefined }).subscribed,
  presence: ({ topics }) => topics.presence("t"),
  connect: ({ connection }) => connection.connect(),
  reconnect: ({ connection }) => connection.reconnect(),
  login: (client) => client.login(),
  logout: (client) => client.logout(),
};

async function connect() {
  const browser = new Browser();
  const tab = browser.tab();
  return { browser, tab, client: await tab.openConnected() };
}

test.each(Object.entries(CALLS))("%s is refused after close, and changes nothing", async (_, call) => {
  const { browser, tab, client } = await connect();
  client.close();
  const before = JSON.stringify([...Array(tab.storage.length).keys()].map((at) => tab.storage.key(at)));
  expect(await refusal(call(client))).toBe("closed");
  client.close();
  client.connection.setupHeartbeat(5);
  await pass(90);
  expect([client.pending, client.status, vi.getTimerCount(), browser.server.sockets.length]).toEqual([0, "disconnected", 0, 1]);
  expect(JSON.stringify([...Array(tab.storage.length).keys()].map((at) => tab.storage.key(at)))).toBe(before);
  // The next client of the tab goes on, and nobody else numbers its writes.
  const next = await tab.openConnected();
  await next.state.inc("/n");
  expect([next.clientId, next.state.get("/n")]).toEqual([client.clientId, 1]);
});

test.each(["set", "send", "publish", "subscribe", "subscribe with a snapshot", "connect"])("%s is settled by close", async (name) => {
  const browser = new Browser();
  const client = await browser.tab().open({ autoConnect: false });
  browser.server.network.sockets = "silent";
  const waiting = refusal((CALLS[name] as Call)(client));
  await turns();
  client.close();
  expect(await waiting).toBe("closed");
});

test("what was asked of a presence is settled by close", async () => {
  const { browser, client } = await connect();
  browser.server.present.set("presence:t", new Map());
  const presence = await client.topics.presence("t");
  browser.server.drop();
  await turns(1);
  const entering = refusal(presence.enter());
  await turns();
  client.close();
  expect(await entering).toBe("closed");
});

test.each(["token", "headers", "info", "documents", "narrow"])("%s after a logout says that there is no session", async (name) => {
  const { client } = await connect();
  await client.logout();
  const calls: Record<string, () => unknown> = {
    token: () => client.auth.token,
    headers: () => client.auth.headers(),
    info: () => client.state.info(),
    documents: () => client.documents(),
    narrow: () => client.auth.narrow(["a"]),
  };
  expect(await refusal(Promise.resolve().then(calls[name]))).toBe("auth_required");
});

const ACTS: Record<string, (client: SessionClient) => unknown> = {
  close: (client) => client.close(),
  disconnect: ({ connection }) => connection.disconnect(),
  reconnect: ({ connection }) => void connection.reconnect().catch(() => undefined),
  logout: (client) => client.logout(),
  write: ({ state }) => void state.inc("/more").catch(() => undefined),
  subscribe: ({ topics }) => topics.subscribe("other", () => undefined),
  throw: () => {
    throw new Error("of the application");
  },
};
type Listen = (client: SessionClient, act: () => void) => () => void;
const LISTENERS: Record<string, Listen> = {
  status: (client, act) => client.on("status", act),
  state: ({ state }, act) => state.on("", act),
  topic: ({ topics }, act) => topics.subscribe("t", act),
};

describe.each(Object.keys(LISTENERS))("a callback for %s", (name) => {
  test.each(Object.keys(ACTS))("may %s, and end itself", async (what) => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { browser, tab, client } = await connect();
    let calls = 0;
    const stop = LISTENERS[name]?.(client, () => {
      calls += 1;
      stop?.();
      ACTS[what]?.(client);
    });
    await turns();
    browser.server.drop();
    await passUntil(() => client.status === "connected" || calls > 0);
    const writes = [client.state.inc("/n"), client.topics.publish("t", 1), client.send("x")];
    let settled = 0;
    for (const write of writes) write.then(() => (settled += 1), () => (settled += 1));
    await pass(30);
    if (client.status !== "connected") await client.connection.connect().catch(() => undefined);
    await passUntil(() => settled === 3);
    expect(calls).toBe(1);
    client.close();
    const next = await tab.openConnected();
    await until(() => next.pending === 0);
    const { n = 0, more = 0 } = browser.server.session.document("main").value as { n?: number; more?: number };
    // A write that was refused, because the session or the client had ended, is nowhere; the others are there once.
    expect([n <= 1, more <= 1, n + Number(["close", "logout"].includes(what)) >= 1]).toEqual([true, true, true]);
  });
});
