/** Writes of closed tabs: another tab of the browser sends them, as the closed tab's, once. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SessionClient } from "../src/index";
import { OutboxStore } from "../src/outboxStore";
import { Browser, pass, passUntil, record, type Tab, turns, until, useFakeClock } from "./harness";

useFakeClock();

/** Write without a network, then close the tab. */
async function closeOffline(tab: Tab, count = 20): Promise<SessionClient> {
  const client = await tab.openConnected();
  tab.browser.server.cut();
  for (let n = 0; n < count; n += 1) void client.state.inc("/visits");
  await turns();
  await tab.close(client);
  return client;
}

function visits(browser: Browser): number {
  return browser.server.session.document("main").value.visits ?? 0;
}

const clock = { now: Date.now, setTimeout: () => 0, clearTimeout: () => undefined };

describe("the outbox of a closed tab", () => {
  test("is sent by the next tab, every write once and under its number", async () => {
    const browser = new Browser();
    const closed = await closeOffline(browser.tab());
    browser.server.mend();
    const next = await browser.tab().open({ autoConnect: false });
    const adopted = record(next, "adopted");
    await until(() => next.pending === 20);
    await next.connection.connect();
    await until(() => next.pending === 0);
    expect(visits(browser)).toBe(20);
    expect(next.clientId).not.toBe(closed.clientId);
    const authors = browser.server.session.document("main").entries.map(([, , { client_id, seq }]) => [client_id, seq]);
    expect(authors).toEqual(Array.from({ length: 20 }, (_, at) => [closed.clientId, at + 1]));
    expect(adopted).toEqual([[{ count: 20 }]]);
    await until(() => next.state.get("/visits") === 20);
  });

  test("is sent although the tab never had a connection", async () => {
    const browser = new Browser();
    await browser.tab().openConnected();
    browser.server.cut();
    const tab = browser.tab();
    const client = await tab.open();
    void client.state.inc("/visits");
    await turns();
    await tab.close(client);
    browser.server.mend();
    const next = await browser.tab().openConnected();
    await until(() => visits(browser) === 1 && next.pending === 0);
  });

  test("has its effect once though the closed tab's writes had arrived, and their receipts had not", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    browser.server.swallowReceipts = true;
    for (let n = 0; n < 5; n += 1) void client.state.inc("/visits");
    await turns();
    expect(visits(browser)).toBe(5);
    await tab.close(client);
    browser.server.swallowReceipts = false;
    const next = await browser.tab().openConnected();
    await until(() => next.pending === 0);
    await turns(50);
    expect(visits(browser)).toBe(5);
  });

  test("is sent once by two tabs that start together", async () => {
    const browser = new Browser();
    await closeOffline(browser.tab());
    browser.server.mend();
    const tabs = await Promise.all([browser.tab().open(), browser.tab().open()]);
    await until(() => visits(browser) === 20);
    await passUntil(() => tabs.every(({ pending }) => pending === 0));
    expect(tabs.map(({ status, pending }) => [status, pending])).toEqual([["connected", 0], ["connected", 0]]);
    await turns(50);
    expect(visits(browser)).toBe(20);
  });

  test("is sent on by a third tab if the second is closed while it sends", async () => {
    const browser = new Browser();
    await closeOffline(browser.tab());
    browser.server.mend();
    browser.server.swallowReceipts = true;
    const tab = browser.tab();
    const second = await tab.openConnected();
    await until(() => visits(browser) === 20);
    await tab.close(second);
    browser.server.swallowReceipts = false;
    const third = await browser.tab().openConnected();
    await until(() => third.pending === 0);
    await turns(50);
    expect(visits(browser)).toBe(20);
  });

  test("stays away from a tab that comes back: it is a new client, at its old places", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    before.topics.subscribe("t", () => undefined);
    await turns();
    await tab.close(before);
    const closed = await closeOffline(tab);
    browser.server.mend();
    browser.server.publish("t", "missed");
    const other = await browser.tab().openConnected();
    await until(() => visits(browser) === 20 && other.pending === 0);
    const back = await tab.open({ autoConnect: false });
    const heard: unknown[] = [];
    back.topics.subscribe("t", (data) => void heard.push(data));
    expect(back.pending).toBe(0);
    await back.connection.connect();
    await until(() => heard.length === 1);
    expect(back.clientId).not.toBe(closed.clientId);
    expect(visits(browser)).toBe(20);
  });

  test("is settled for a page that was in the browser's cache meanwhile", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const cached = await tab.openConnected();
    browser.server.cut();
    const write = cached.state.inc("/visits");
    await turns();
    tab.page.window.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
    const store = await OutboxStore.open({ indexedDB: browser.databases, clock } as never);
    const row = { key: tab.key, lock: "gone", owner: ["", "", ""], client: cached.clientId, at: 0 } as const;
    await store.markAdopted(row);
    store.saveResult(tab.key, 1, { type: "receipt", seq: 1, ok: true, position: ["e", 7, "t"] });
    await turns();
    browser.server.mend();
    tab.page.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    await pass(40);
    expect((await write).version).toBe(7);
    expect(visits(browser)).toBe(0);
    expect(cached.status).toBe("connected");
    await cached.state.inc("/visits");
    expect(visits(browser)).toBe(1);
    store.close();
  });

  test("of another user is neither sent nor told", async () => {
    const browser = new Browser();
    await closeOffline(browser.tab());
    browser.server.mend();
    browser.server.login.user = "8";
    const next = await browser.tab().openConnected({ user: "8" });
    const unsent = record(next, "unsent");
    await turns(50);
    expect([next.pending, unsent]).toEqual([0, []]);
    expect(browser.server.sessions.map((session) => session.documents.get("main")?.value.visits)).toEqual([
      undefined,
      undefined,
    ]);
  });

  test("of a visitor is sent once the visitor has logged in, whose session it is now", async () => {
    const browser = new Browser();
    browser.server.login.user = null;
    const closed = await closeOffline(browser.tab());
    browser.server.mend();
    browser.server.login.user = "7";
    const next = await browser.tab().openConnected();
    const unsent = record(next, "unsent");
    await until(() => visits(browser) === 20 && next.pending === 0);
    expect([next.info.userId, browser.server.sessions.length, unsent]).toEqual(["7", 1, []]);
    const authors = browser.server.session.document("main").entries.map(([, , { client_id }]) => client_id);
    expect(new Set(authors)).toEqual(new Set([closed.clientId]));
  });

  test("of a visitor is not sent into a session that begins afresh", async () => {
    const browser = new Browser();
    Object.assign(browser.server.login, { user: null, onLogin: "fresh" });
    await closeOffline(browser.tab());
    browser.server.mend();
    browser.server.login.user = "7";
    const next = await browser.tab().openConnected();
    await turns(50);
    expect([next.info.userId, next.pending, visits(browser)]).toEqual(["7", 0, 0]);
  });

  test("goes to the application if the server has forgotten the closed tab", async () => {
    const browser = new Browser();
    await closeOffline(browser.tab(), 2);
    browser.server.mend();
    browser.server.session.clients.clear();
    const next = await browser.tab().openConnected();
    await turns(50);
    // Nobody was listening when it happened.
    const unsent = record(next, "unsent");
    await turns();
    expect(unsent.map(([writes, reason]) => [writes.map(({ seq }) => seq), reason])).toEqual([
      [[1, 2], "client_forgotten"],
    ]);
    expect(next.pending).toBe(0);
  });

  test("tells what was refused and what met a conflict, for no promise does", async () => {
    const browser = new Browser();
    await closeOffline(browser.tab(), 2);
    browser.server.mend();
    browser.server.refuse({ code: 240, name: "conflict", temporary: false });
    browser.server.report({ overwrote: ["/visits"] });
    const next = await browser.tab().open({ autoConnect: false });
    const [unsent, conflicts] = [record(next, "unsent"), record(next, "conflict")];
    void next.connection.connect();
    await until(() => conflicts.length === 1);
    expect(unsent.map(([writes, reason]) => [writes.map(({ seq }) => seq), reason])).toEqual([[[1], "conflict"]]);
    expect(conflicts[0]?.[0]).toMatchObject({ document: "main", seq: 2, orphan: true });
  });
});

describe("pending", () => {
  test("tells how many writes wait, and whether they survive the tab", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const reports = record(client, "pending");
    void client.state.inc("/a");
    void client.state.inc("/a");
    await turns();
    expect(reports.map(([report]) => report)).toEqual([
      { count: 2, orphaned: 0, durable: false },
      { count: 2, orphaned: 0, durable: true },
    ]);
    await client.connection.connect();
    await until(() => client.pending === 0);
    await turns();
    expect(reports.at(-1)).toEqual([{ count: 0, orphaned: 0, durable: true }]);
  });

  test("is not durable where nothing outlives the tab", async () => {
    const client = await new Browser().tab().open({ autoConnect: false, indexedDB: null });
    const reports = record(client, "pending");
    void client.state.inc("/a");
    await turns();
    expect(reports.at(-1)).toEqual([{ count: 1, orphaned: 0, durable: false }]);
  });

  test("lets the browser ask before the page is left", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.open({ autoConnect: false });
    const stop = client.warnBeforeLeaving();
    const leave = (): boolean => tab.page.window.dispatchEvent(new Event("beforeunload", { cancelable: true }));
    expect(leave()).toBe(true);
    void client.state.inc("/a");
    expect(leave()).toBe(false);
    stop();
    expect(leave()).toBe(true);
  });
});

test("whatever happens to tabs, servers and networks, every addition counts once", async () => {
  const step = fc.constantFrom("add", "add", "add", "close", "reload", "reopen", "drop", "cut", "mend", "swallow", "busy");
  const place = fc.integer({ min: 0, max: 1 });
  const run = fc.asyncProperty(fc.array(fc.tuple(step, place), { maxLength: 25 }), async (steps) => {
    const browser = new Browser();
    const { server } = browser;
    const pages: { tab: Tab; client: SessionClient }[] = [];
    const closed: Tab[] = [];
    for (let n = 0; n < 2; n += 1) {
      const tab = browser.tab();
      pages.push({ tab, client: await tab.openConnected() });
    }
    let additions = 0;
    for (const [what, at] of steps) {
      const page = pages[at] as { tab: Tab; client: SessionClient };
      if (what === "add") void page.client.state.inc("/visits", (additions += 1) && 1);
      else if (what === "drop") server.drop();
      else if (what === "cut") server.cut();
      else if (what === "mend") server.mend();
      else if (what === "swallow") server.swallowReceipts = true;
      else if (what === "busy") server.refuse({ name: "busy", temporary: true });
      else {
        await page.tab.close(page.client);
        if (what === "close") closed.push(page.tab);
        if (what === "close") page.tab = browser.tab();
        if (what === "reopen" && closed.length > 0) {
          closed.push(page.tab);
          page.tab = closed.shift() as Tab;
        }
        page.client = await page.tab.open();
      }
    }
    server.swallowReceipts = false;
    server.mend();
    for (let at = 0; at < 40 && visits(browser) < additions; at += 1) await pass(20);
    await turns(50);
    expect(visits(browser)).toBe(additions);
    for (const { client } of pages) client.close();
  });
  await fc.assert(run, { numRuns: 60, seed: 20261126 });
});
