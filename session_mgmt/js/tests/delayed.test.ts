import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { coalesceOperations } from "../src/coalesce";
import type { StartOptions } from "../src/index";
import { applyOperations, type Operation } from "../src/operations";
import { Browser, pass, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

const DELAYED: StartOptions = { sync: { mode: "delayed", delay: 200, maxDelay: 2000 } };

function sentBy(browser: Browser) {
  return browser.server.received.filter(({ seq, type }) => seq !== undefined && type !== "ack");
}

async function connected() {
  const browser = new Browser();
  const tab = browser.tab();
  return { browser, tab, client: await tab.openConnected(DELAYED) };
}

describe("delayed synchronisation", () => {
  test("shows updates at once and sends them as one when the delay has passed", async () => {
    const { browser, client } = await connected();
    const results = [client.state.set("/x", 1), client.state.inc("/n", 2), client.state.set("/x", 3), client.state.inc("/n")];
    expect(client.state.get()).toEqual({ x: 3, n: 3 });
    await pass(0.19);
    expect(sentBy(browser)).toEqual([]);
    await pass(0.02);
    expect(sentBy(browser).map(({ seq, ops }) => [seq, ops])).toEqual([[1, [["set", "/x", 3], ["inc", "/n", 3]]]]);
    expect((await Promise.all(results)).map(({ version }) => version)).toEqual([1, 1, 1, 1]);
    expect(client.pending).toBe(0);
  });

  test("begins the delay anew with every update, but ends it after maxDelay", async () => {
    const { browser, client } = await connected();
    for (let n = 0; n < 15; n += 1) {
      void client.state.set("/slider", n);
      await pass(0.15);
    }
    expect(sentBy(browser).map(({ ops }) => ops)).toEqual([[["set", "/slider", 13]]]);
    await pass(0.3);
    expect(sentBy(browser)).toHaveLength(2);
    expect(browser.server.session.document("main").value).toEqual({ slider: 14 });
  });

  test("sends on flush, and does not add to what was sent", async () => {
    const { browser, client } = await connected();
    browser.server.swallowReceipts = true;
    void client.state.set("/x", 1);
    client.flush();
    void client.state.set("/x", 2);
    client.flush();
    client.flush();
    await turns();
    expect(sentBy(browser).map(({ seq, ops }) => [seq, ops])).toEqual([[1, [["set", "/x", 1]]], [2, [["set", "/x", 2]]]]);
  });

  test.each([
    ["pagehide", "window"],
    ["visibilitychange", "document"],
  ] as const)("sends on %s of a page that goes", async (sign, target) => {
    const { browser, tab, client } = await connected();
    void client.state.set("/x", 1);
    tab.page.document.visibilityState = "hidden";
    tab.page[target].dispatchEvent(new Event(sign));
    await turns();
    expect(sentBy(browser)).toHaveLength(1);
  });

  test("sends before a publication and a message, so that the order holds", async () => {
    const { browser, client } = await connected();
    void client.state.set("/x", 1);
    void client.topics.publish("chat", "hello");
    void client.state.set("/x", 2);
    await client.send("later");
    expect(sentBy(browser).map(({ seq, type }) => `${seq} ${type}`)).toEqual([
      "1 update",
      "2 publish",
      "3 update",
      "4 send",
    ]);
  });

  test("sends before an ephemeral publication", async () => {
    const { browser, client } = await connected();
    void client.state.set("/x", 1);
    await client.topics.publish("chat", "typing", { ephemeral: true });
    await turns();
    expect(browser.server.received.slice(-2).map(({ type }) => type)).toEqual(["update", "publish"]);
  });

  test("sends on destroy", async () => {
    const { browser, tab, client } = await connected();
    const waiting = client.state.set("/x", 1);
    const send = vi.spyOn(browser.server.sockets[0] as { send(text: string): void }, "send");
    await tab.close(client);
    expect(await refusal(waiting)).toBe("closed");
    expect(send).toHaveBeenCalledOnce();
  });

  test("loses nothing when the page crashes before the delay has passed", async () => {
    const { browser, tab, client } = await connected();
    await Promise.all([client.state.set("/a", 1), pass(1)]);
    void client.state.inc("/n");
    void client.state.inc("/n");
    // A crash runs no handler: the next page finds the storage as it is.
    const crashed = tab.duplicate();
    browser.server.cut();
    await tab.close(client);
    browser.server.mend();
    const after = await crashed.open(DELAYED);
    expect(after.state.get("/n")).toBe(2);
    await until(() => after.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ a: 1, n: 2 });
    expect(sentBy(browser).map(({ seq, ops }) => [seq, ops])).toEqual([[1, [["set", "/a", 1]]], [2, [["inc", "/n", 2]]]]);
  });

  test("keeps what was made offline under its number", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ ...DELAYED, autoConnect: false });
    void client.state.set("/x", 1);
    await pass(1);
    void client.state.set("/x", 2);
    await client.connection.connect();
    await turns();
    expect(sentBy(browser).map(({ seq }) => seq)).toEqual([1]);
    await pass(1);
    expect(sentBy(browser).map(({ seq }) => seq)).toEqual([1, 2]);
    expect(client.state.get("/x")).toBe(2);
  });

  test("gathers merges, and keeps documents and strategies apart", async () => {
    const { browser, client } = await connected();
    void client.state.merge({ a: 1, b: null });
    void client.state.merge({ a: 2 });
    void client.document("other").set("/x", 1);
    void client.document("other").set("/x", 2, { strategy: "reject" });
    await pass(1);
    const ops: Operation[] = [["obj", ""], ["set", "/a", 2], ["del", "/b"]];
    expect(sentBy(browser).map(({ doc, strategy, ops }) => [doc, strategy, ops])).toEqual([
      ["main", undefined, expect.anything()],
      ["other", undefined, [["set", "/x", 1]]],
      ["other", "reject", [["set", "/x", 2]]],
    ]);
    expect(applyOperations({ b: 1 }, sentBy(browser)[0]?.ops)).toEqual(applyOperations({ b: 1 }, ops));
  });

  test("begins another update when another's change has come in between", async () => {
    const { browser, client } = await connected();
    void client.state.set("/x", 1);
    browser.server.write([["set", "/y", 1]]);
    await until(() => client.state.get("/y") === 1);
    void client.state.set("/x", 2);
    await pass(1);
    expect(sentBy(browser).map(({ base }) => base)).toEqual([0, 1]);
  });

  test("aborting takes one call back out of what waits, and the others go", async () => {
    const { browser, client } = await connected();
    const abort = new AbortController();
    void client.state.inc("/n");
    const taken = client.state.inc("/n", 10, { signal: abort.signal });
    void client.state.inc("/n");
    abort.abort();
    expect(await refusal(taken)).toBe("AbortError");
    expect(client.state.get("/n")).toBe(2);
    await pass(1);
    expect(sentBy(browser).map(({ ops }) => ops)).toEqual([[["inc", "/n", 2]]]);
  });

  test("aborting the only call leaves nothing to send", async () => {
    const { browser, client } = await connected();
    const abort = new AbortController();
    void client.state.set("/x", 1, { signal: abort.signal });
    abort.abort();
    expect([client.pending, client.state.get()]).toEqual([0, {}]);
    void client.state.set("/y", 1);
    await pass(1);
    expect(sentBy(browser).map(({ seq, ops }) => [seq, ops])).toEqual([[1, [["set", "/y", 1]]]]);
  });

  test("rejects every call of a refused update, and rolls all of them back", async () => {
    const { browser, client } = await connected();
    browser.server.refuse({ code: 240, name: "conflict", temporary: false });
    const refusals = [client.state.set("/x", 1), client.state.set("/y", 1)].map(refusal);
    await pass(1);
    expect(await Promise.all(refusals)).toEqual(["conflict", "conflict"]);
    expect(client.state.get()).toEqual({});
  });

  test("gives what waited to the application when the client is forgotten, and goes on", async () => {
    const { browser, client } = await connected();
    const lost = refusal(client.state.set("/x", 1));
    browser.server.forgetClients();
    await pass(3);
    expect(await lost).toBe("client_forgotten");
    void client.state.set("/y", 1);
    await pass(1);
    expect(client.state.get()).toEqual({ y: 1 });
  });

  test("begins another update where a frame would be too large or have too many operations", async () => {
    const browser = new Browser();
    browser.server.settings = { limits: { ops: 5 } };
    const client = await browser.tab().openConnected(DELAYED);
    for (let n = 0; n < 6; n += 1) void client.state.set(`/k${n}`, n);
    await pass(1);
    expect(sentBy(browser).map(({ ops }) => ops.length)).toEqual([5, 1]);
    void client.state.set("/a", "x".repeat(200_000));
    void client.state.set("/b", "x".repeat(200_000));
    await pass(1);
    expect(sentBy(browser)).toHaveLength(4);
  });
});

const PATHS = ["", "/a", "/b", "/a/b", "/a/0", "/a/1", "/a/-", "/a/0/b", "/b/c"];
const value = fc.oneof(fc.integer({ min: -9, max: 9 }), fc.constantFrom<unknown>([], [1, 2], {}, { b: 1 }, "x", null));
const path = fc.constantFrom(...PATHS);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(fc.constantFrom("set" as const, "ins" as const), path, value),
  fc.tuple(fc.constant("inc" as const), path, fc.integer({ min: -9, max: 9 })),
  fc.tuple(fc.constantFrom("del" as const, "obj" as const), path),
);

test("coalesced operations give what the single ones give, for every document", () => {
  const document = fc.oneof(value, fc.record({ a: value, b: value }, { requiredKeys: [] }));
  const lists = fc.array(fc.array(operation, { maxLength: 3 }), { maxLength: 8 });
  fc.assert(
    fc.property(document, lists, (before, parts) => {
      const together = parts.reduce<Operation[]>((list, part) => coalesceOperations(list, part), []);
      expect(applyOperations(before, together)).toEqual(applyOperations(before, parts.flat()));
    }),
    { numRuns: 3000 },
  );
});
