import { describe, expect, test } from "vitest";
import { Browser, record, refusal, until, useFakeClock } from "./harness";

useFakeClock();

async function three() {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  for (const n of [1, 2, 3]) await client.state.set("/n", n);
  return { browser, client, state: client.state };
}

describe("a document's past", () => {
  test("is listed in pages and read", async () => {
    const { client, state } = await three();
    const page = await state.history({ limit: 2 });
    expect(page.results.map(({ version, clientId, paths }) => [version, clientId, paths])).toEqual([
      [3, client.clientId, ["/n"]],
      [2, client.clientId, ["/n"]],
    ]);
    const rest = await state.history({ before: page.next as number });
    expect(rest.results.map(({ version }) => version)).toEqual([1]);
    expect(rest.next).toBeNull();
    expect(await state.readAt(2)).toEqual({ n: 2 });
    expect(await state.diff(1, 2)).toEqual([{ op: "replace", path: "", value: { n: 2 } }]);
    expect(await refusal(state.readAt(9))).toBe("not_found");
  });

  test("is kept under labels, restored and given up", async () => {
    const { state } = await three();
    expect(await state.persist("before/the sale")).toEqual({ label: "before/the sale", version: 3, at: null });
    await state.clear();
    expect(state.get()).toEqual({});
    expect(await state.readAt("before/the sale")).toEqual({ n: 3 });
    expect(await state.restore("before/the sale")).toMatchObject({ version: 5, unchanged: false });
    await until(() => state.version === 5);
    expect(state.get()).toEqual({ n: 3 });
    expect((await state.checkpoints()).map(({ label }) => label)).toEqual(["before/the sale"]);
    await state.forget("before/the sale");
    expect(await refusal(state.forget("before/the sale"))).toBe("not_found");
  });

  test("is told with what the server knows of the document", async () => {
    const { client, state } = await three();
    expect(await state.info()).toMatchObject({ data: { n: 3 }, version: 3, lastModified: expect.any(String) });
    expect(await state.sizes()).toMatchObject({ size: 7, exact: true });
    expect(await state.compress()).toMatchObject({ stored: 7 });
    await client.document("prefs").set("/a", 1);
    expect((await client.documents()).map(({ name, version }) => [name, version])).toEqual([
      ["main", 3],
      ["prefs", 1],
    ]);
    // SHA-256 of {"n":3}, as any other program computes it.
    expect(await state.checksum()).toBe("215ddd5567ca2590efd4ea109b4e56cbe591e2676fbf54a9262692c539166da6");
  });
});

describe("a conflict that was kept", () => {
  test("is told, listed and decided once", async () => {
    const { browser, client, state } = await three();
    const told = record(client, "conflict");
    const conflict = { path: "/n", kept: "server" as const, server: 3, client: 4, id: "c-1" };
    browser.server.report({ conflicts: [conflict] });
    await state.set("/n", 4, { strategy: "manual" });
    expect(told).toMatchObject([[{ document: "main", conflicts: [conflict] }]]);
    const kept = { ...conflict, client: { n: 4 }, client_id: "c_1", resolved_at: null, resolution: null };
    browser.server.session.document("main").conflicts.push(kept, { ...kept, id: "c-2", resolved_at: "earlier" });
    expect((await state.conflicts()).map(({ id, clientId }) => [id, clientId])).toEqual([["c-1", "c_1"]]);
    expect(await state.conflicts({ includeResolved: true })).toHaveLength(2);
    expect(await state.resolve("c-1", "client")).toMatchObject({ unchanged: false });
    expect(await refusal(state.resolve("c-1", "client"))).toBe("not_found");
    await until(() => state.version === 5);
    expect(state.get()).toEqual({ n: 4 });
  });
});
