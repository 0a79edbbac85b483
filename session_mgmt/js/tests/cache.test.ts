import { describe, expect, test, vi } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import { Replica } from "../src/replica";
import { type Browser, pass, record, type Tab, turns, until, useFakeClock, Browser as FakeBrowser } from "./harness";

useFakeClock();

const CACHED: StartOptions = { cache: "indexeddb", user: 7 };
const WAITING: StartOptions = { ...CACHED, autoConnect: false };

async function connected(options: StartOptions = CACHED) {
  const browser = new FakeBrowser();
  const tab = browser.tab();
  return { browser, tab, client: await tab.openConnected(options) };
}

/** Reloads the page while nothing answers. */
async function reloadOffline(browser: Browser, tab: Tab, client: SessionClient, options = CACHED) {
  browser.server.cut();
  await tab.close(client);
  return tab.open(options);
}

/** All that the browser keeps. */
async function records(browser: Browser): Promise<[key: unknown[], record: unknown][]> {
  const db = await database(browser);
  const store = db.transaction("copies").objectStore("copies");
  const keys = store.getAllKeys();
  const values = store.getAll();
  await new Promise((resolve) => (store.transaction.oncomplete = resolve));
  db.close();
  return keys.result.map((key, at) => [key as unknown[], values.result[at]]);
}

async function database(browser: Browser): Promise<IDBDatabase> {
  const request = browser.databases.open("session-mgmt");
  return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
}

/** Changes what is kept, as a fault of the disk or another program would. */
async function tamper(browser: Browser, change: (store: IDBObjectStore, keys: unknown[][]) => void): Promise<void> {
  const keys = (await records(browser)).map(([key]) => key);
  const db = await database(browser);
  const store = db.transaction("copies", "readwrite").objectStore("copies");
  change(store, keys);
  await new Promise((resolve) => (store.transaction.oncomplete = resolve));
  db.close();
}

describe("the local copy", () => {
  test("is there after a reload without a network, with pending writes on top", async () => {
    const { browser, tab, client } = await connected();
    await client.state.replace({ cart: ["tea"], visits: 1 });
    await client.state.inc("/visits");
    browser.server.cut();
    void client.state.insert("/cart/-", "milk");
    const again = await reloadOffline(browser, tab, client);
    expect(again.state.get()).toEqual({ cart: ["tea", "milk"], visits: 2 });
    expect([again.state.version, again.state.fromCache, again.state.pending]).toEqual([2, true, 1]);
  });

  test("is off unless asked for", async () => {
    const { browser, tab, client } = await connected({});
    await client.state.set("/x", 1);
    const again = await reloadOffline(browser, tab, client, {});
    expect([again.state.get(), again.state.fromCache]).toEqual([{}, false]);
    const names = (await browser.databases.databases()).map(({ name }) => name);
    expect(names).not.toContain("session-mgmt");
  });

  test("is there in a new tab, and for every document", async () => {
    const { browser, client } = await connected();
    await client.state.set("/x", 1);
    await client.document("drafts").set("/y", 2);
    await turns();
    browser.server.cut();
    const other = await browser.tab().open(CACHED);
    expect([other.state.get(), other.document("drafts").get()]).toEqual([{ x: 1 }, { y: 2 }]);
  });

  test("tells listeners what it shows, and the application when it is a copy no more", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    const again = await reloadOffline(browser, tab, client);
    const reports = record(again, "cache");
    const told: unknown[] = [];
    again.state.on("/x", (value, { origin }) => void told.push([value, origin]));
    await pass(0.01);
    expect([told, reports.flat()]).toEqual([[[1, "cache"]], [{ document: "main", fromCache: true }]]);
    browser.server.mend();
    await pass(30);
    expect(again.state.fromCache).toBe(false);
    expect(reports.flat()[1]).toEqual({ document: "main", fromCache: false });
    expect(told).toHaveLength(1);
  });

  test("asks for what came after it, and never for the whole nor gives the whole", async () => {
    const { browser, tab, client } = await connected();
    await client.state.replace({ big: "x".repeat(1000), n: 0 });
    await tab.close(client);
    browser.server.write([["inc", "/n", 1]]);
    browser.server.received.length = 0;
    const again = await tab.open(WAITING);
    expect(again.state.get("/n")).toBe(0);
    void again.connection.connect();
    await until(() => !again.state.fromCache);
    expect(again.state.get("/n")).toBe(1);
    const [connect, ...rest] = browser.server.received;
    expect(connect?.logs["state:main"].slice(1, 2)).toEqual([1]);
    expect(rest).toEqual([]);
  });

  test("is not a copy any more only when the last entry that it lacks has come", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/n", 0);
    await tab.close(client);
    for (let n = 1; n < 4; n += 1) browser.server.write([["set", "/n", n]]);
    const again = await tab.open(WAITING);
    const seen: unknown[] = [];
    again.on("cache", ({ fromCache }) => void seen.push([fromCache, again.state.get("/n")]));
    await pass(0.1);
    void again.connection.connect();
    await turns();
    expect(seen).toEqual([[true, 0], [false, 3]]);
  });

  test("stays one between two pages of what it lacks", () => {
    const replica = new Replica();
    replica.restoreCopy({ n: 1 }, ["e", 1, "t1"]);
    replica.takeVerdict({ mode: "entries", from: 1, to: 3 });
    const seen = [2, 3].map((n) => {
      replica.moveTo(["e", n, `t${n}`]);
      replica.applyVersion([["set", "/n", n]], null);
      replica.showConfirmed();
      return replica.fromCache;
    });
    expect(seen).toEqual([true, false]);
  });

  test("gives way to a snapshot when the log no longer reaches back, or is another one", async () => {
    for (const spoil of ["trim", "restart"] as const) {
      const { browser, tab, client } = await connected();
      await client.state.set("/x", 1);
      await tab.close(client);
      browser.server.write([["set", "/x", 2]]);
      browser.server.session.document("main")[spoil]();
      browser.server.write([["set", "/x", 3]]);
      const again = await tab.open(WAITING);
      expect(again.state.get()).toEqual({ x: 1 });
      void again.connection.connect();
      await until(() => !again.state.fromCache);
      expect(again.state.get()).toEqual({ x: 3 });
      const offline = await reloadOffline(browser, tab, again);
      expect(offline.state.get()).toEqual({ x: 3 });
      offline.close();
    }
  });

  test("goes back where the server does, in one epoch too", async () => {
    const { browser, tab, client } = await connected();
    const [epoch] = client.state.position as [string, number, string];
    const snapshot = (version: number, tag: string, data: object) =>
      browser.server.broadcast({ type: "snapshot", log: "state:main", position: [epoch, version, tag], data });
    snapshot(5, "5555555555555555", { x: "lost" });
    await turns();
    snapshot(2, "2222222222222222", { x: "restored" });
    await turns();
    const again = await reloadOffline(browser, tab, client);
    expect([again.state.get("/x"), again.state.version]).toEqual(["restored", 2]);
  });

  test("does not show a write twice whose answer was lost", async () => {
    const { browser, tab, client } = await connected();
    browser.server.swallowReceipts = true;
    void client.state.inc("/n");
    await until(() => client.state.version === 1);
    await turns();
    const again = await reloadOffline(browser, tab, client);
    expect([again.state.get("/n"), again.pending]).toEqual([1, 1]);
    browser.server.swallowReceipts = false;
    browser.server.mend();
    await pass(30);
    expect([again.state.get("/n"), again.pending]).toEqual([1, 0]);
    expect(browser.server.session.document("main").value).toEqual({ n: 1 });
  });

  test("keeps an entry at the price of the entry, and folds them now and then", async () => {
    const { browser, tab, client } = await connected();
    await client.state.replace({ big: "x".repeat(150_000), n: 0 });
    await turns();
    for (let n = 0; n < 50; n += 1) browser.server.write([["inc", "/n", 1]]);
    await turns();
    const before = await records(browser);
    // The entry that replaced the whole was as large as the whole, so it was folded at once.
    expect(before.map(([key]) => key.at(-1))).toEqual([-1, 0, ...Array.from({ length: 50 }, (_, at) => at + 2)]);
    expect(JSON.stringify(before.slice(2)).length).toBeLessThan(50 * 300);
    for (let n = 0; n < 1000; n += 1) browser.server.write([["inc", "/n", 1]]);
    await turns(60);
    expect((await records(browser)).length).toBeLessThan(100);
    const again = await reloadOffline(browser, tab, client);
    expect(again.state.get("/n")).toBe(1050);
  });

  test("is written when the page is left, though a write is under way", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/n", 0);
    for (let n = 1; n < 20; n += 1) browser.server.write([["set", "/n", n]]);
    await until(() => client.state.get("/n") === 19);
    const put = vi.spyOn(IDBObjectStore.prototype, "put");
    const written = () => put.mock.calls.some(([, key]) => (key as unknown[]).at(-1) === 20);
    expect(written()).toBe(false);
    tab.page.window.dispatchEvent(new Event("pagehide"));
    expect(written()).toBe(true);
    await turns();
    browser.server.cut();
    expect((await browser.tab().open(CACHED)).state.get("/n")).toBe(19);
  });
});

describe("several tabs", () => {
  test("write one copy, which never goes back and reaches as far as the furthest", async () => {
    const { browser, client } = await connected();
    const others = [await browser.tab().openConnected(CACHED), await browser.tab().openConnected(CACHED)];
    for (let n = 0; n < 40; n += 1) void [client, ...others][n % 3]?.state.inc("/n");
    await until(() => [client, ...others].every(({ pending, state }) => pending === 0 && state.version === 40));
    await turns();
    browser.server.cut();
    const late = await browser.tab().open(CACHED);
    expect([late.state.get("/n"), late.state.version]).toEqual([40, 40]);
  });

  test("a base that is older than another tab's does not take its place", async () => {
    const { browser, client } = await connected();
    await client.state.set("/n", 1);
    await turns();
    const stale = await records(browser);
    for (let n = 2; n < 1100; n += 1) browser.server.write([["set", "/n", n]]);
    await turns(60);
    const folded = (await records(browser)).find(([key]) => key.at(-1) === -1)?.[1] as { position: unknown[] };
    expect(folded.position[1]).toBeGreaterThan(900);
    // The entries of a tab that was frozen for long.
    await tamper(browser, (store) => {
      for (const [key, value] of stale) if ((key.at(-1) as number) > 0) store.put(value, key as IDBValidKey);
    });
    browser.server.cut();
    expect((await browser.tab().open(CACHED)).state.get("/n")).toBe(1099);
  });
});

describe("a copy of somebody else", () => {
  test.each([
    ["a terminated session", (browser: Browser) => browser.server.terminate()],
    ["a token that is no good", (browser: Browser) => loseLogin(browser, () => browser.server.bye(4501))],
    ["an expired session without a login", (browser: Browser) => loseLogin(browser, () => browser.server.expire())],
  ])("does not outlive %s", async (_, end) => {
    const { browser, client } = await connected();
    await client.state.set("/secret", 1);
    await turns();
    end(browser);
    await pass(10);
    expect(client.status).toBe("failed");
    expect(await records(browser)).toEqual([]);
  });

  test("does not outlive terminateSession and clearCache, which wait until it is gone", async () => {
    for (const leave of [
      (client: SessionClient) => client.sessions.terminateSession(),
      (client: SessionClient) => client.clearCache(),
    ]) {
      const { browser, client } = await connected();
      await client.state.set("/secret", 1);
      await leave(client);
      expect(await records(browser)).toEqual([]);
      void client.state.set("/secret", 2);
      await turns();
      expect(await records(browser)).toEqual([]);
    }
  });

  test("stays on destroy", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    const again = await reloadOffline(browser, tab, client);
    expect(again.state.get("/x")).toBe(1);
  });

  test("of the session before a successor is removed, and the successor's is kept", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    browser.server.expire();
    await until(() => client.id === "session-3" || client.status === "connected");
    await pass(1);
    browser.server.write([["set", "/y", 2]]);
    await turns();
    const owners = new Set((await records(browser)).map(([key]) => key[2]));
    expect([...owners]).toEqual([client.id]);
    const again = await reloadOffline(browser, tab, client);
    expect(again.state.get()).toEqual({ x: 1, y: 2 });
  });

  test("is not shown when the page says that another user is logged in, nor is that user's session taken", async () => {
    const { browser, tab, client } = await connected({ ...CACHED, user: 7 });
    await client.state.set("/secret", 1);
    await tab.close(client);
    browser.server.login.user = "8";
    const other = await tab.open({ ...CACHED, user: "8" });
    expect([other.state.get(), other.info.userId]).toEqual([{}, "8"]);
    await until(() => other.status === "connected");
    await turns();
    expect((await records(browser)).filter(([key]) => key[1] === "7")).toEqual([]);
  });

  test("is not shown after another tab has put another user's session there", async () => {
    const { browser, client } = await connected();
    await client.state.set("/secret", 1);
    browser.server.login.user = "8";
    const other = await browser.tab().openConnected({ ...CACHED, user: 8 });
    await until(() => client.status === "failed");
    expect([client.state.get(), other.state.get(), other.info.userId]).toEqual([{}, {}, "8"]);
  });

  test("is not shown any longer when the document may not be read any more", async () => {
    const { browser, tab, client } = await connected();
    await client.document("shared").set("/x", 1);
    await tab.close(client);
    browser.server.denied.add("state:shared");
    const again = await tab.open(CACHED);
    const shared = again.document("shared");
    expect(shared.get()).toEqual({ x: 1 });
    await until(() => !shared.fromCache);
    expect(shared.get()).toEqual({});
    await turns();
    expect((await records(browser)).filter(([key]) => key[3] === "shared")).toEqual([]);
  });
});

describe("a document that the server stores encrypted", () => {
  test("is not kept in clear, and an earlier copy of it is removed", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    await turns();
    expect(await records(browser)).not.toEqual([]);
    await tab.close(client);
    browser.server.session.document("main").encrypted = true;
    const again = await tab.openConnected(CACHED);
    await again.state.set("/x", 2);
    await again.document("other").set("/y", 1);
    await turns();
    expect(new Set((await records(browser)).map(([key]) => key[3]))).toEqual(new Set(["other"]));
  });

  test("is kept if the application says so", async () => {
    const options: StartOptions = { cache: { store: "indexeddb", encrypted: true }, user: 7 };
    const { browser, tab, client } = await connected(options);
    browser.server.session.document("main").encrypted = true;
    await client.state.set("/x", 1);
    const again = await reloadOffline(browser, tab, client, options);
    expect(again.state.get()).toEqual({ x: 1 });
  });
});

describe("without a usable copy", () => {
  test.each([
    ["there is no IndexedDB", null],
    ["it does not open", { open: () => ({}) }],
    ["it throws", { open: () => { throw new DOMException("", "SecurityError"); } }],
    ["its version is newer", "newer"],
  ])("the client works, and says so once, when %s", async (_, factory) => {
    const browser = new FakeBrowser();
    if (factory === "newer") {
      const request = browser.databases.open("session-mgmt", 99);
      await new Promise((resolve) => (request.onsuccess = resolve));
      request.result.close();
    }
    const indexedDB = (factory === "newer" ? browser.databases : factory) as IDBFactory | null;
    const client = await browser.tab().open({ ...CACHED, indexedDB });
    const errors = record(client, "error");
    await until(() => client.status === "connected");
    await client.state.set("/x", 1);
    await pass(0.1);
    expect(client.state.get()).toEqual({ x: 1 });
    const told = errors.map(([{ name }]) => name).filter((name) => name !== "storage_unavailable");
    expect(told).toEqual(["cache_unavailable"]);
  });

  test("the client works, and says so once of each store, when the disk is full; the copy stays what it was", async () => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    await turns();
    const errors = record(client, "error");
    const { put } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    await client.state.set("/x", 2);
    await client.state.set("/x", 3);
    await pass(0.1);
    IDBObjectStore.prototype.put = put;
    expect(errors.map(([{ name }]) => name).sort()).toEqual(["cache_unavailable", "storage_unavailable"]);
    const again = await reloadOffline(browser, tab, client);
    expect([again.state.get("/x"), again.state.version]).toEqual([1, 1]);
    browser.server.mend();
    await pass(30);
    expect(again.state.get("/x")).toBe(3);
  });

  test("a session of one tab keeps none, and says so", async () => {
    const browser = new FakeBrowser();
    const client = await browser.tab().open({ ...CACHED, share: "tab" });
    const errors = record(client, "error");
    await pass(0.1);
    expect(errors.map(([{ name }]) => name)).toEqual(["cache_unavailable"]);
    expect(await browser.databases.databases()).toEqual([]);
  });

  test("another tab's newer version of the database is not held up", async () => {
    const { browser, client } = await connected();
    await turns();
    const request = browser.databases.open("session-mgmt", 2);
    await new Promise((resolve) => (request.onsuccess = resolve));
    await client.state.set("/x", 1);
    expect(client.state.get("/x")).toBe(1);
    request.result.close();
  });
});

describe("a record that is not right", () => {
  const junk: [what: string, place: number, value: unknown][] = [
    ["a base without a position", -1, { seqs: {} }],
    ["a base with a negative version", -1, { position: ["e", -1, ""], seqs: {} }],
    ["a base that is no object", -1, "base"],
    ["a body that is no JSON", 0, '{"x": '],
    ["a body that is no text", 0, { x: 1 }],
  ];
  test.each(junk)("is dropped with its copy: %s", async (_, place, value) => {
    const { browser, tab, client } = await connected();
    await client.state.set("/x", 1);
    await tab.close(client);
    await tamper(browser, (store, keys) => {
      for (const key of keys) if (key.at(-1) === place) store.put(value, key as IDBValidKey);
    });
    browser.server.cut();
    const again = await tab.open(CACHED);
    expect([again.state.get(), again.state.position, again.state.fromCache]).toEqual([{}, null, false]);
    browser.server.mend();
    await pass(30);
    expect(again.state.get()).toEqual({ x: 1 });
  });

  const broken: [what: string, change: (entry: Record<string, unknown>) => unknown][] = [
    ["of another epoch", (entry) => ({ ...entry, epoch: "other" })],
    ["of another history", (entry) => ({ ...entry, after: "ffffffffffffffff" })],
    ["without operations", ({ ops: _, ...entry }) => entry],
    ["with operations that are none", (entry) => ({ ...entry, ops: [[1, 2]] })],
    ["that is missing", () => undefined],
  ];
  test.each(broken)("an entry %s ends the copy before it", async (_, change) => {
    const { browser, tab, client } = await connected();
    for (let n = 1; n < 5; n += 1) await client.state.set("/x", n);
    await tab.close(client);
    const third = (await records(browser)).find(([key]) => key.at(-1) === 3) as [IDBValidKey, Record<string, unknown>];
    await tamper(browser, (store) => {
      const changed = change(third[1]);
      if (changed) store.put(changed, third[0]);
      else store.delete(third[0]);
    });
    browser.server.cut();
    const again = await tab.open(CACHED);
    expect([again.state.get("/x"), again.state.version]).toEqual([2, 2]);
    browser.server.mend();
    await pass(30);
    expect([again.state.get("/x"), again.state.version]).toEqual([4, 4]);
    const offline = await reloadOffline(browser, tab, again);
    expect(offline.state.get("/x")).toBe(4);
  });
});

function loseLogin(browser: Browser, end: () => void): void {
  browser.server.login.isEnded = true;
  end();
}
