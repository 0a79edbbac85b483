/** Storage that stops to keep anything in the middle of an outbox, or keeps only a part of it. */

import { describe, expect, test, vi } from "vitest";
import type { SessionClient } from "../src/index";
import { OutboxStore } from "../src/outboxStore";
import { Browser, pass, passUntil, record, turns, useFakeClock, type Tab } from "./harness";

useFakeClock();

/** Let a tab's storage refuse, from now on, the writes under these numbers, or everything. */
function fill(tab: Tab, refused: readonly number[] | null): () => void {
  const { setItem } = tab.storage;
  tab.storage.setItem = function (key, value) {
    if (refused === null || refused.some((seq) => key.endsWith(`write:${seq}`))) throw new DOMException("full", "QuotaExceededError");
    setItem.call(this, key, value);
  };
  return () => (tab.storage.setItem = setItem);
}

const PARTS: Record<string, readonly number[]> = { "the third": [3], "the third and all after it": [3, 4, 5], "the first and the third": [1, 3] };

async function begin() {
  const server = { heard: [] as unknown[] };
  const browser = new Browser();
  const tab = browser.tab();
  const page = await tab.openConnected();
  const errors = record(page, "error");
  page.connection.disconnect();
  await turns();
  const write = (client: SessionClient, numbers: readonly number[]): void => {
    for (const n of numbers) void client.topics.publish("t", n).catch(() => undefined);
  };
  const told = (): unknown[] => browser.server.topic("t").entries.map(([, , body]) => body);
  return { server, browser, tab, page, errors, write, told };
}

describe.each(Object.entries(PARTS))("of five writes %s is refused", (_, refused) => {
  test("and all of them go in order, once, while the page lives", async () => {
    const { tab, page, errors, write, told } = await begin();
    fill(tab, refused);
    write(page, [1, 2, 3, 4, 5]);
    await page.connection.connect();
    await passUntil(() => page.pending === 0);
    expect(told()).toEqual([1, 2, 3, 4, 5]);
    expect(errors.map(([{ name }]) => name)).toEqual(["storage_unavailable"]);
  });

  test.each(["stays full", "has room again"])("a page after it sends the others in order, once, and goes on, if storage %s", async (then) => {
    const { browser, tab, page, errors, write, told } = await begin();
    const empty = fill(tab, refused);
    write(page, [1, 2, 3, 4, 5]);
    await turns();
    expect(errors.map(([{ name }]) => name)).toEqual(["storage_unavailable"]);
    await tab.close(page);
    if (then === "has room again") empty();
    const next = await tab.openConnected();
    write(next, [6]);
    await passUntil(() => next.pending === 0);
    expect(told()).toEqual([1, 2, 3, 4, 5, 6].filter((n) => !refused.includes(n)));
    await tab.close(next);
    await browser.tab().openConnected();
    await pass(5);
    expect(told()).toEqual([1, 2, 3, 4, 5, 6].filter((n) => !refused.includes(n)));
  });

  test("another tab sends in order, once, what a tab that is closed for good has left", async () => {
    const { browser, tab, page, write, told } = await begin();
    fill(tab, refused);
    write(page, [1, 2, 3, 4, 5]);
    await turns();
    await tab.close(page);
    const other = await browser.tab().openConnected();
    await passUntil(() => other.pending === 0 && told().length >= 5);
    expect(told()).toEqual([1, 2, 3, 4, 5]);
  });
});

const DENIALS: Record<string, (tab: Tab) => void> = {
  "IndexedDB is full": () =>
    void vi.spyOn(OutboxStore.prototype, "save").mockImplementation((_row, _changes, _hasWrites, ended) => ended(new DOMException("full", "QuotaExceededError"))),
  "the browser closes IndexedDB": ({ browser: { databases } }) =>
    void vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(() => {
      throw new DOMException("closed", databases ? "InvalidStateError" : "");
    }),
  "storage is full": (tab) => void fill(tab, null),
};

describe.each(Object.entries(DENIALS))("%s after two writes", (_, deny) => {
  test.each(["waits", "goes into its browser's cache and comes back"])("and is told once, and nothing is lost while the page %s", async (then) => {
    const { tab, page, errors, write, told } = await begin();
    const reports = record(page, "pending");
    write(page, [1, 2]);
    await pass(1);
    expect([errors.length, reports.at(-1)]).toEqual([0, [{ count: 2, orphaned: 0, durable: true }]]);
    deny(tab);
    write(page, [3, 4]);
    await pass(1);
    expect(errors.map(([{ name }]) => name)).toEqual(["storage_unavailable"]);
    if (then !== "waits") {
      for (const type of ["pagehide", "pageshow"]) {
        tab.page.window.dispatchEvent(Object.assign(new Event(type), { persisted: true }));
        await pass(1);
      }
    }
    write(page, [5]);
    await page.connection.connect();
    await passUntil(() => page.pending === 0);
    expect([told(), errors.length]).toEqual([[1, 2, 3, 4, 5], 1]);
  });
});
