import { describe, expect, test, vi } from "vitest";
import type { Change, SessionClient, SessionError } from "../src/index";
import { Browser, pass, passUntil, record, turns, until, useFakeClock } from "./harness";

useFakeClock();

type Seen = [value: unknown, origin: Change["origin"], version: number];

function watch(client: SessionClient, path: string): Seen[] {
  const seen: Seen[] = [];
  client.state.on(path, (value, { origin, version }) => void seen.push([value, origin, version]));
  return seen;
}

describe("a document", () => {
  test("shows a write at once, and calls back once for it", async () => {
    const client = await new Browser().tab().openConnected();
    const seen = watch(client, "/cart");
    const result = client.state.set("/cart/coupon", "WELCOME");
    expect(client.state.get("/cart/coupon")).toBe("WELCOME");
    expect(client.state.pending).toBe(1);
    await result;
    expect(client.state.pending).toBe(0);
    expect(client.state.version).toBe(1);
    expect(seen).toEqual([[{ coupon: "WELCOME" }, "local", 0]]);
  });

  test("calls back only where the value has changed", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.write([["set", "/cart", { items: [1], coupon: null }]]);
    await until(() => client.state.version === 1);
    const items = watch(client, "/cart/items");
    const coupon = watch(client, "/cart/coupon");
    browser.server.write([["set", "/cart", { coupon: "X", items: [1] }]]);
    browser.server.write([["set", "/other", 1]]);
    await until(() => client.state.version === 3);
    expect(items).toEqual([]);
    expect(coupon).toEqual([["X", "server", 2]]);
  });

  test("puts pending writes on top of every entry of others", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.refuse({ name: "busy", temporary: true, retry_after: 5 });
    void client.state.inc("/visits", 1);
    await turns();
    browser.server.write([["set", "/visits", 10]]);
    await until(() => client.state.version === 1);
    expect(client.state.get("/visits")).toBe(11);
    await pass(6);
    expect(client.state.get("/visits")).toBe(11);
    expect(browser.server.session.document("main").value).toEqual({ visits: 11 });
  });

  test("does not count a write twice when its entry comes and its receipt does not", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = watch(client, "/visits");
    browser.server.swallowReceipts = true;
    void client.state.inc("/visits");
    await until(() => client.state.version === 1);
    expect(client.state.get("/visits")).toBe(1);
    browser.server.swallowReceipts = false;
    browser.server.drop();
    await pass(2);
    expect(client.pending).toBe(0);
    expect(seen).toEqual([[1, "local", 0]]);
  });

  test("does not count a decided write twice on a snapshot after a reload", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    browser.server.swallowReceipts = true;
    void before.state.inc("/visits");
    await turns();
    await tab.close(before);
    browser.server.swallowReceipts = false;
    const after = await tab.open({ autoConnect: false });
    const seen = watch(after, "/visits");
    await after.connection.connect();
    await until(() => after.pending === 0);
    expect(after.state.get("/visits")).toBe(1);
    // Told once, although it was there all the time: the new page has shown nothing yet.
    expect(seen).toEqual([[1, "server", 1]]);
  });

  test("recovers what it missed, without going back", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.write([["set", "/a", 1]]);
    await until(() => client.state.version === 1);
    browser.server.drop();
    await turns();
    browser.server.write([["set", "/a", 2]]);
    browser.server.write([["set", "/a", 3]]);
    const versions: number[] = [];
    client.state.on("", (_, change) => void versions.push(change.version));
    await pass(2);
    expect(client.state.get("/a")).toBe(3);
    expect(versions).toEqual([3]);
  });

  test("takes a snapshot where history was lost", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.write([["set", "/a", 1]]);
    await until(() => client.state.version === 1);
    browser.server.drop();
    await turns();
    browser.server.session.document("main").restart();
    browser.server.write([["set", "/b", 2]]);
    await pass(2);
    expect(client.state.get()).toEqual({ b: 2 });
    expect(client.state.position?.[0]).toBe(browser.server.session.document("main").epoch);
  });

  test("fetches a large snapshot by its address, with the token, and joins later entries by the ETag", async () => {
    const browser = new Browser();
    const { server } = browser;
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/a", 1);
    await tab.close(before);
    const document = server.session.document("main");
    document.url = `/api/sessions/${server.session.id}/state/main/`;
    let proceed = (): void => undefined;
    const held = new Promise<void>((resolve) => (proceed = resolve));
    const tokens: (string | null)[] = [];
    const slow: typeof server.fetch = async (url, init) => {
      if (url.endsWith("/enter/")) return server.fetch(url, init);
      tokens.push(new Headers(init?.headers).get("Authorization"));
      // The body is read at version 2, and version 3 follows before it arrives.
      const answer = await server.fetch(url, init);
      server.write([["set", "/c", 3]]);
      await held;
      return answer;
    };
    const after = await tab.open({ autoConnect: false, fetch: slow });
    void after.connection.connect();
    await until(() => server.connected === 1);
    server.write([["set", "/b", 2]]);
    const mine = after.state.inc("/mine");
    await turns();
    expect(after.state.get()).toEqual({ mine: 1 });
    proceed();
    await mine;
    await until(() => after.state.version === document.head);
    expect(after.state.get()).toEqual({ a: 1, b: 2, c: 3, mine: 1 });
    expect(tokens).toEqual([`Bearer ${after.auth.token}`]);
  });

  test("tells why a large snapshot could not be fetched, and fetches it again", async () => {
    const browser = new Browser();
    const { server } = browser;
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/a", 1);
    await tab.close(before);
    server.session.document("main").url = `/api/sessions/${server.session.id}/state/main/`;
    const answers = [new Response('{"data": {}}'), null];
    const fetch: typeof server.fetch = async (url, init) => {
      const answer = url.endsWith("/state/main/") ? answers.shift() : undefined;
      if (answer === null) throw new TypeError("Failed to fetch");
      return answer ?? server.fetch(url, init);
    };
    const told: unknown[] = [];
    const onError = ({ name, message, temporary }: SessionError): void => void told.push([name, temporary, message]);
    const after = await tab.open({ fetch, onError });
    await passUntil(() => after.state.version === 1);
    expect(after.state.get()).toEqual({ a: 1 });
    expect(told).toEqual([
      ["snapshot_failed", true, expect.stringMatching(/^state:main: No ETag/)],
      ["snapshot_failed", true, expect.stringMatching(/^state:main: No answer from http/)],
    ]);
  });

  test("has operations for every kind of change, and the aliases of the state manager", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { state } = client;
    const changes: unknown[] = [];
    state.onStateChange((value) => void changes.push(value));
    await state.replace({ list: [1], count: 1 });
    await state.insert("/list/0", 0);
    await state.inc("/count", 2);
    await state.delete("/missing");
    await state.merge({ cart: { a: 1, b: null } });
    await state.updateState({ list: null });
    await state.update([["set", "/x", 1], ["del", "/count"]]);
    expect(state.getState()).toEqual({ cart: { a: 1 }, x: 1 });
    expect(state.get("/cart/nothing/there")).toBeUndefined();
    expect(browser.server.session.document("main").value).toEqual(state.get());
    expect(state.getStateSize()).toBe('{"cart":{"a":1},"x":1}'.length);
    await state.clearState();
    expect(state.get()).toEqual({});
    expect(changes.at(-1)).toEqual({});
  });

  test("synchronises over HTTP when asked", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/a", 1);
    client.connection.disconnect();
    browser.server.write([["set", "/a", 2]]);
    expect(await client.state.sync()).toBe(2);
    expect(client.state.get("/a")).toBe(2);
  });

  test("by another name has a log of its own, also when it is first used later", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const cart = client.document("cart");
    expect(client.document("cart")).toBe(cart);
    await cart.set("/a", 1);
    await turns();
    expect(client.state.get()).toEqual({});
    browser.server.write([["set", "/b", 2]], "cart");
    await until(() => cart.version === 2);
    expect(cart.get()).toEqual({ a: 1, b: 2 });
  });

  test("survives a callback that throws, and the others are called", async () => {
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    client.state.on("/a", () => {
      throw new Error("of the application");
    });
    const seen = watch(client, "/a");
    const errors = record(client, "error");
    await client.state.set("/a", 1);
    browser.server.write([["set", "/a", 2]]);
    await until(() => client.state.version === 2);
    expect(seen.map(([value]) => value)).toEqual([1, 2]);
    expect(told).toHaveBeenCalledTimes(2);
    expect(errors).toEqual([]);
  });
});
