import { describe, expect, test } from "vitest";
import { Browser, pass, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

const DEFAULTS = { theme: "light", cart: [] };

describe("a first value", () => {
  test("is shown at once and written where nothing was", async () => {
    const browser = new Browser();
    const client = await browser.tab().open();
    const created = client.state.createIfAbsent(DEFAULTS);
    expect(client.state.get("/theme")).toBe("light");
    expect(await created).toMatchObject({ version: 1, unchanged: false });
    expect(browser.server.session.document("main").value).toEqual(DEFAULTS);
    expect(client.state.get()).toEqual(DEFAULTS);
  });

  test("goes without a base, also where the client stands at version 0", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await until(() => client.state.position !== null);
    await client.state.createIfAbsent(DEFAULTS);
    const sent = browser.server.received.filter(({ type }) => type === "update");
    expect(sent).toEqual([{ type: "update", seq: 1, doc: "main", if_absent: true, data: DEFAULTS }]);
  });

  test("is never seen where a version is known, and leaves it alone", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/theme", "dark");
    const seen: unknown[] = [];
    client.state.on("", (value) => seen.push(value));
    expect(await client.state.createIfAbsent(DEFAULTS)).toMatchObject({ version: 1, unchanged: true });
    expect(seen).toEqual([]);
    expect(browser.server.session.document("main").value).toEqual({ theme: "dark" });
  });

  test("gives way when the server has something, before its answer comes", async () => {
    const browser = new Browser();
    const first = await browser.tab().openConnected();
    await first.state.set("/work", "of an hour");
    browser.server.swallowReceipts = true;
    const late = await browser.tab().open({ autoConnect: false });
    void late.state.createIfAbsent(DEFAULTS);
    expect(late.state.get("/theme")).toBe("light");
    void late.connection.connect();
    await until(() => late.state.version === 1);
    expect(late.state.get()).toEqual({ work: "of an hour" });
    expect(browser.server.session.document("main").value).toEqual({ work: "of an hour" });
  });

  test("is not shown behind a write that will be there before it", async () => {
    const client = await new Browser().tab().open();
    void client.state.set("/mine", 1);
    const created = client.state.createIfAbsent(DEFAULTS);
    expect(client.state.get()).toEqual({ mine: 1 });
    expect((await created).unchanged).toBe(true);
    expect(client.state.get()).toEqual({ mine: 1 });
  });

  test("is shown again when the write before it is refused", async () => {
    const browser = new Browser();
    const client = await browser.tab().open();
    browser.server.refuse({ code: 122, name: "document_too_large", temporary: false });
    const refused = refusal(client.state.set("/mine", 1));
    expect((await client.state.createIfAbsent(DEFAULTS)).unchanged).toBe(false);
    expect(await refused).toBe("document_too_large");
    expect(client.state.get()).toEqual(DEFAULTS);
  });

  test("of two tabs at once is written once", async () => {
    const browser = new Browser();
    const [one, two] = [await browser.tab().open(), await browser.tab().open()];
    const results = await Promise.all([one.state.createIfAbsent({ by: 1 }), two.state.createIfAbsent({ by: 2 })]);
    expect(results.map(({ unchanged }) => unchanged).sort()).toEqual([false, true]);
    await until(() => one.state.version === 1 && two.state.version === 1);
    expect(one.state.get()).toEqual(two.state.get());
    expect(browser.server.session.document("main").entries).toHaveLength(1);
  });

  test("whose answer was lost is sent again under its number and written once", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.swallowReceipts = true;
    const created = client.state.createIfAbsent(DEFAULTS);
    await until(() => client.state.version === 1);
    browser.server.swallowReceipts = false;
    browser.server.drop();
    await pass(1);
    expect(await created).toMatchObject({ version: 1, unchanged: false });
    expect(browser.server.session.document("main").entries).toHaveLength(1);
  });

  test("of a page that reloads is sent by the next page, and yields to what came meanwhile", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const page = await tab.openConnected();
    browser.server.cut();
    void page.state.createIfAbsent(DEFAULTS);
    await tab.close(page);
    browser.server.write([["set", "/meanwhile", 1]]);
    browser.server.mend();
    const next = await tab.openConnected();
    await until(() => next.pending === 0);
    expect(next.state.get()).toEqual({ meanwhile: 1 });
  });

  test("gathers nothing with delayed synchronisation, and is gathered by nothing", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ sync: { mode: "delayed" }, autoConnect: false });
    void client.document("prefs").set("/a", 1);
    void client.state.createIfAbsent(DEFAULTS);
    void client.state.set("/theme", "dark");
    void client.connection.connect();
    await pass(1);
    await until(() => client.pending === 0);
    const sent = browser.server.received.filter(({ type }) => type === "update");
    expect(sent.map(({ doc, if_absent }) => [doc, if_absent])).toEqual([
      ["prefs", undefined],
      ["main", true],
      ["main", undefined],
    ]);
    expect(client.state.get()).toEqual({ ...DEFAULTS, theme: "dark" });
  });

  test("after an oversized write and a reconnect leaves the state alone", async () => {
    // What has destroyed rooms elsewhere (liveblocks#3535).
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/work", "of an hour");
    expect(await refusal(client.state.set("/big", "x".repeat(300_000)))).toBe("frame_too_large");
    browser.server.drop();
    const created = client.state.createIfAbsent(DEFAULTS);
    await pass(1);
    expect((await created).unchanged).toBe(true);
    const next = await browser.tab().openConnected();
    expect((await next.state.createIfAbsent(DEFAULTS)).unchanged).toBe(true);
    await turns();
    for (const each of [client, next]) expect(each.state.get()).toEqual({ work: "of an hour" });
  });
});
