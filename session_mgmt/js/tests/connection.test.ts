import { describe, expect, test, vi } from "vitest";
import { Backoff } from "../src/backoff";
import type { SessionClient, Status } from "../src/index";
import { Browser, pass, passUntil, record, refusal, Tab, turns, until, useFakeClock } from "./harness";

useFakeClock();

function statuses(client: SessionClient): [Status, number | null][] {
  const seen: [Status, number | null][] = [];
  client.on("status", (status, reason) => void seen.push([status, reason?.code ?? null]));
  return seen;
}

async function connected(options = {}): Promise<{ browser: Browser; tab: Tab; client: SessionClient }> {
  const browser = new Browser();
  const tab = browser.tab();
  return { browser, tab, client: await tab.openConnected(options) };
}

describe("the wait before an attempt", () => {
  test("is anything below a bound that doubles up to the maximum, the first within a second", () => {
    for (const [random, waits] of [
      [0, [0, 0, 0, 0, 0, 0, 0]],
      [0.999, [999, 1998, 3996, 7992, 15984, 19980, 19980]],
    ] as const) {
      const backoff = new Backoff(() => random);
      expect(waits.map(() => Math.round(backoff.nextWait() as number))).toEqual(waits);
    }
  });

  test("ends after the allowed attempts, and is never below what the server said", () => {
    const backoff = new Backoff(() => 0);
    backoff.policy = { ...backoff.policy, attempts: 2 };
    expect([backoff.nextWait(7), backoff.nextWait(), backoff.nextWait()]).toEqual([7000, 0, null]);
  });

  /** Let a connection end in the same way again and again; return the waits, in seconds. */
  async function measureWaits(client: SessionClient, times: number, end: () => void): Promise<number[]> {
    const waits: number[] = [];
    for (let at = 0; at < times; at += 1) {
      end();
      await until(() => client.status !== "connected");
      const begun = Date.now();
      while (client.status !== "connected") await pass(0.1);
      waits.push(Math.round((Date.now() - begun) / 500) / 2);
    }
    return waits;
  }

  test("grows where every connection brings what cannot be read", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const { browser, client } = await connected();
    const reasons: unknown[] = [];
    client.on("status", (status, reason) => status === "reconnecting" && reasons.push(reason?.name));
    const unreadable = { type: "entries", log: "session", epoch: "e", entries: 7 };
    const waits = await measureWaits(client, 6, () => browser.server.broadcast(unreadable));
    expect(waits).toEqual([0.5, 1, 2, 4, 8, 10]);
    expect(new Set(reasons)).toEqual(new Set(["unreadable_frame"]));
    // Good for longer than the longest of them.
    await pass(30);
    expect((await measureWaits(client, 1, () => browser.server.broadcast(unreadable)))[0]).toBeLessThan(1);
  });

  test.each(["<html>", "[1]", "{}"])("counts for %s, which is no frame", async (text) => {
    const { browser, client } = await connected();
    const socket = browser.server.sockets[0] as { onmessage?: (event: { data: string }) => void; closedWith: number | null };
    socket.onmessage?.({ data: text });
    expect([client.status, client.reason, socket.closedWith]).toEqual([
      "reconnecting", { code: 4104, name: "unreadable_frame" }, 4104,
    ]);
  });

  test("grows where connections end as soon as they are there, until one has lasted", async () => {
    const { browser, client } = await connected();
    const drop = (): void => browser.server.drop();
    const waits = await measureWaits(client, 4, drop);
    expect(waits).toEqual([0.5, 1, 2, 4]);
    await pass(1);
    expect((await measureWaits(client, 1, drop))[0]).toBeLessThan(1);
  });

  test("grows until a recovery is complete, or a connection has lasted 30 seconds", async () => {
    const { browser, client } = await connected();
    const { server } = browser;
    server.recovers = false;
    for (const wait of [0.5, 1, 2]) {
      server.drop();
      await turns();
      await pass(wait - 0.01);
      expect(client.status).toBe("reconnecting");
      await pass(0.02);
      expect(client.status).toBe("connected");
      await pass(5);
    }
    await pass(30);
    server.drop();
    await pass(0.6);
    expect(client.status).toBe("connected");
    server.recovers = true;
    server.drop();
    await pass(1.1);
    expect(client.status).toBe("connected");
    await pass(1);
    server.drop();
    await pass(0.6);
    expect(client.status).toBe("connected");
  });

  test("follows the policy of the server, unless the application has set its own", async () => {
    const { browser, client } = await connected();
    browser.server.recovers = false;
    browser.server.settings = { retry: { initial: 5, maximum: 100, factor: 2, attempts: 0 } };
    browser.server.drop();
    await pass(1);
    browser.server.drop();
    await pass(9);
    expect(client.status).toBe("reconnecting");
    await pass(2);
    expect(client.status).toBe("connected");
    client.connection.setConnectionConfig({ initial: 0.1, maximum: 0.2, attempts: 1 });
    browser.server.drop();
    await turns();
    expect(client.status).toBe("failed");
  });
});

describe("a lost connection", () => {
  test("is told with its code, and comes back as the same client", async () => {
    const { browser, client } = await connected();
    const seen = statuses(client);
    const receipts = record(client, "recovery");
    const { clientId } = client;
    browser.server.drop();
    await pass(1);
    expect(seen).toEqual([["reconnecting", 1006], ["connected", null]]);
    expect(client.clientId).toBe(clientId);
    expect(receipts[0]?.[0]).toMatchObject({ verdict: "full", generation: 2 });
    expect(client.info).toMatchObject({ connectionState: "connected", sessionId: client.id });
    expect(client.stats()).toMatchObject({ connections: 2, reconnects: 1 });
  });

  test("with bye waits as long as the server says", async () => {
    const { browser, tab, client } = await connected();
    const seen = statuses(client);
    browser.server.bye(4000, 10);
    await turns();
    // Looking at the page is no reason to come before the time.
    tab.page.window.dispatchEvent(new Event("online"));
    await pass(9.9);
    expect(client.status).toBe("reconnecting");
    await pass(1.2);
    expect(seen).toEqual([["reconnecting", 4000], ["connected", null]]);
  });

  test.each([4500, 4506, 4509, 1008, 1002])("with code %d stays away", async (code) => {
    const { browser, client } = await connected();
    const seen = statuses(client);
    if (code >= 4000) browser.server.bye(code);
    else browser.server.drop(code);
    await turns();
    await pass(120);
    expect(seen).toEqual([["failed", code]]);
    expect(browser.server.sockets).toHaveLength(1);
    await client.connection.connect();
    expect(client.status).toBe("connected");
  });

  test("that another connection of the same client replaced stays away", async () => {
    const { browser, client } = await connected();
    browser.server.bye(4507);
    await pass(120);
    expect([client.status, browser.server.sockets.length]).toEqual(["failed", 1]);
  });

  test("that was replaced before `connected` comes back, and twice in a short time as a new client", async () => {
    const { browser, client } = await connected();
    const { clientId } = client;
    const unsent = record(client, "unsent");
    void client.connection.disconnect();
    void client.state.set("/text", "typed");
    browser.server.replaceNext(2);
    void client.connection.connect();
    await passUntil(() => client.status === "connected");
    expect(client.clientId).not.toBe(clientId);
    expect(unsent.map(([writes, reason]) => [writes.length, reason])).toEqual([[1, "replaced"]]);
  });

  test("without an answer to the opening is given up and tried again", async () => {
    const { browser, client } = await connected();
    browser.server.drop();
    await turns();
    browser.server.cut();
    await pass(1);
    browser.server.mend();
    await pass(14);
    expect(client.status).toBe("reconnecting");
    await pass(5);
    expect(client.status).toBe("connected");
    expect(browser.server.connected).toBe(1);
  });

  test("that only this side notices is closed with 4102 after the deadline", async () => {
    const { browser, client } = await connected();
    const seen = statuses(client);
    await pass(30);
    browser.server.broadcast({ type: "ping", ping: 1 });
    await pass(34);
    expect(seen).toEqual([]);
    browser.server.cut();
    await pass(1);
    browser.server.mend();
    await pass(2);
    expect(seen).toEqual([["reconnecting", 4102], ["connected", null]]);
    expect(browser.server.sockets[0]?.closedWith).toBe(4102);
  });
});

describe("signs of the page", () => {
  test.each([
    ["online", "window"],
    ["offline", "window"],
    ["pageshow", "window"],
    ["visibilitychange", "document"],
    ["resume", "document"],
  ] as const)("%s makes a dead connection noticed within seconds", async (sign, target) => {
    const { browser, tab, client } = await connected();
    browser.server.cut();
    tab.page[target].dispatchEvent(new Event(sign));
    await pass(3.1);
    expect(client.status).toBe("reconnecting");
    browser.server.mend();
    await pass(2);
    expect(client.status).toBe("connected");
  });

  test("leave a live connection alone", async () => {
    const { browser, tab, client } = await connected();
    tab.page.window.dispatchEvent(new Event("online"));
    await pass(10);
    expect(client.status).toBe("connected");
    expect(browser.server.sockets).toHaveLength(1);
  });

  test("end the waiting for the next attempt, without a second connection", async () => {
    const { browser, tab, client } = await connected();
    client.connection.setConnectionConfig({ initial: 1000, maximum: 1000 });
    browser.server.drop();
    await turns();
    for (const sign of ["online", "pageshow"]) tab.page.window.dispatchEvent(new Event(sign));
    await turns();
    expect(client.status).toBe("connected");
    expect(browser.server.sockets).toHaveLength(2);
  });

  test("of a tab that becomes hidden are none", async () => {
    const { browser, tab, client } = await connected();
    client.connection.setConnectionConfig({ initial: 1000, maximum: 1000 });
    browser.server.drop();
    await turns();
    tab.page.document.visibilityState = "hidden";
    tab.page.document.dispatchEvent(new Event("visibilitychange"));
    await turns();
    expect(client.status).toBe("reconnecting");
  });

  test("let a tab that nobody looks at come later than the others, and at once when it is shown", async () => {
    for (const isShown of [false, true]) {
      const { browser, tab, client } = await connected();
      tab.page.document.visibilityState = "hidden";
      browser.server.bye(4013, 2);
      await turns();
      await pass(3.1);
      expect(client.status).toBe("reconnecting");
      if (isShown) {
        tab.page.document.visibilityState = "visible";
        tab.page.document.dispatchEvent(new Event("visibilitychange"));
        await turns();
      } else await pass(6);
      expect(client.status).toBe("connected");
      client.close();
    }
  });

  test("change nothing after the user has disconnected", async () => {
    const { browser, tab, client } = await connected();
    client.connection.disconnect();
    for (const sign of ["online", "pageshow"]) tab.page.window.dispatchEvent(new Event(sign));
    await pass(100);
    expect(client.status).toBe("disconnected");
    expect(client.connection.isConnected()).toBe(false);
    expect(browser.server.sockets).toHaveLength(1);
  });

  test("a machine that slept past the deadline reconnects at once", async () => {
    const { browser, client } = await connected();
    browser.server.cut();
    browser.server.mend();
    vi.setSystemTime(Date.now() + 3_600_000);
    await pass(6);
    expect(client.status).toBe("connected");
    expect(browser.server.sockets).toHaveLength(2);
  });

  test("a machine that slept shortly asks the server, and keeps a connection that lives", async () => {
    const { browser, client } = await connected();
    vi.setSystemTime(Date.now() + 20_000);
    await pass(6);
    expect(browser.server.received.filter(({ type }) => type === "ping")).toHaveLength(1);
    await pass(5);
    expect(client.status).toBe("connected");
    expect(browser.server.sockets).toHaveLength(1);
  });

  test("an extra heartbeat asks in its own rhythm until it is ended", async () => {
    const { browser, client } = await connected();
    const pings = () => browser.server.received.filter(({ type }) => type === "ping").length;
    const stop = client.connection.setupHeartbeat(10);
    await pass(10);
    await pass(10);
    expect(pings()).toBe(2);
    stop();
    await pass(20);
    expect(pings()).toBe(2);
  });
});

test("a client that never was connected says connecting through all attempts", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  await tab.close(await tab.openConnected());
  const client = await tab.open({ autoConnect: false });
  browser.server.cut();
  const seen = statuses(client);
  void client.connection.connect();
  await pass(60);
  browser.server.mend();
  await pass(40);
  expect(new Set(seen.map(([status]) => status))).toEqual(new Set(["connecting", "connected"]));
});

test("a callback of an ended connection does not find the client connected", async () => {
  const { browser, client } = await connected();
  const seen: Status[] = [];
  client.on("unsent", () => void seen.push(client.status));
  browser.server.swallowReceipts = true;
  void client.send(1);
  await turns();
  browser.server.forgetClients();
  await turns();
  expect(seen).toEqual(["reconnecting"]);
});

describe("a proxy that ends quiet connections", () => {
  test("does not end the next one, which is not quiet for so long", async () => {
    const { browser, client } = await connected();
    await pass(10);
    browser.server.drop();
    await passUntil(() => client.status === "connected");
    const pings = (): number => browser.server.received.filter(({ type }) => type === "ping").length;
    const before = pings();
    await pass(60);
    expect(pings() - before).toBeGreaterThanOrEqual(11);
    expect(client.stats().connections).toBe(2);
  });

  test("is not blamed for a connection that ended in the middle of its work", async () => {
    const { browser, client } = await connected();
    await client.state.set("/a", 1);
    browser.server.drop();
    await passUntil(() => client.status === "connected");
    const before = browser.server.received.length;
    await pass(20);
    expect(browser.server.received.slice(before).filter(({ type }) => type === "ping")).toEqual([]);
  });

  test("costs a short wait each time, for every connection has lasted", async () => {
    const { browser, client } = await connected();
    for (let n = 0; n < 8; n += 1) {
      browser.server.drop();
      await turns();
      // Full jitter about the middle of the first bound.
      await pass(1.6);
      expect(client.status).toBe("connected");
    }
  });
});

describe("the application's own control", () => {
  test("connect resolves when connected, and rejects when the connection is given up", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    expect(client.status).toBe("disconnected");
    await client.connection.connect();
    expect(client.status).toBe("connected");
    client.connection.disconnect();
    browser.server.cut();
    const waiting = client.connection.connect();
    client.connection.disconnect();
    expect(await refusal(waiting)).toBe("closed");
  });

  test("reconnect opens another connection of the same client", async () => {
    const { browser, client } = await connected();
    const { clientId } = client;
    await client.connection.reconnect();
    expect(client.clientId).toBe(clientId);
    expect(browser.server.connected).toBe(1);
    expect(browser.server.sockets).toHaveLength(2);
  });

  test("closing leaves no timer, no listener, no lock and no callback", async () => {
    const { browser, tab, client } = await connected();
    const seen = statuses(client);
    const added = vi.spyOn(tab.page.window, "removeEventListener");
    client.connection.setupHeartbeat(10);
    client.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(added).toHaveBeenCalledTimes(12);
    browser.server.publish("t", 1);
    await pass(100);
    expect(seen).toEqual([]);
    expect(browser.server.connected).toBe(0);
    const next = await tab.openConnected();
    expect(next.clientId).toBe(client.clientId);
  });

  test("destroy rejects who waits, and the write is sent by the next start", async () => {
    const { browser, tab, client } = await connected();
    client.connection.disconnect();
    const waiting = client.state.set("/a", 1);
    client.close();
    expect(await refusal(waiting)).toBe("closed");
    await turns();
    await tab.openConnected();
    await until(() => browser.server.session.document("main").head === 1);
  });
});

test("importing and starting need no window", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected({ page: null, locks: null, storage: undefined });
  expect(client.status).toBe("connected");
});
