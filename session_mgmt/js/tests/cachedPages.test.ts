/** Pages that the browser keeps while another page of the tab is shown, and that come back as they were. */

import { afterEach, describe, expect, test, vi } from "vitest";
import type { StartOptions } from "../src/index";
import { comeBack, count, empty, keep, listen, namesOf } from "./cached";
import { pass, passUntil, record, refusal, turns, until, useFakeClock } from "./harness";
import { countSockets, LiveBrowser, type LiveTab } from "./liveTabs";

useFakeClock();

function refuse(name = "QuotaExceededError"): never {
  throw new DOMException("refused", name);
}

afterEach(() => void vi.restoreAllMocks());

describe.each([false, true])("a page in the browser's cache, with oneSocket %s", (oneSocket) => {
  async function open(page: LiveTab, options: StartOptions = {}): Promise<LiveTab> {
    await page.openShared({ oneSocket, ...options });
    return page;
  }

  /** Open a page that hears of the topic, and has written once. */
  async function begin(options: StartOptions = {}) {
    const browser = new LiveBrowser();
    const first = await open(browser.tab(), options);
    const heard = listen(first);
    await first.client.state.inc("/n");
    await turns(40);
    return { browser, first, heard };
  }

  test("holds nothing that keeps it out of there, and goes on as the same client", async () => {
    const { browser, first, heard } = await begin();
    const { clientId } = first.client;
    expect([first.held.size > 0, first.heard.size > 0, countSockets(browser)]).toEqual([true, true, 1]);
    first.leave();
    await turns();
    expect([[...first.held], [...first.heard], countSockets(browser)]).toEqual([[], [], 0]);
    await pass(600);
    browser.server.publish("t", "meanwhile");
    await comeBack(first);
    expect([first.client.clientId, heard, first.heard.size > 0]).toEqual([clientId, ["meanwhile"], true]);
    await first.client.state.inc("/n");
    expect(count(browser)).toBe(2);
  });

  test("goes on with the outbox as the next page has left it", async () => {
    const { browser, first, heard } = await begin();
    const { clientId } = first.client;
    browser.server.cut();
    const lost = first.client.state.inc("/n");
    await turns();
    first.leave();
    browser.server.mend();
    const second = await open(first.next());
    await passUntil(() => second.client.pending === 0);
    await second.client.state.inc("/n");
    await second.client.topics.publish("t", "of the second");
    expect([second.client.clientId, count(browser)]).toEqual([clientId, 3]);
    second.leave();
    await comeBack(first);
    expect(await refusal(lost)).toBe("write_adopted");
    await first.client.state.inc("/n");
    expect([count(browser), first.client.state.get("/n"), first.client.pending, heard]).toEqual([
      4, 4, 0, ["of the second"],
    ]);
    // Forward again.
    first.leave();
    await comeBack(second);
    await second.client.state.inc("/n");
    expect([count(browser), second.client.state.get("/n"), second.client.clientId]).toEqual([5, 5, clientId]);
  });

  test("sends what the next page has written and nobody has answered", async () => {
    const { browser, first } = await begin();
    browser.server.cut();
    const mine = first.client.state.inc("/n");
    await turns();
    first.leave();
    browser.server.mend();
    const second = await open(first.next());
    await passUntil(() => second.client.pending === 0);
    browser.server.cut();
    void second.client.state.inc("/n").catch(() => undefined);
    await turns();
    second.leave();
    first.comeBack();
    await pass(1);
    expect(first.client.pending).toBe(1);
    browser.server.mend();
    await passUntil(() => first.client.pending === 0);
    expect([count(browser), await refusal(mine)]).toEqual([3, "write_adopted"]);
    await passUntil(() => first.client.state.get("/n") === 3);
  });

  test("keeps the promises of what still waits", async () => {
    const { browser, first } = await begin();
    browser.server.cut();
    const waiting = first.client.state.inc("/n");
    await turns();
    first.leave();
    await pass(60);
    browser.server.mend();
    await comeBack(first);
    await waiting;
    expect([count(browser), first.client.state.get("/n")]).toEqual([2, 2]);
  });

  test("does not number what its own listeners write after it has let go", async () => {
    const { browser, first } = await begin();
    let late: Promise<unknown> | undefined;
    first.page.document.addEventListener("visibilitychange", () => {
      if (first.page.document.visibilityState === "hidden") late = first.client.state.inc("/late");
    });
    first.leave();
    const second = await open(first.next());
    await passUntil(() => second.client.pending === 0);
    await second.client.state.inc("/n");
    second.leave();
    await comeBack(first);
    const { late: written } = browser.server.session.document("main").value as { late?: number };
    expect([await refusal(late as Promise<unknown>), written, count(browser)]).toEqual(["write_adopted", 1, 2]);
  });

  test("sends itself what it has written after it has let go, under a number that nobody else has used", async () => {
    const { browser, first } = await begin();
    const second = await open(browser.tab());
    first.leave();
    const late = [1, 2].map(() => first.client.state.inc("/n"));
    await turns();
    await second.client.state.inc("/n");
    await comeBack(first);
    await Promise.all(late);
    expect([count(browser), first.client.state.get("/n")]).toEqual([4, 4]);
  });

  test("is a new client if its lock is another's, and loses nothing that it has written", async () => {
    const { browser, first, heard } = await begin();
    const { clientId } = first.client;
    const { key } = first;
    const lock = [...first.held].find((name) => name.endsWith(key)) as string;
    first.leave();
    await turns();
    const late = first.client.state.inc("/n");
    let release = (): void => undefined;
    void browser.locks.request(lock, {}, () => new Promise<void>((resolve) => (release = resolve)));
    browser.server.publish("t", "meanwhile");
    await comeBack(first);
    await late;
    expect([first.client.clientId === clientId, heard, count(browser)]).toEqual([false, ["meanwhile"], 2]);
    release();
  });

  test("is a new client if another tab has taken its writes over", async () => {
    const { browser, first, heard } = await begin();
    const { clientId } = first.client;
    browser.server.cut();
    const write = first.client.state.inc("/n");
    await turns();
    first.leave();
    browser.server.mend();
    const other = await open(browser.tab());
    await passUntil(() => count(browser) === 2 && other.client.pending === 0);
    await other.client.topics.publish("t", "of the other");
    await comeBack(first);
    expect([(await write).version > 0, first.client.clientId === clientId, heard]).toEqual([true, false, ["of the other"]]);
    await first.client.state.inc("/n");
    expect([count(browser), first.client.state.get("/n")]).toEqual([3, 3]);
  });

  test("has nothing of a session that has ended meanwhile, nor has its tab", async () => {
    const { browser, first } = await begin();
    const other = await open(browser.tab());
    browser.server.swallowReceipts = true;
    void first.client.state.set("/note", "of ann").catch(() => undefined);
    await turns();
    first.leave();
    browser.server.swallowReceipts = false;
    await other.client.logout();
    expect(keep(first)).toContain("of ann");
    first.comeBack();
    await until(() => first.client.status === "failed");
    expect(first.client.state.get()).toEqual({});
    await until(() => !keep(first).includes("of ann"));
  });

  test("goes on in the session of the next login, and tells what was written in the one before once", async () => {
    const { browser, first } = await begin();
    const unsent = record(first.client, "unsent");
    browser.server.cut();
    const lost = first.client.state.set("/note", "before");
    await turns();
    first.leave();
    browser.server.mend();
    browser.server.session.state = "expired";
    const other = await open(browser.tab());
    await comeBack(first);
    expect([first.client.id, await refusal(lost)]).toEqual([other.client.id, "session_changed"]);
    expect(unsent.map(([writes]) => writes.length)).toEqual([1]);
    await first.client.state.inc("/n");
    expect([other.client.state.get("/note"), first.client.pending]).toEqual([undefined, 0]);
  });

  test("holds nothing if it is left again while it is taken up, and goes on as the same client later", async () => {
    const { browser, first, heard } = await begin();
    const { clientId } = first.client;
    first.leave();
    await turns();
    first.comeBack();
    first.leave();
    const late = first.client.state.inc("/n");
    await turns(40);
    first.thaw();
    await turns(40);
    expect([[...first.held], countSockets(browser)]).toEqual([[], 0]);
    const second = await open(first.next());
    await second.client.state.inc("/n");
    await second.client.topics.publish("t", "of the second");
    expect(second.client.clientId).toBe(clientId);
    second.leave();
    await comeBack(first);
    await late.catch(() => undefined);
    expect([first.client.clientId, first.client.pending, heard, count(browser)]).toEqual([clientId, 0, ["of the second"], 3]);
  });

  test("goes on if it comes back again while it is taken up", async () => {
    const { browser, first } = await begin();
    const { clientId } = first.client;
    for (let times = 0; times < 3; times += 1) {
      first.leave();
      first.comeBack();
    }
    await comeBack(first);
    await first.client.state.inc("/n");
    expect([first.client.clientId, count(browser), first.held.size > 0]).toEqual([clientId, 2, true]);
  });

  test("keeps its places if its writes are another tab's and it is left again meanwhile", async () => {
    const { browser, first, heard } = await begin();
    browser.server.cut();
    const write = first.client.state.inc("/n");
    await turns();
    first.leave();
    browser.server.mend();
    const other = await open(browser.tab());
    await passUntil(() => count(browser) === 2 && other.client.pending === 0);
    await other.client.topics.publish("t", "of the other");
    first.comeBack();
    const late = first.client.state.inc("/n");
    first.leave();
    first.thaw();
    await turns(40);
    expect([...first.held]).toEqual([]);
    await comeBack(first);
    await Promise.all([write, late]);
    expect([heard, count(browser), first.client.pending]).toEqual([["of the other"], 3, 0]);
  });

  test("keeps what the browser has refused to store", async () => {
    const { browser, first } = await begin();
    browser.server.cut();
    first.storage.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const written = first.client.state.inc("/n");
    await turns();
    first.leave();
    const late = first.client.state.inc("/n");
    browser.server.mend();
    await comeBack(first);
    await Promise.all([written, late]);
    expect([count(browser), first.client.pending]).toEqual([3, 0]);
  });

  /** Leave a page with two writes that nobody has answered, and one that it makes when it has let go. */
  async function leaveWithWrites(options: StartOptions = {}) {
    const { browser, first } = await begin(options);
    const reads = { clientId: first.client.clientId, key: first.key };
    browser.server.cut();
    const writes = [1, 2].map(() => first.client.state.inc("/n"));
    await turns();
    first.leave();
    writes.push(first.client.state.inc("/n"));
    await turns();
    return { browser, first, writes, ...reads };
  }

  const LOSSES: Record<string, (page: LiveTab, key: string) => void> = {
    "is emptied": ({ storage }) => empty(storage),
    "is emptied, and is full": ({ storage }) => {
      empty(storage);
      storage.setItem = () => refuse();
    },
    "cannot be read any more": ({ storage }) => {
      storage.getItem = storage.key = storage.setItem = () => refuse();
    },
    "keeps the key of the record, but not the record": ({ storage }, key) => empty(storage, (name) => name.includes(key)),
    "keeps the writes, but not the record": ({ storage }, key) => empty(storage, (name) => name.endsWith(`${key}:fields`)),
    "keeps nothing, nor does IndexedDB": ({ storage }) => {
      empty(storage);
      vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(() => refuse("InvalidStateError"));
    },
    "is as it was, but IndexedDB is closed": () =>
      void vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(() => refuse("InvalidStateError")),
  };

  test.each(Object.entries(LOSSES))("sends what nobody has answered as the same client if the storage %s", async (_, lose) => {
    const { browser, first, writes, clientId, key } = await leaveWithWrites();
    lose(first, key);
    browser.server.mend();
    await comeBack(first);
    await Promise.all(writes);
    await first.client.state.inc("/n");
    expect([count(browser), first.client.state.get("/n"), first.client.clientId, first.client.pending]).toEqual([5, 5, clientId, 0]);
  });

  test("sends what the storage has lost even if it had refused a part of it", async () => {
    const { browser, first } = await begin();
    browser.server.cut();
    const stored = first.client.state.inc("/n");
    await turns();
    first.storage.setItem = () => refuse();
    const refused = first.client.state.inc("/n");
    await turns();
    first.leave();
    empty(first.storage);
    browser.server.mend();
    await comeBack(first);
    await Promise.all([stored, refused]);
    expect([count(browser), first.client.pending]).toEqual([3, 0]);
  });

  test.each([
    ["the server still has the answers", false],
    ["the answers were confirmed", true],
  ])("does nothing twice that the next page has sent before the storage was emptied, if %s", async (_, isConfirmed) => {
    const { browser, first, writes, clientId } = await leaveWithWrites();
    browser.server.mend();
    const second = await open(first.next());
    await passUntil(() => second.client.pending === 0);
    second.leave();
    const { receipts } = browser.server.session.clients.get(clientId as string) as { receipts: Map<number, unknown> };
    for (const seq of isConfirmed ? receipts.keys() : []) {
      receipts.set(seq, { type: "receipt", seq, ok: false, error: { code: 232, name: "receipt_gone" } });
    }
    empty(first.storage);
    await comeBack(first);
    const told = await Promise.all(writes.map((write) => write.then(() => "done", ({ name }) => name)));
    expect(told).toEqual(writes.map(() => (isConfirmed ? "receipt_gone" : "done")));
    await first.client.state.inc("/n");
    expect([count(browser), first.client.clientId, first.client.pending]).toEqual([5, clientId, 0]);
  });

  test("sends what nobody has answered beside a next page that has begun with an empty storage", async () => {
    const { browser, first, writes, clientId } = await leaveWithWrites({ indexedDB: null });
    empty(first.storage);
    browser.server.mend();
    const second = await open(first.next(), { indexedDB: null });
    await second.client.state.inc("/n");
    second.leave();
    await comeBack(first);
    await Promise.all(writes);
    expect([count(browser), first.client.clientId, second.client.clientId === clientId]).toEqual([5, clientId, false]);
  });

  test("does not send again what a next page has given up as another client, though storage is emptied", async () => {
    const { browser, first, writes } = await leaveWithWrites();
    browser.server.mend();
    browser.server.session.clients.clear();
    const opening = open(first.next());
    await pass(5);
    const second = await opening;
    const unsent = record(second.client, "unsent");
    await turns();
    for (const name of namesOf(first.storage)) if (name.endsWith(":client")) first.storage.removeItem(name);
    second.leave();
    await comeBack(first);
    expect(await Promise.all(writes.map(refusal))).toEqual(writes.map(() => "write_adopted"));
    expect([count(browser), unsent.map(([lost]) => lost.length)]).toEqual([1, [3]]);
  });

  test("leaves late writes that overwrite no stored write, though the storage has refused the next number", async () => {
    const { browser, first } = await begin();
    browser.server.cut();
    const fields = `${first.key}:fields`;
    const { setItem } = first.storage;
    first.storage.setItem = (name, text) => (name.endsWith(fields) ? refuse() : setItem.call(first.storage, name, text));
    for (let at = 0; at < 2; at += 1) void first.client.state.inc("/n").catch(() => undefined);
    await turns();
    first.leave();
    void first.client.state.inc("/n").catch(() => undefined);
    await turns();
    first.crash();
    first.storage.setItem = setItem;
    browser.server.mend();
    const second = await open(first.next());
    await passUntil(() => second.client.pending === 0);
    expect(count(browser)).toBe(4);
  });

  test("is closed for good while it is taken up", async () => {
    const { first } = await begin();
    first.leave();
    await turns();
    first.comeBack();
    first.client.close();
    await pass(5);
    expect([[...first.held], [...first.heard]]).toEqual([[], []]);
  });
});
