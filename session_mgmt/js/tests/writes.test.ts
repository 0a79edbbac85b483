import { describe, expect, test } from "vitest";
import { Browser, pass, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

class Secret {
  #hidden = 1;

  get hidden(): number {
    return this.#hidden;
  }
}

describe("a numbered write", () => {
  test("resolves on its receipt", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const result = await client.state.set("/cart/coupon", "WELCOME");
    expect(result).toMatchObject({ version: 1, unchanged: false, dropped: [] });
    expect(browser.server.session.document("main").value).toEqual({ cart: { coupon: "WELCOME" } });
    expect(client.pending).toBe(0);
  });

  test("rejects with the server's typed error, is rolled back, and lets the next one pass", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const errors = record(client, "error");
    browser.server.refuse({ code: 240, name: "conflict", temporary: false, message: "…", position: ["e", 1, "t"] });
    const first = client.state.set("/a", 1);
    const second = client.state.set("/b", 2);
    expect(client.state.get()).toEqual({ a: 1, b: 2 });
    const facts = { position: ["e", 1, "t"] };
    await expect(first).rejects.toMatchObject({ code: 240, name: "conflict", temporary: false, facts });
    await second;
    expect(client.state.get()).toEqual({ b: 2 });
    expect(errors.map(([error]) => error.name)).toEqual(["conflict"]);
  });

  test("send resolves with the handler's answer, publish with the position", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    expect(await client.send({ do: "checkout" })).toEqual({ do: "checkout" });
    expect(await client.topics.publish("chat:1", "hello")).toEqual(browser.server.topic("chat:1").position);
  });

  test("made offline is sent when the connection is there", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const result = client.state.inc("/visits");
    expect(client.state.get("/visits")).toBe(1);
    expect(client.pending).toBe(1);
    await client.connection.connect();
    expect((await result).version).toBe(1);
  });

  test.each([
    ["a __proto__ path", "/__proto__/polluted", 1, "forbidden_key"],
    ["a path without a slash", "a", 1, "invalid_path"],
    ["NaN", "/a", Number.NaN, "number_out_of_range"],
    ["an unsafe integer", "/a", 2 ** 53, "number_out_of_range"],
    ["a lone surrogate", "/a", "\ud800", "invalid_json"],
    ["a NUL character", "/a", "\0", "invalid_json"],
    ["a function", "/a", () => 1, "invalid_json"],
    ["a Map", "/a", new Map([[1, 2]]), "invalid_json"],
    ["a Set", "/a", new Set([1]), "invalid_json"],
    ["a promise", "/a", Promise.resolve(1), "invalid_json"],
    ["an error", "/a", new Error("x"), "invalid_json"],
    ["bytes", "/a", new Uint8Array(2), "invalid_json"],
    ["an object of a class without members", "/a", new Secret(), "invalid_json"],
    ["a path of 65 tokens", "/a".repeat(65), 1, "too_deep"],
    ["a __proto__ member", "/a", JSON.parse('{"__proto__": {"x": 1}}'), "forbidden_key"],
    ["a frame beyond the limit", "/a", "x".repeat(300_000), "frame_too_large"],
  ])("with %s is refused before it gets a number", async (_, path, value, name) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    expect(await refusal(client.state.set(path, value))).toBe(name);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(client.pending).toBe(0);
    await client.state.set("/next", 1);
    expect(browser.server.session.document("main").head).toBe(1);
  });

  test("names the place of what is refused", async () => {
    const client = await new Browser().tab().open({ autoConnect: false });
    const told = async (path: string, value: unknown): Promise<string> =>
      client.state.set(path, value as never).then(() => "taken", (error: Error) => error.message);
    expect(await told("/a", undefined)).toBe("undefined is not JSON, at /a.");
    expect(await told("/a", { b: [1, () => 1] })).toBe("A function is not JSON, at /a/b/1.");
    expect(await told("/a", { "b/c": new Map() })).toBe("A value of Map is not JSON, at /a/b~1c.");
    expect(await told("", 1n)).toBe("A bigint is not JSON.");
    expect(await told("/a", { b: { __proto__x: 1, c: 2 ** 53 } })).toBe(
      "A number is not finite or beyond 2^53-1, at /a/b/c.",
    );
  });

  test("takes what JSON can say of an object: its members, its toJSON, the value in a box", async () => {
    const client = await new Browser().tab().open({ autoConnect: false });
    class Point {
      constructor(readonly x = 1, readonly y = undefined) {}
    }
    const bare = Object.assign(Object.create(null), { z: 2 });
    void client.state.set("/a", { point: new Point(), at: new Date(0), boxed: Object("text"), bare, empty: {} });
    expect(client.state.get("/a")).toEqual({
      point: { x: 1 },
      at: "1970-01-01T00:00:00.000Z",
      boxed: "text",
      bare: { z: 2 },
      empty: {},
    });
  });

  test("may have a path of 64 tokens", async () => {
    const client = await new Browser().tab().openConnected();
    await client.state.set("/a".repeat(64), 1);
    expect(client.state.get("/a".repeat(64))).toBe(1);
  });

  test("keeps its content when the caller changes the value afterwards", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const cart = { items: [1] };
    void client.state.set("/cart", cart);
    cart.items.push(2);
    expect(client.state.get("/cart")).toEqual({ items: [1] });
    await client.connection.connect();
    await until(() => client.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ cart: { items: [1] } });
  });
});

describe("over a reload", () => {
  test("updates, publications and sends are delivered once, under their numbers and in order", async () => {
    const handled: unknown[] = [];
    const browser = new Browser();
    const { server } = browser;
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.inc("/visits");
    // Decided, but the page never hears of it.
    server.swallowReceipts = true;
    void before.state.inc("/visits");
    void before.topics.publish("chat:1", "hello");
    await turns();
    server.cut();
    void before.send("later").then((answer) => handled.push(answer), () => undefined);
    void before.state.inc("/visits");
    await tab.close(before);
    server.mend();
    server.swallowReceipts = false;

    const after = await tab.open({ autoConnect: false });
    expect(after.pending).toBe(4);
    await after.connection.connect();
    await until(() => after.pending === 0);
    expect(server.session.document("main").value).toEqual({ visits: 3 });
    expect(after.state.get("/visits")).toBe(3);
    expect(server.topic("chat:1").head).toBe(1);
    expect(handled).toEqual([]);
    const resent = server.received.slice(server.received.findLastIndex(({ type }) => type === "connect") + 1);
    const kinds = resent.map(({ type, seq }) => `${seq} ${type}`);
    expect(kinds).toEqual(["2 update", "3 publish", "4 send", "5 update"]);
    expect(after.clientId).toBe(before.clientId);
  });

  test("the content is the same, the base included", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/a", 1);
    browser.server.cut();
    void before.state.set("/b", 2);
    await tab.close(before);
    browser.server.mend();
    browser.server.write([["set", "/c", 3]]);
    const after = await tab.open();
    await until(() => after.pending === 0);
    const resent = browser.server.received.at(-1);
    const [epoch, base, tag] = browser.server.session.document("main").positionAt(1);
    expect(resent).toEqual({ type: "update", doc: "main", base, epoch, tag, ops: [["set", "/b", 2]], seq: 2 });
  });

  test("a number that the server has decided is never given again, even when the storage came back older", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.inc("/visits");
    const old = tab.duplicate();
    await before.state.inc("/visits");
    await before.state.inc("/visits");
    await tab.close(before);
    const after = await old.open({ autoConnect: false });
    void after.state.inc("/visits");
    await after.connection.connect();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 4 });
  });
});

describe("storage that came back older", () => {
  test("gives a text that was typed before any connection a number of its own, over a reload too", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/note", "first");
    const old = tab.duplicate();
    await before.state.set("/note", "second");
    await before.state.set("/note", "third");
    await tab.close(before);
    const offline = await old.open({ autoConnect: false });
    void offline.state.set("/draft", "typed");
    await old.close(offline);
    const after = await old.openConnected();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ note: "third", draft: "typed" });
  });

  test("gives another number to a write whose number the server knows for another one", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.open({ autoConnect: false });
    void before.state.set("/a", "mine");
    void before.state.set("/b", "mine too");
    await turns();
    await tab.close(before);
    // As if these writes had been sent under numbers that another copy of this storage has used.
    for (let at = 0; at < tab.storage.length; at += 1) {
      const name = tab.storage.key(at) as string;
      if (!name.endsWith(":fields")) continue;
      const fields = JSON.parse(tab.storage.getItem(name) as string);
      tab.storage.setItem(name, JSON.stringify({ ...fields, client: "c_copy", sent: 2 }));
    }
    const client = browser.server.session.newClient("c_copy");
    client.lastSeq = 2;
    for (const seq of [1, 2]) {
      client.receipts.set(seq, { type: "receipt", seq, ok: false, error: { code: 231, name: "seq_reused" } });
    }
    const after = await tab.openConnected();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ a: "mine", b: "mine too" });
    expect(browser.server.received.filter(({ type }) => type === "update").map(({ seq }) => seq)).toEqual([1, 3, 4]);
  });

  test("gives another number to a write that was never sent, if the answer under its own is forgotten", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.inc("/visits");
    const old = tab.duplicate();
    await before.state.inc("/visits");
    await tab.close(before);
    const offline = await old.open({ autoConnect: false });
    void offline.state.inc("/visits");
    await old.close(offline);
    const [client] = browser.server.session.clients.values();
    client?.receipts.set(2, { type: "receipt", seq: 2, ok: false, error: { code: 232, name: "receipt_gone" } });
    const after = await old.openConnected();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 3 });
  });

  test("gives a write whose answer is forgotten to the application", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    browser.server.cut();
    void before.state.set("/text", "typed");
    await turns();
    await tab.close(before);
    browser.server.mend();
    const [client] = browser.server.session.clients.values();
    client?.receipts.set(1, { type: "receipt", seq: 1, ok: false, error: { code: 232, name: "receipt_gone" } });
    const after = await tab.open({ autoConnect: false });
    const unsent = record(after, "unsent");
    await after.connection.connect();
    await until(() => after.pending === 0);
    expect(unsent).toMatchObject([[[{ seq: 1, write: { ops: [["set", "/text", "typed"]] } }], "receipt_gone"]]);
  });
});

describe("a temporary refusal", () => {
  test("is sent again under its number after retry_after, and then all that came after it", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.refuse({ code: 300, name: "busy", temporary: true, retry_after: 2 });
    const done: number[] = [];
    for (const n of [1, 2, 3]) void client.topics.publish("chat", n).then((position) => done.push(position?.[1] ?? 0));
    await pass(1.9);
    expect(done).toEqual([]);
    // Made while the retry is planned: it has to wait behind the others.
    void client.topics.publish("chat", 4).then((position) => done.push(position?.[1] ?? 0));
    await pass(0.2);
    expect(done).toEqual([1, 2, 3, 4]);
    expect(browser.server.topic("chat").entries.map((entry) => entry[2])).toEqual([1, 2, 3, 4]);
    const numbers = browser.server.received.filter(({ type }) => type === "publish").map(({ seq }) => seq);
    expect(numbers).toEqual([1, 2, 3, 1, 2, 3, 4]);
  });

  test.each(["too_old", "unknown_version", "epoch_changed"])("by %s is sent again with a new base", async (name) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/a", 1);
    browser.server.refuse({ code: 243, name, temporary: true });
    const result = client.state.set("/b", 2);
    await turns();
    browser.server.write([["set", "/c", 3]]);
    await pass(1);
    expect((await result).version).toBe(3);
    const attempts = browser.server.received.filter(({ seq }) => seq === 2);
    const document = browser.server.session.document("main");
    const bases = attempts.map(({ epoch, base, tag }) => [epoch, base, tag]);
    expect(bases).toEqual([document.positionAt(1), document.positionAt(2)]);
    expect(attempts.map(({ replaced }) => replaced)).toEqual([undefined, { "/b": null }]);
    expect(attempts.map(({ ops }) => ops)).toEqual([[["set", "/b", 2]], [["set", "/b", 2]]]);
  });

  test("of the first write by seq_gap makes the client say again how far it is", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.inc("/visits");
    // As after a restored backup: the server has lost a number that the client had acknowledged.
    for (const known of browser.server.session.clients.values()) known.lastSeq = 0;
    const result = client.state.inc("/visits");
    await pass(2);
    expect((await result).version).toBe(2);
    expect(browser.server.sockets.length).toBe(2);
  });
});

describe("aborting", () => {
  test("takes back a write that was never sent, and closes the hole in the numbers", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const abort = new AbortController();
    void client.state.set("/a", 1);
    const taken = client.state.set("/b", 2, { signal: abort.signal });
    void client.state.set("/c", 3);
    abort.abort();
    expect(await refusal(taken)).toBe("AbortError");
    expect(client.state.get()).toEqual({ a: 1, c: 3 });
    await client.connection.connect();
    await until(() => client.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ a: 1, c: 3 });
    expect(browser.server.received.filter(({ type }) => type === "update").map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test("only ends the waiting once the write was sent", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const abort = new AbortController();
    const result = client.state.set("/a", 1, { signal: abort.signal });
    abort.abort();
    expect(await refusal(result)).toBe("AbortError");
    await until(() => client.pending === 0);
    expect(client.state.get("/a")).toBe(1);
  });
});

describe("a page that has ended", () => {
  test("takes no write back: it is the next one's", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.open({ autoConnect: false });
    const abort = new AbortController();
    const results = [{ signal: abort.signal }, {}].map((options, at) => refusal(before.state.set(`/${at}`, at, options)));
    await turns();
    await tab.close(before);
    abort.abort();
    const after = await tab.open({ autoConnect: false });
    expect(await Promise.all(results)).toEqual(["closed", "closed"]);
    await after.connection.connect();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ 0: 0, 1: 1 });
    expect(browser.server.received.filter(({ type }) => type === "update").map(({ seq }) => seq)).toEqual([1, 2]);
  });

  test("has sent a write once, though full storage does not tell that it was sent", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.connection.disconnect();
    void before.state.inc("/visits").catch(() => undefined);
    await turns();
    const { setItem } = tab.storage;
    tab.storage.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    browser.server.swallowReceipts = true;
    void before.connection.connect();
    await until(() => browser.server.session.document("main").entries.length === 1);
    await tab.close(before);
    tab.storage.setItem = setItem;
    browser.server.swallowReceipts = false;
    const after = await tab.openConnected();
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
  });
});

describe("the outbox", () => {
  test("is bounded by count and by bytes", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false, outbox: { writes: 2, bytes: 500 } });
    void client.send("x");
    expect(await refusal(client.send("x".repeat(600)))).toBe("outbox_full");
    void client.send("y");
    expect(await refusal(client.send("z"))).toBe("outbox_full");
    expect(client.pending).toBe(2);
  });

  test("acknowledges every 32 receipts and with each pong", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await Promise.all(Array.from({ length: 40 }, (_, n) => client.topics.publish("chat", n)));
    await turns();
    expect(browser.server.received.filter(({ type }) => type === "ack")).toEqual([{ type: "ack", seq: 32 }]);
    browser.server.broadcast({ type: "ping", ping: 7, rtt_ms: 21.5 });
    await turns();
    expect(browser.server.received.at(-1)).toEqual({ type: "pong", ping: 7, acked: 40 });
    expect(client.stats().latency.last_ms).toBe(21.5);
  });

  test("lives in memory, with one warning, when the storage is full", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    const errors = record(client, "error");
    tab.storage.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    await client.state.set("/a", 1);
    await client.state.set("/b", 2);
    await pass(1);
    expect(errors.map(([error]) => error.name)).toEqual(["storage_unavailable"]);
    expect(browser.server.session.document("main").value).toEqual({ a: 1, b: 2 });
  });
});
