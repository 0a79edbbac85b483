import { describe, expect, test } from "vitest";
import type { ChannelLike, LocksLike } from "../src/environment";
import type { StoreLike } from "../src/storage";
import { Browser, FakePage, pass, passUntil, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

/** BroadcastChannel within one test. */
function channels(): new (name: string) => ChannelLike {
  const open = new Set<FakeChannel>();
  class FakeChannel implements ChannelLike {
    onmessage: ChannelLike["onmessage"] = null;
    constructor(readonly name: string) {
      open.add(this);
    }
    postMessage(data: unknown): void {
      for (const other of open) {
        if (other === this || other.name !== this.name) continue;
        queueMicrotask(() => open.has(other) && other.onmessage?.({ data }));
      }
    }
    close(): void {
      open.delete(this);
    }
  }
  return FakeChannel;
}

/** Locks of a busy browser: it gets questions late, and the page gets its answers late, in their order. */
function delayLocks(locks: LocksLike, asks: number, answers: number): LocksLike {
  const pauseFor = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  return {
    async request(name, options, callback) {
      await pauseFor(asks);
      return locks.request(name, options, async (lock) => {
        await pauseFor(answers);
        options.signal?.throwIfAborted();
        return callback(lock);
      });
    },
  };
}

describe("tabs of one browser", () => {
  test("share one session, as two clients", async () => {
    const browser = new Browser();
    const first = await browser.tab().openConnected();
    const second = await browser.tab().openConnected();
    expect(second.id).toBe(first.id);
    expect(second.clientId).not.toBe(first.clientId);
    await first.state.set("/a", 1);
    await until(() => second.state.version === 1);
    expect(second.state.get()).toEqual({ a: 1 });
  });

  test.each([
    ["with locks", {}],
    ["without locks", { locks: null, BroadcastChannel: channels() }],
  ])("that start at once create one session, %s", async (_, options) => {
    const browser = new Browser();
    const [a, b, c] = await Promise.all([1, 2, 3].map((n) => browser.tab().open({ ...options, random: () => n / 10 })));
    expect(browser.server.sessions).toHaveLength(1);
    expect(new Set([a?.id, b?.id, c?.id]).size).toBe(1);
  });

  test("have a session each with share: tab, and each keeps it over a reload", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const first = await tab.openConnected({ share: "tab" });
    const second = await browser.tab().openConnected({ share: "tab" });
    expect(second.id).not.toBe(first.id);
    await tab.close(first);
    expect((await tab.open({ share: "tab" })).id).toBe(first.id);
  });

  test("have another session under another name", async () => {
    const browser = new Browser();
    const first = await browser.tab().openConnected();
    const second = await browser.tab().openConnected({ name: "support" });
    expect(second.id).not.toBe(first.id);
  });

  test("may hold several clients in slots, which find themselves again", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const left = await tab.openConnected({ slot: "left" });
    const right = await tab.openConnected({ slot: "right" });
    expect(left.clientId).not.toBe(right.clientId);
    await Promise.all([tab.close(left), tab.close(right)]);
    expect((await tab.open({ slot: "right" })).clientId).toBe(right.clientId);
  });

  test("one slot serves one client: a second one is refused, and the first keeps what it has", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const first = await tab.openConnected();
    browser.server.cut();
    void first.state.inc("/visits");
    await turns();
    const second = await tab.open().catch((error: Error) => error);
    expect(second).toMatchObject({ name: "slot_taken" });
    expect((second as Error).message).toContain("slot");
    await tab.close(first);
    const reloaded = await tab.open();
    expect(reloaded.pending).toBe(1);
    browser.server.mend();
    await passUntil(() => reloaded.status === "connected" && reloaded.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
    expect(reloaded.clientId).toBe(first.clientId);
  });

  test("two starts at once in one slot are one client and one refusal", async () => {
    const tab = new Browser().tab();
    const started = await Promise.allSettled([tab.open(), tab.open()]);
    expect(started.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test.each([0, 900])("a frame of a tab is a second client of the slot too, if that is busy for %d ms", async (busy) => {
    const browser = new Browser();
    const tab = browser.tab();
    await tab.openConnected();
    // Another document has another object for the same storage, and hears of changes to it.
    const { storage } = tab;
    const view: StoreLike = {
      get length() {
        return storage.length;
      },
      key: (at) => storage.key(at),
      getItem: (name) => storage.getItem(name),
      removeItem: (name) => storage.removeItem(name),
      setItem: (name, value) => {
        storage.setItem(name, value);
        setTimeout(() => tab.page.window.dispatchEvent(new Event("storage")), busy);
      },
    };
    const page = new FakePage().page;
    const frame = tab.open({ storage: { local: browser.local, session: view }, page });
    expect(await refusal(frame)).toBe("slot_taken");
  });

  test("the token is in storage, and in nothing that is printed", async () => {
    const client = await new Browser().tab().openConnected();
    const { token } = client.auth;
    expect(JSON.stringify(client)).not.toContain(token);
    expect(JSON.stringify(client.auth)).not.toContain(token);
    expect(client.auth.headers()).toEqual({ Authorization: `Bearer ${token}` });
  });
});

test("a tab tells the others of a logout, without a network and without an event of storage", async () => {
  const browser = new Browser();
  const options = { BroadcastChannel: channels() };
  const [first, second] = [await browser.tab().openConnected(options), await browser.tab().openConnected(options)];
  const ended = record(second, "ended");
  browser.server.cut();
  const leaving = first.logout();
  await turns();
  expect(ended.map(([{ reason }]) => reason)).toEqual(["logged_out"]);
  await pass(5);
  await leaving;
});

describe.each([
  [5_000, 0],
  [0, 5_000],
])("in a browser that gets questions for locks %d ms and gives answers %d ms late", (asks, answers) => {
  test.each(["a reloaded", "a duplicated"])("%s tab is the client that it should be", async (kind) => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    browser.server.cut();
    void before.state.inc("/visits");
    const { clientId } = before;
    if (kind === "a reloaded") await tab.close(before);
    browser.server.mend();
    const next = kind === "a reloaded" ? tab : tab.duplicate();
    const after = await next.openConnected({ locks: delayLocks(browser.locks, asks, answers) });
    expect(after.clientId === clientId).toBe(kind === "a reloaded");
    const open = kind === "a reloaded" ? [after] : [before, after];
    await passUntil(() => open.every(({ pending }) => pending === 0));
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
  });
});

test("a page that the browser refuses locks has a client, and hears of no rejection", async () => {
  const browser = new Browser();
  const refuse = async (): Promise<never> => {
    throw new DOMException("denied", "SecurityError");
  };
  const locks: LocksLike = {
    request: (name, ...rest) => (name.includes(":client:") ? refuse() : browser.locks.request(name, ...rest)),
  };
  const client = await browser.tab().openConnected({ locks });
  await pass(5);
  expect(client.status).toBe("connected");
});

describe("a duplicated tab", () => {
  test.each([
    ["with locks", {}],
    ["without locks", { locks: null, BroadcastChannel: channels() }],
  ])("is a new client with an empty outbox, %s", async (_, options) => {
    const browser = new Browser();
    const tab = browser.tab();
    const original = await tab.openConnected({ ...options, random: () => 0.1 });
    browser.server.cut();
    void original.state.inc("/visits");
    await turns();
    const copy = tab.duplicate();
    browser.server.mend();
    const duplicate = await copy.openConnected({ ...options, random: () => 0.2 });
    expect(duplicate.pending).toBe(0);
    expect(duplicate.clientId).not.toBe(original.clientId);
    expect(duplicate.id).toBe(original.id);
    void duplicate.state.inc("/visits");
    await pass(50);
    await until(() => original.pending + duplicate.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 2 });
  });

  test("sends the original's writes as the original's after the original is gone, once", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const original = await tab.openConnected();
    browser.server.cut();
    void original.state.inc("/visits");
    const copy = tab.duplicate();
    const first = await copy.open();
    await tab.close(original);
    await copy.close(first);
    browser.server.mend();
    const second = await copy.openConnected();
    expect(second.clientId).not.toBe(original.clientId);
    await until(() => second.pending === 0);
    const reloaded = await tab.openConnected();
    await until(() => reloaded.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
  });
});

describe("a start", () => {
  test("needs no network when the session is known", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    await tab.close(await tab.openConnected());
    browser.server.cut();
    const client = await tab.open();
    expect(client.status).toBe("connecting");
    void client.state.set("/a", 1);
    browser.server.mend();
    await pass(20);
    expect(browser.server.session.document("main").value).toEqual({ a: 1 });
  });

  test("tries again while the server does not answer", async () => {
    const browser = new Browser();
    browser.server.offline = true;
    const starting = browser.tab().open();
    await pass(1);
    browser.server.offline = false;
    await starting;
    expect(browser.server.sessions).toHaveLength(1);
  });

  test("rejects with the server's refusal", async () => {
    const browser = new Browser();
    const refused = async (): Promise<Response> =>
      new Response(JSON.stringify({ code: 203, name: "auth_required", temporary: false }), { status: 401 });
    expect(await refusal(browser.tab().open({ fetch: refused }))).toBe("auth_required");
  });

  test("gives the page's own headers to the call that creates, and the token to no other origin", async () => {
    const browser = new Browser();
    const calls: [string, Headers][] = [];
    const fetch: typeof browser.server.fetch = (url, init) => {
      calls.push([url, new Headers(init?.headers)]);
      return browser.server.fetch(url, init);
    };
    const client = await browser.tab().openConnected({ fetch, headers: () => ({ "X-CSRFToken": "t" }) });
    expect(calls[0]?.[1].get("X-CSRFToken")).toBe("t");
    expect(calls[0]?.[1].get("Authorization")).toBeNull();
    const errors = record(client, "error");
    const url = "http://evil.test/x";
    browser.server.broadcast({ type: "snapshot", log: "state:main", position: ["e", 1, "t"], url });
    await turns();
    expect(calls.every(([url]) => url.startsWith("http://shop.test/"))).toBe(true);
    expect(errors.map(([{ name, temporary }]) => [name, temporary])).toEqual([["snapshot_failed", true]]);
  });
});
