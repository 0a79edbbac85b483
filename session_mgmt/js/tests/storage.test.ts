/** Storage of the browser that holds what no client of this version wrote, refuses, is emptied, or comes from another time. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import { takeNote } from "../src/substitutes";
import { MemoryStore } from "../src/testing";
import { Browser, pass, passUntil, record, refusal, turns, useFakeClock, type Tab } from "./harness";

useFakeClock();

const SYSTEM = {
  now: () => Date.now(),
  setTimeout: (task: () => void, wait: number) => setTimeout(task, wait),
  clearTimeout: (timer: unknown) => clearTimeout(timer as never),
};
const noise: unknown[] = [];
const hear = (reason: unknown): void => void noise.push(reason);
beforeEach(() => void process.on("unhandledRejection", hear));
afterEach(async () => {
  await turns();
  process.off("unhandledRejection", hear);
  expect(noise.splice(0)).toEqual([]);
});

/** A tab whose last page had a place in a topic, and has left a write that nobody has answered. */
async function leave(): Promise<{ browser: Browser; tab: Tab }> {
  const browser = new Browser();
  const tab = browser.tab();
  const page = await tab.openConnected();
  page.topics.subscribe("t", () => undefined);
  await page.state.inc("/n");
  browser.server.publish("t", 1);
  browser.server.message("hello");
  await turns();
  browser.server.cut();
  void page.state.inc("/n");
  await turns(2);
  await tab.close(page);
  browser.server.mend();
  return { browser, tab };
}

/** Demand that the next page of a tab is connected, writes once, and leaves a page after it in peace. */
async function goOn({ browser, tab }: { browser: Browser; tab: Tab }, options: StartOptions = {}): Promise<SessionClient> {
  const page = await tab.open(options);
  page.topics.subscribe("t", () => undefined);
  const written = page.state.inc("/m");
  await passUntil(() => page.status === "connected" && page.pending === 0);
  await written;
  const { n, m } = browser.server.session.document("main").value as Record<string, number>;
  expect([(n ?? 0) <= 2, m]).toEqual([true, 1]);
  return page;
}

const names = (store: MemoryStore): string[] => Array.from({ length: store.length }, (_, at) => store.key(at) as string);
const RUBBISH = ["{", "5", '{"session":{"session_id":"s"},"token":"t"}', '["e",1.5,"t"]'];

test.each(RUBBISH)("%s in the place of anything that is kept lets the next page begin", async (rubbish) => {
  const known = await leave();
  const kept = [names(known.browser.local).length, names(known.tab.storage).length] as const;
  for (const [which, count] of kept.entries()) {
    for (let at = 0; at < count; at += 1) {
      const world = await leave();
      const store = which === 0 ? world.browser.local : world.tab.storage;
      store.setItem(names(store)[at] as string, rubbish);
      await goOn(world);
    }
  }
});

test.each(["5", "{}", '{"nonce":5}', '{"nonce":"short"}', "["])("%s in the place of a call under way begins another one", async (rubbish) => {
  const browser = new Browser();
  browser.local.setItem("session-mgmt:http://shop.test/api/:default:pending", rubbish);
  const nonces: string[] = [];
  const fetch: typeof browser.server.fetch = (url, init) => {
    nonces.push(JSON.parse((init?.body as string) ?? "{}").nonce);
    return browser.server.fetch(url, init);
  };
  await goOn({ browser, tab: browser.tab() }, { fetch });
  expect(nonces[0]).toMatch(/^[\w-]{43}$/);
});

test.each([{ next: "7" }, { next: null }, { sent: 1.5 }, { client: 5 }, { client: null, session: null }])("a record with %j is none", async (wrong) => {
  const world = await leave();
  const name = names(world.tab.storage).find((found) => found.endsWith(":fields")) as string;
  const fields = JSON.parse(world.tab.storage.getItem(name) as string);
  world.tab.storage.setItem(name, JSON.stringify({ ...fields, ...wrong }));
  await goOn(world);
  expect(world.browser.server.received.every(({ seq = 1 }) => Number.isInteger(seq))).toBe(true);
});

test("a session without its addresses is none, also for a page that knows its user", async () => {
  const world = await leave();
  const name = "session-mgmt:http://shop.test/api/:default:session";
  const { endpoints: _, ...rest } = JSON.parse(world.browser.local.getItem(name) as string);
  world.browser.local.setItem(name, JSON.stringify(rest));
  await goOn(world, { user: "7" });
});

const DENIALS: Record<string, ("key" | "getItem" | "setItem" | "removeItem")[]> = {
  "is full": ["setItem"],
  "refuses everything": ["getItem", "setItem", "removeItem", "key"],
};

describe.each(Object.entries(DENIALS))("storage that %s", (_, methods) => {
  test.each(["local", "session", "both", "both, without locks"])("(%s) is told once, and the page does all without it", async (which) => {
    const browser = new Browser();
    const tab = browser.tab();
    const stores = { local: [browser.local], session: [tab.storage] }[which] ?? [browser.local, tab.storage];
    const deny = (): never => {
      throw new DOMException("denied", "SecurityError");
    };
    for (const store of stores) for (const method of methods) vi.spyOn(store, method).mockImplementation(deny as never);
    const errors: string[] = [];
    const given = { transports: undefined, cache: "indexeddb", onError: ({ name }: Error) => void errors.push(name) };
    const page = await goOn({ browser, tab }, (which.endsWith("locks") ? { ...given, locks: null } : given) as unknown as StartOptions);
    expect(errors).toEqual(["storage_unavailable"]);
    browser.server.drop();
    await passUntil(() => page.status === "connected");
    await page.logout();
    expect([page.status, await refusal(page.state.inc("/m"))]).toEqual(["failed", "logged_out"]);
  });
});

test.each(["local", "session", "both"])("a page whose storage (%s) is emptied loses no write in silence", async (which) => {
  const browser = new Browser();
  const tab = browser.tab();
  const page = await tab.openConnected();
  const [ended, unsent] = [record(page, "ended"), record(page, "unsent")];
  page.connection.disconnect();
  const waiting = refusal(page.state.inc("/n"));
  const stores = { local: [browser.local], session: [tab.storage], both: [browser.local, tab.storage] }[which] ?? [];
  for (const store of stores) for (const name of names(store)) store.removeItem(name);
  await page.connection.connect().catch(() => undefined);
  await pass(5);
  const isOver = which !== "session";
  // Without its tokens a page cannot tell this from a logout in another tab.
  expect(await waiting).toBe(isOver ? "logged_out" : "resolved");
  expect([ended, unsent.map(([writes, reason]) => [writes.length, reason])]).toEqual(isOver ? [[[{ reason: "logged_out" }]], [[1, "logged_out"]]] : [[], []]);
  await page.login();
  await passUntil(() => page.status === "connected");
  await page.state.inc("/n");
  expect(page.state.get("/n")).toBe(isOver ? 1 : 2);
});

test.each([3_600_000, -3_600_000, "x", null])("a turn that was noted %s ms from now by a page that is gone keeps nobody waiting", async (from) => {
  const store = new MemoryStore();
  const until = typeof from === "number" ? Date.now() + from : from;
  store.setItem("turn", JSON.stringify({ by: "gone", until }));
  let release: (() => void) | null = null;
  void takeNote(store, SYSTEM, "turn", Math.random).then((found) => (release = found));
  await pass(1);
  expect(release).not.toBe(null);
});

test("a page to which the browser denies its storage is told so", async () => {
  const browser = new Browser();
  const errors: string[] = [];
  const given = { storage: undefined, onError: ({ name }: Error) => void errors.push(name) };
  await browser.tab().openConnected(given as unknown as StartOptions);
  expect(errors).toEqual(["storage_unavailable"]);
});

test.each([-10, 10, 24 * 10])("a clock that is %d hours off between two pages loses and doubles nothing", async (hours) => {
  const world = await leave();
  vi.setSystemTime(Date.now() + hours * 3_600_000);
  const page = await goOn(world);
  expect(page.state.get("/n")).toBe(2);
  const other = await world.browser.tab().openConnected();
  vi.setSystemTime(Date.now() - hours * 3_600_000);
  world.browser.server.drop();
  await Promise.all([page.state.inc("/n"), other.state.inc("/n"), passUntil(() => page.pending + other.pending === 0)]);
  expect(world.browser.server.session.document("main").value).toMatchObject({ n: 4 });
});
