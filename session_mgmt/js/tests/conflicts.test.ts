import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { canonicalText, hashMessage } from "../src/digest";
import type { Operation } from "../src/operations";
import { digestReplaced, type Replaced } from "../src/replaced";
import type { Json } from "../src/values";
import { Browser, pass, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

type Row = { seen: Json; ops: Operation[]; replaced: Replaced };
const table: Row[] = JSON.parse(
  readFileSync(new URL("../../../tests/documents/vectors/replaced.json", import.meta.url), "utf8"),
);

describe("digests", () => {
  test.each(table.map((row, at) => [at, row] as const))("of row %i are the server's", (_, { seen, ops, replaced }) => {
    expect(digestReplaced(seen, ops)).toEqual(replaced);
  });

  test("are SHA-256 for every length of the last block", () => {
    for (let length = 0; length < 200; length += 1) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 7 + length) % 256);
      const words = [...hashMessage(bytes)].map((word) => word.toString(16).padStart(8, "0")).join("");
      expect(words).toBe(createHash("sha256").update(bytes).digest("hex"));
    }
  });

  test("do not depend on the order of members", () => {
    expect(canonicalText({ b: 1, a: { d: [1, null], c: true } })).toBe('{"a":{"c":true,"d":[1,null]},"b":1}');
  });
});

describe("writes older than the server's log", () => {
  test("are sent again on the newest version with digests of what they replaced, all of them at once", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/a", 1);
    browser.server.refuse({ code: 243, name: "too_old", temporary: true });
    const done = Promise.all([client.state.set("/a", 2), client.state.inc("/n"), client.state.set("/a", 3)]);
    await turns();
    browser.server.write([["set", "/other", 1]]);
    await pass(1);
    await done;
    const updates = browser.server.received.filter(({ type, seq }) => type === "update" && (seq as number) > 1);
    expect(updates.map(({ seq, base, replaced }) => [seq, base, replaced !== undefined])).toEqual([
      [2, 1, false],
      [3, 1, false],
      [4, 1, false],
      [2, 2, true],
      [3, 2, true],
      [4, 2, true],
    ]);
    const digests = updates.slice(3).map(({ replaced }) => replaced);
    const [first, third] = [digestReplaced({ a: 1 }, [["set", "/a", 2]]), digestReplaced({ a: 2 }, [["set", "/a", 3]])];
    expect(digests).toEqual([first, {}, third]);
  });

  test("keep their digests over a reload", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    await client.state.set("/a", 1);
    browser.server.drop();
    void client.state.set("/a", 2);
    client.close();
    browser.server.refuse({ code: 243, name: "too_old", temporary: true });
    browser.server.write([["set", "/other", 1]]);
    await tab.openConnected();
    await pass(1);
    const last = browser.server.received.filter(({ type }) => type === "update").at(-1);
    expect(last).toMatchObject({ seq: 2, base: 2, replaced: digestReplaced({ a: 1 }, [["set", "/a", 2]]) });
  });
});

describe("an update that is all or nothing", () => {
  const MOVE: Operation[] = [["del", "/left/0"], ["ins", "/right/-", "item"]];

  test("says so in its frame, and others do not", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.replace({ left: ["item"], right: [] }, { atomic: false });
    await client.state.update(MOVE, { atomic: true });
    await client.state.merge({ note: "moved" }, { atomic: true, strategy: "manual" });
    const updates = browser.server.received.filter(({ type }) => type === "update");
    expect(updates.map(({ atomic, strategy }) => [atomic, strategy])).toEqual([
      [undefined, undefined],
      [true, undefined],
      [true, "manual"],
    ]);
  });

  test("that is refused shows nothing of itself any more", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const before = { left: ["item"], right: [] };
    await client.state.replace(before);
    browser.server.refuse({ code: 220, name: "conflict", temporary: false, paths: ["/left"] });
    const moved = client.state.update(MOVE, { atomic: true });
    expect(client.state.get()).toEqual({ left: [], right: ["item"] });
    expect(await refusal(moved)).toBe("conflict");
    expect(client.state.get()).toEqual(before);
  });

  test.each(["too_old", "unknown_version", "epoch_changed"])("stays so on a new base after %s", async (name) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/left", ["item"]);
    browser.server.refuse({ code: 243, name, temporary: true });
    const moved = client.state.update(MOVE, { atomic: true });
    await turns();
    browser.server.write([["set", "/other", 1]]);
    await pass(1);
    await moved;
    const [first, again] = browser.server.received.filter(({ type, seq }) => type === "update" && seq === 2);
    expect(first).toMatchObject({ base: 1, atomic: true });
    expect(again).toMatchObject({ base: 2, atomic: true, replaced: expect.any(Object) });
  });

  test("stays so over a reload", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    browser.server.cut();
    void client.state.update(MOVE, { atomic: true });
    await tab.close(client);
    browser.server.mend();
    const again = await tab.openConnected();
    await until(() => again.pending === 0);
    expect(browser.server.received.at(-1)).toMatchObject({ type: "update", seq: 1, ops: MOVE, atomic: true });
  });

  test("is joined with no other by delayed synchronisation", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected({ sync: { mode: "delayed" } });
    void client.state.set("/a", 1);
    void client.state.update(MOVE, { atomic: true });
    void client.state.update([["set", "/b", 1]], { atomic: true });
    void client.state.set("/c", 1);
    client.flush();
    await until(() => client.pending === 0);
    const updates = browser.server.received.filter(({ type }) => type === "update");
    expect(updates.map(({ atomic, ops }) => [atomic, ops.length])).toEqual([
      [undefined, 1],
      [true, 2],
      [true, 1],
      [undefined, 1],
    ]);
  });
});

describe("strategies", () => {
  test("are named only if the update or the client has one", async () => {
    const browser = new Browser();
    const plain = await browser.tab().openConnected();
    await plain.state.set("/a", 1);
    await plain.state.set("/a", 2, { strategy: "manual" });
    const strict = await browser.tab().openConnected({ strategy: "reject" });
    await strict.state.set("/a", 3);
    await strict.state.set("/a", 4, { strategy: "client_wins" });
    const named = browser.server.received.filter(({ type }) => type === "update").map(({ strategy }) => strategy);
    expect(named).toEqual([undefined, "manual", "reject", "client_wins"]);
  });

  test("that met a conflict are told with the result and by an event", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const conflict = { path: "/a", kept: "server", server: 2, client: 1 } as const;
    browser.server.report({ conflicts: [conflict] });
    const reports = record(client, "conflict");
    expect((await client.state.set("/a", 1)).conflicts).toEqual([conflict]);
    const report = { document: "main", seq: 1, dropped: [], overwrote: [], conflicts: [conflict], more: 0 };
    expect(reports).toEqual([[report]]);
    await client.state.set("/b", 1);
    expect(reports.length).toBe(1);
  });
});
