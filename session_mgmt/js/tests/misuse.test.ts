/** What callers give whose compiler has not looked: refused at the call, with what to do, and harmless. */

import { expect, test, vi } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import { pages } from "../src/pages";
import { Browser, passUntil, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

const cyclic: Record<string, unknown> = {};
cyclic["self"] = cyclic;
const NO_FUNCTIONS = [undefined, null, 5, "x", {}, cyclic];
const NO_TEXTS = [undefined, null, NaN, 5n, "", {}, [], cyclic, new Date(0), () => 1];
const NO_AMOUNTS = [null, NaN, Infinity, -1, "5", {}, 5n, new Date(0)];

type Loose = any;

/** Name of the error with which a call throws or rejects, which must say what to do. */
async function refuse(call: () => unknown): Promise<string> {
  try {
    await call();
    return "done";
  } catch (error) {
    const { name, message } = error as Error;
    return /[:;] |\bmust\b|\bwrite\b| is no /.test(message) ? name : `${name} says only: ${message}`;
  }
}

async function connect(): Promise<{ browser: Browser; client: SessionClient; loose: Loose }> {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  return { browser, client, loose: client };
}

const CALLBACKS: Record<string, (client: Loose, given: unknown) => unknown> = {
  on: (client, given) => client.on("status", given),
  once: (client, given) => client.once("status", given),
  onMessage: (client, given) => client.onMessage(given),
  "state.on": (client, given) => client.state.on("/a", given),
  onStateChange: (client, given) => client.state.onStateChange(given),
  "topics.subscribe": (client, given) => client.topics.subscribe("news", given),
  "topics.onGap": (client, given) => client.topics.onGap(given),
  "connection.onMessage": (client, given) => client.connection.onMessage(given),
  onSessionEvent: (client, given) => client.sessions.onSessionEvent(given),
  onAuthRequired: (client, given) => client.auth.onAuthRequired(given),
};

test.each(Object.entries(CALLBACKS))("%s takes functions only", async (_, call) => {
  const { loose } = await connect();
  for (const given of NO_FUNCTIONS) expect(await refuse(() => call(loose, given))).toBe("invalid_field");
});

const NAMES: Record<string, (client: Loose, given: unknown) => unknown> = {
  document: (client, given) => client.document(given),
  subscribe: (client, given) => client.topics.subscribe(given, () => undefined),
  publish: (client, given) => client.topics.publish(given, 1),
  "ephemeral publish": (client, given) => client.topics.publish(given, 1, { ephemeral: true }),
  "sessions.end": (client, given) => client.sessions.end(given),
  "a label": (client, given) => client.state.forget(given),
};

test.each(Object.entries(NAMES))("%s takes a name that is text only", async (_, call) => {
  const { loose } = await connect();
  for (const given of NO_TEXTS) expect(await refuse(() => call(loose, given))).toBe("invalid_field");
});

test("a name never leads to another address", async () => {
  const { browser, loose } = await connect();
  const asked: string[] = [];
  const { fetch } = browser.server;
  vi.spyOn(browser.server, "fetch").mockImplementation((url, init) => {
    asked.push(url);
    return fetch(url, init);
  });
  for (const name of [".", "..", ""]) {
    const calls = [
      ...[() => loose.sessions.end(name), () => loose.sessions.getSession(name), () => loose.sessions.terminateSession(name)],
      ...[() => loose.state.forget(name), () => loose.state.readAt(`a/${name || ".."}`), () => loose.state.resolve(name, "server")],
      () => loose.document(name),
    ];
    for (const call of calls) expect(await refuse(call)).toBe("invalid_field");
  }
  expect(asked).toEqual([]);
  expect(await refuse(() => loose.document("a/b"))).toBe("invalid_field");
});

test("a path is text, and operations are arrays", async () => {
  const { loose } = await connect();
  for (const path of [null, 5, {}, [], cyclic, () => 1]) {
    expect(await refuse(() => loose.state.get(path))).toBe("invalid_path");
    expect(await refuse(() => loose.state.on(path, () => undefined))).toBe("invalid_path");
    expect(await refuse(() => loose.state.set(path, 1))).toBe("invalid_patch");
    expect(await refuse(() => loose.state.update(path))).toBe(Array.isArray(path) ? "done" : "invalid_patch");
    expect(await refuse(() => loose.state.update([path]))).toBe("invalid_patch");
  }
});

test("a hole in an array is no value", async () => {
  const { client } = await connect();
  // eslint-disable-next-line no-sparse-arrays
  expect(await refusal(client.state.set("/list", [, 1]))).toBe("invalid_json");
  expect(client.state.get("/list")).toBe(undefined);
});

test("a write with a signal that is none is not taken", async () => {
  const { client, loose } = await connect();
  for (const signal of [5, "x", {}, new AbortController()]) {
    expect(await refuse(() => loose.state.set("/a", 1, { signal }))).toBe("invalid_field");
    expect(await refuse(() => loose.send(1, { signal }))).toBe("invalid_field");
  }
  await turns();
  expect([client.pending, client.state.get(), client.stats().receipts]).toEqual([0, {}, 0]);
});

test("what a subscription wishes is checked and copied, so that no connection fails for it", async () => {
  const { browser, client, loose } = await connect();
  const big = { region: 5n };
  for (const wishes of [{ filter: cyclic }, { filter: big }, { filter: 5 }, { filter: [] }, { since: 5 }, { since: "x" }, { since: { last: 5n } }]) {
    const refused = await refuse(() => loose.topics.subscribe("news", () => undefined, wishes));
    expect(["invalid_field", "invalid_json", "too_deep"]).toContain(refused.split(" ")[0]);
  }
  const filter: Record<string, unknown> = { region: "eu" };
  loose.topics.subscribe("news", () => undefined, { filter });
  filter["region"] = filter;
  browser.server.drop();
  await client.connection.reconnect();
  await until(() => client.status === "connected");
});

test("a time that is none makes no timer that never rests", async () => {
  const { loose } = await connect();
  for (const given of [...NO_AMOUNTS, 0]) expect(await refuse(() => loose.connection.setupHeartbeat(given))).toBe("invalid_field");
  for (const name of ["initial", "maximum", "factor", "attempts", "deadline", "interval", "missedLimit", "batch"]) {
    for (const given of NO_AMOUNTS) expect(await refuse(() => loose.connection.setConnectionConfig({ [name]: given }))).toBe("invalid_field");
  }
});

test("what JSON cannot hold is no fault of the network", async () => {
  const { loose } = await connect();
  const calls = [() => loose.sessions.updateSession({ metadata: cyclic }), () => loose.sessions.createSession({ metadata: { big: 5n } })];
  for (const call of calls) expect(await refusal(call())).toBe("TypeError");
});

test("a list takes functions only", async () => {
  const { client } = await connect();
  const list: Loose = pages(client, "http://shop.test/api/orders/");
  for (const given of NO_FUNCTIONS) expect(await refuse(() => list.on("change", given))).toBe("invalid_field");
  list.close();
});

const WRONG: Record<string, unknown[]> = {
  url: [5, {}, "http://[", "ftp://shop.test/", "about:blank"],
  name: [5, {}],
  slot: [5, {}],
  user: [NaN, {}, [], true],
  headers: [{ "X-A": "1" }, "x", true],
  onAsk: ["claim", true],
  WebSocket: [5],
  share: ["tabs", true, 5],
  tokenMode: ["jwt", true],
  whenOffline: ["cache", true],
  credentials: ["omit", true],
  strategy: ["mine", 5],
  transports: [[], ["ws"], "websocket", {}, ["websocket", 5]],
  parts: [["http"], "http", {}],
  cache: [true, "localstorage", { store: "memory" }, {}],
  outbox: [5, [], { writes: "a" }, { bytes: -1 }, { writes: NaN }],
  sync: ["delayed", true, {}, { mode: "later" }, { mode: "delayed", delay: NaN }, { mode: "delayed", maxDelay: "1" }],
  schema: [true, {}, { parse: 5 }],
};

/** What the server, or the call itself, may say before the check is loaded. */
const OTHERS: Record<string, string[]> = {
  name: ["invalid_field"],
  user: ["login_mismatch", "invalid_field"],
  headers: ["TypeError"],
  tokenMode: ["wrong_token_mode"],
};

test.each(Object.entries(WRONG))("the option %s is checked, and no session ends for it", async (name, values) => {
  const browser = new Browser();
  const tab = browser.tab();
  const { id } = await tab.open();
  for (const value of values) {
    let refused = "";
    void refusal(browser.tab().start({ [name]: value } as StartOptions).then((client) => client.close())).then((name) => (refused = name));
    await passUntil(() => refused !== "");
    // What is loaded says it; something may have been wrong with it before.
    expect([value, OTHERS[name]?.includes(refused) ? "invalid_option" : refused]).toEqual([value, "invalid_option"]);
    expect(refused).not.toBe("network_error");
  }
  // The session of the browser is not the worse for it.
  expect((await browser.tab().open()).id).toBe(id);
});

test("an option that is not given may be null or false", async () => {
  const nothing = Object.fromEntries(Object.keys(WRONG).filter((name) => name !== "user").map((name) => [name, null]));
  const { url: _url, WebSocket: _socket, transports: _transports, ...rest } = nothing;
  const client = await new Browser().tab().open({ ...rest, cache: false } as never);
  expect(client.id).not.toBe("");
});
