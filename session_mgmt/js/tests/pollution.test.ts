/** Hostile names in everything that a client reads: no object gets a member that nobody gave it. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { Browser, passUntil, record, refusal, TRANSPORTS, turns, until, useFakeClock } from "./harness";
import type { StartOptions } from "../src/index";

useFakeClock();

const NAMES = ["__proto__", "constructor", "prototype"];
const FUNCTION_MEMBERS = Object.getOwnPropertyNames(Function.prototype).sort();
const OBJECT_MEMBERS = Object.getOwnPropertyNames(Object.prototype).sort();

/** Return an object that has hostile names as its own, as JSON.parse makes it. */
function makeHostile(): never {
  const inner = '{"polluted": 1, "toJSON": 1, "prototype": {"polluted": 1}}';
  return JSON.parse(`{${NAMES.map((name) => `"${name}": ${inner}`).join(", ")}, "polluted": 1}`) as never;
}

afterEach(() => {
  expect(Object.getOwnPropertyNames(Object.prototype).sort()).toEqual(OBJECT_MEMBERS);
  expect(Object.getOwnPropertyNames(Function.prototype).sort()).toEqual(FUNCTION_MEMBERS);
  for (const each of [{}, [], () => undefined]) expect("polluted" in each).toBe(false);
});

const FRAMES: Record<string, (name: string) => object> = {
  entries: (log) => ({ type: "entries", log, epoch: log, entries: [[1, "t", makeHostile()]] }),
  snapshot: (log) => ({ type: "snapshot", log, position: [log, 1, log], data: makeHostile(), reason: log }),
  gap: (log) => ({ type: "gap", log, mode: log, reason: log, from: 1, to: 2 }),
  receipt: (name) => ({ type: "receipt", seq: name, ok: false, error: { name, code: 1, ...(makeHostile() as object) } }),
  recovery: (verdict) => ({ type: "recovery", receipt: { ...(makeHostile() as object), verdict } }),
  reply: (id) => ({ type: "reply", id, verdict: makeHostile(), config: makeHostile() }),
  ephemeral: (topic) => ({ type: "ephemeral", topic, data: makeHostile() }),
  error: (log) => ({ type: "error", log, name: log, code: 1, ...(makeHostile() as object) }),
  grants: () => ({ type: "grants", grants: makeHostile() }),
  unknown: (type) => ({ ...(makeHostile() as object), type }),
};

describe.each(TRANSPORTS)("over %s", (transport) => {
  test("frames with hostile names pollute nothing, and the client goes on", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const browser = new Browser();
    const client = await browser.tab().openConnected({ transports: [transport] });
    for (const frame of Object.values(FRAMES)) {
      for (const name of NAMES) browser.server.broadcast(frame(name));
      await turns();
    }
    await passUntil(() => client.status === "connected");
    await client.state.set("/after", 1);
    expect(browser.server.session.document("main").value).toEqual({ after: 1 });
  });
});

test("documents, messages and publications hold hostile names as their own members, and no others", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  const [messages, heard] = [record(client, "message"), [] as object[]];
  for (const name of NAMES) client.topics.subscribe(name, (data) => heard.push(data as object));
  await turns();
  browser.server.message(makeHostile());
  for (const name of NAMES) browser.server.publish(name, makeHostile());
  browser.server.write([["set", "/__proto__/polluted", 1], ["set", "/constructor/prototype/polluted", 1]]);
  browser.server.write([["inc", "/constructor/polluted", 1], ["del", "/prototype"], ["set", "/__proto__", { polluted: 1 }]]);
  await until(() => client.state.version === 2 && messages.length === 1 && heard.length === NAMES.length);
  for (const value of [messages[0]?.[0], ...heard]) expect(Object.keys(value as object)).toEqual([...NAMES, "polluted"]);
  const state = client.state.get() as object;
  expect([Object.getPrototypeOf(state), "polluted" in state]).toEqual([Object.prototype, false]);
  expect(Object.keys(state).sort()).toEqual(["__proto__", "constructor"]);
  expect([client.state.get("/toString"), client.state.get("/hasOwnProperty/call")]).toEqual([undefined, undefined]);
});

test("documents, events and topics may be called by hostile names", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  for (const name of NAMES) {
    await client.document(name).set("/n", 1);
    expect(client.document(name).get()).toEqual({ n: 1 });
    client.on(name as never, () => undefined);
  }
  expect([...NAMES.map((name) => browser.server.session.document(name).head)]).toEqual([1, 1, 1]);
});

test("writes of hostile members are refused or are members of the value alone", async () => {
  const client = await new Browser().tab().openConnected();
  expect(await refusal(client.state.merge(makeHostile()))).toBe("forbidden_key");
  expect(await refusal(client.state.replace(makeHostile()))).toBe("forbidden_key");
  expect(await refusal(client.send(makeHostile()))).toBe("forbidden_key");
  expect(await refusal(client.topics.publish("room", makeHostile()))).toBe("forbidden_key");
  await client.state.merge({ constructor: { prototype: { polluted: 1 } } } as never);
  expect("polluted" in (client.state.get("/constructor") as object)).toBe(false);
});

test("options and configurations with hostile members pollute nothing", async () => {
  const hostile = makeHostile() as object;
  const [sync, cache] = [{ ...hostile, mode: "immediate" }, { ...hostile, store: "indexeddb" }];
  const options = { ...hostile, create: hostile, outbox: hostile, sync, cache } as StartOptions;
  const client = await new Browser().tab().openConnected({ ...options, transports: ["websocket"] });
  void client.connection.setConnectionConfig(JSON.parse('{"__proto__": 1, "constructor": 1, "polluted": 1}'));
  await client.state.set("/n", 1, hostile);
  expect(client.state.get("/n")).toBe(1);
});

test("hostile members of what the browser keeps pollute nothing", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  const first = await tab.openConnected();
  browser.server.cut();
  void first.state.set("/n", 1);
  await tab.close(first);
  for (const store of [browser.local, tab.storage]) {
    const keys = Array.from({ length: store.length }, (_, at) => store.key(at) as string);
    for (const key of keys) {
      const kept = JSON.parse(store.getItem(key) as string);
      if (kept && typeof kept === "object" && !Array.isArray(kept)) {
        store.setItem(key, JSON.stringify(kept).replace(/^\{/, `{"__proto__": {"polluted": 1}, "constructor": {"polluted": 1}, `));
      }
    }
  }
  browser.server.mend();
  const next = await tab.openConnected();
  await until(() => next.pending === 0);
  expect([next.state.get(), "polluted" in next.info, "polluted" in next.info.metadata]).toEqual([{ n: 1 }, false, false]);
});

test.each(["merge", "data", "ops"])("a stored write whose %s has hostile names shows them as members, and is answered", async (kind) => {
  const browser = new Browser();
  const tab = browser.tab();
  const first = await tab.openConnected();
  await first.state.set("/n", 1);
  browser.server.cut();
  void first.state.set("/n", 2);
  await tab.close(first);
  const names = Array.from({ length: tab.storage.length }, (_, at) => tab.storage.key(at) as string);
  const name = names.find((each) => each.includes(":write:")) as string;
  const { ops: _, ...write } = JSON.parse(tab.storage.getItem(name) as string);
  const hostile = { merge: makeHostile(), data: makeHostile(), ops: [["set", "/__proto__", { polluted: 1 }]] }[kind];
  tab.storage.setItem(name, JSON.stringify({ ...write, [kind]: hostile }));
  browser.server.mend();
  const next = await tab.open({ autoConnect: false });
  const state = next.state.get() as object;
  expect([Object.getPrototypeOf(state), Object.hasOwn(state, "__proto__")]).toEqual([Object.prototype, true]);
  expect([next.state.get("/__proto__/polluted"), next.pending]).toEqual([1, 1]);
  browser.server.refuse({ code: 129, name: "forbidden_key", temporary: false });
  const [errors, unsent] = [record(next, "error"), record(next, "unsent")];
  await next.connection.connect();
  await passUntil(() => next.pending === 0 && next.state.version === 1);
  expect([errors.map(([{ name: told }]) => told), unsent.length, next.state.get()]).toEqual([["forbidden_key"], 1, { n: 1 }]);
});

test.each([
  ["a receipt of a recovery that is missing", { type: "recovery" }],
  ["entries that are none", { type: "entries", log: "session", epoch: "e", entries: 7 }],
])("%s is reported, and the client comes back", async (_, frame) => {
  const reported = vi.spyOn(console, "error").mockReturnValue();
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  await client.state.set("/n", 1);
  browser.server.broadcast(frame);
  await passUntil(() => browser.server.received.filter(({ type }) => type === "connect").length === 2 && client.status === "connected");
  await client.state.set("/n", 2);
  expect([browser.server.session.document("main").value, reported.mock.calls.length]).toEqual([{ n: 2 }, 1]);
});
