/** Pages of a list that stay true. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { SessionClient } from "../src/index";
import { pages, type Pages, type PagesChange } from "../src/pages";
import { compareKeys, type Column, type KeyValue } from "../src/pages/order";
import type { Entry, Page } from "../src/pages/segment";
import { Browser, pass, passUntil, refusal, turns, until, useFakeClock } from "./harness";
import { ListView, rowOf, TOPIC, type Row, type ViewOptions } from "./listView";

useFakeClock();

const URL_OF_VIEW = "http://shop.test/orders/";
const column = (field: string, kind: Column["kind"], fields: Partial<Column> = {}): Column => ({
  ...{ field, kind, descending: false, nulls: "last" },
  ...fields,
});

interface Shown {
  browser: Browser;
  client: SessionClient;
  view: ListView;
  orders: Pages<Row>;
  changes: PagesChange<Row>[];
}

function show(client: SessionClient, view: ListView, url = URL_OF_VIEW): Pick<Shown, "orders" | "changes"> {
  const orders = pages<Row>(client, url, { fetch: view.fetch });
  const changes: PagesChange<Row>[] = [];
  orders.on("change", (change) => void changes.push(change));
  return { orders, changes };
}

async function open(ids: number[], options: ViewOptions = {}): Promise<Shown> {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  const view = new ListView(browser.server, options);
  for (const id of ids) view.put({ id, made: null });
  const { orders, changes } = show(client, view);
  await until(() => !orders.isLoading);
  return { browser, client, view, orders, changes };
}

const idsOf = ({ rows }: Pages<Row>): unknown[] => rows.map(({ id }) => id);

describe("the order of keys", () => {
  const sorted = (values: KeyValue[], fields: Partial<Column> & Pick<Column, "kind">): KeyValue[] =>
    values.sort((a, b) => compareKeys([a], [b], [{ ...column("x", "text"), ...fields }]));

  test("is that of code points in text", () => {
    // U+FFFD stands before U+1F600, whose first unit of UTF-16 is smaller.
    expect(sorted(["\u{1F600}", "\uFFFD", "b", "", "a\u{1F600}", "a\uFFFD"], { kind: "text" })).toEqual(
      ["", "a\uFFFD", "a\u{1F600}", "b", "\uFFFD", "\u{1F600}"],
    );
  });

  test("is that of decimals, however they are written", () => {
    const values = ["10", "9.99", 3, "-0.5", "-12", "9007199254740993", 9007199254740991, "1E+3", "2e-7"];
    expect(sorted(values, { kind: "decimal" })).toEqual(
      ["-12", "-0.5", "2e-7", 3, "9.99", "10", "1E+3", 9007199254740991, "9007199254740993"],
    );
    expect(compareKeys(["1.50", 1], ["1.5", 1], [column("x", "decimal"), column("id", "number")])).toBe(0);
  });

  test.each([
    ["first", false, [null, false, true]],
    ["last", false, [false, true, null]],
    ["first", true, [null, true, false]],
    ["last", true, [true, false, null]],
  ] as const)("has nulls %s, descending: %s", (nulls, descending, expected) => {
    expect(sorted([true, null, false], { kind: "boolean", nulls, descending })).toEqual(expected);
  });
});

describe("the scripts that both SDKs replay", () => {
  type Step = { rows: Row[]; more: number; stale: boolean; entry?: Entry<Row>; offset?: number; page?: Page<Row> };
  type Script = { name: string; page: Page<Row>; steps: (Step & { request?: string; of?: "next" | "refresh" })[] };
  const { scripts } = JSON.parse(
    readFileSync(new URL("../../../tests/vectors/pages.json", import.meta.url), "utf8"),
  ) as { scripts: Script[] };

  test.each(scripts)("$name", async ({ page, steps }) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { server } = browser;
    const log = server.topic(TOPIC);
    const answers: ((page: Page<Row>) => void)[] = [];
    const asPage = (told: Page<Row>): Response => {
      const position = [log.epoch, told.live.position[1], log.positionAt(told.live.position[1])[2]];
      return Response.json({ ...told, live: { ...told.live, topic: TOPIC, position } });
    };
    const fetch = (): Promise<Response> =>
      new Promise((resolve) => void answers.push((told) => resolve(asPage(told))));
    const orders = pages<Row>(client, URL_OF_VIEW, { fetch });
    const settle = async (): Promise<void> => {
      await turns();
      await pass(0.3);
      await turns();
    };
    await settle();
    answers.shift()?.(page);
    await settle();
    let isStale = false;
    for (const { entry, page: answer, rows, more, stale, request } of steps) {
      if (entry !== undefined) server.publish(TOPIC, entry);
      if (request === "next") void orders.loadNext();
      // What is stale is asked for by itself.
      if (answer) answers.shift()?.(answer);
      await settle();
      expect([orders.rows, orders.more]).toEqual([rows, more]);
      if (stale && !isStale) expect(answers.length).toBeGreaterThan(0);
      isStale = stale;
    }
    orders.close();
  });
});

describe("a list that is shown", () => {
  test("has its first page without a connection, and proves the session", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const view = new ListView(browser.server);
    view.put({ id: 1 });
    const { orders, changes } = show(client, view);
    expect(orders.shown).toEqual({ rows: [], more: 0, hasNext: false, isLoading: true, error: null });
    await until(() => !orders.isLoading);
    expect([idsOf(orders), changes.length]).toEqual([[1], 1]);
    expect(view.headers[0]).toMatchObject(client.auth.headers());
    // What happened before the connection comes with it.
    view.put({ id: 2 });
    await client.connection.connect();
    await until(() => orders.rows.length === 2);
  });

  test("tells one change for each batch, in objects that never change", async () => {
    const { view, orders, changes, browser } = await open([1, 2, 3]);
    const [before, second] = [orders.rows, orders.rows[1]];
    const copy = structuredClone(before);
    changes.length = 0;
    browser.server.drop();
    view.put({ id: 2, made: null });
    view.put({ id: 1, made: "a" });
    view.del(3);
    view.put({ id: 9, made: null });
    await passUntil(() => changes.length > 0);
    await turns();
    expect(changes).toEqual([{ inserted: [{ id: 9, made: null }], changed: [{ id: 1, made: "a" }], removed: ["3"], moved: [] }]);
    expect(idsOf(orders)).toEqual([1, 2, 9]);
    expect([orders.rows[1] === second, before]).toEqual([true, copy]);
  });

  test("tells a row that moves by its key", async () => {
    const { view, orders, changes } = await open([1, 2, 3], { ordering: [column("made", "text")] });
    changes.length = 0;
    view.put({ id: 1, made: "z" });
    view.put({ id: 3, made: "a" });
    await until(() => idsOf(orders).join() === "3,1,2");
    expect(changes.flatMap(({ moved }) => moved)).toEqual(["1", "3"]);
  });

  test("reads on when it is under half, and the next page when it is asked", async () => {
    const { view, orders } = await open([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect([idsOf(orders), orders.hasNext]).toEqual([[1, 2, 3, 4], true]);
    for (const id of [1, 2, 3]) view.del(id);
    await until(() => orders.rows.length === 5);
    await Promise.all([orders.loadNext(), orders.loadNext()]);
    expect([idsOf(orders), orders.hasNext]).toEqual([[4, 5, 6, 7, 8, 9, 10], false]);
    await orders.loadNext();
    // The address of `next` is that of a proxy: the proof goes to the origin of the list alone.
    expect(view.requests.length).toBe(3);
  });

  test("takes a further page in where entries overtook its answer", async () => {
    const { view, orders } = await open([1, 2, 3, 4, 5, 6, 7, 8]);
    view.holds = true;
    const loaded = orders.loadNext();
    await turns();
    view.put({ id: 6, made: "changed" });
    view.del(7);
    view.put({ id: 2, made: "changed" });
    await until(() => orders.rows[1]?.made === "changed");
    view.release();
    await loaded;
    expect(orders.rows).toEqual(view.query());
  });

  test("does not miss what came before its subscription where the page follows the topic already", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const view = new ListView(browser.server);
    client.topics.subscribe(TOPIC, () => undefined);
    await turns();
    view.holds = true;
    const { orders } = show(client, view);
    await turns();
    view.put({ id: 1 });
    await turns();
    view.holds = false;
    view.release();
    await until(() => orders.rows.length === 1);
    expect(view.requests.length).toBe(2);
  });

  test("leaves entries of others alone", async () => {
    const { browser, client, view, orders } = await open([1]);
    browser.server.publish(TOPIC, "news");
    browser.server.publish(TOPIC, { op: "other" });
    await client.topics.publish(TOPIC, { op: "del", pk: "1" }, { ephemeral: true });
    view.put({ id: 2 });
    await until(() => orders.rows.length === 2);
    expect(idsOf(orders)).toEqual([1, 2]);
  });

  test("takes keys and rows of hostile names", async () => {
    const { view, orders } = await open([1], { ordering: [column("__proto__", "text")], filters: { constructor: "x" } });
    const row = JSON.parse('{"id": 2, "__proto__": "a", "constructor": "x"}');
    view.put(row);
    await until(() => orders.rows.length === 1);
    expect(JSON.stringify(orders.rows)).toBe(JSON.stringify([row]));
    expect(({} as Row).id).toBeUndefined();
  });
});

describe("a list that was lost", () => {
  test("is read again after a gap, as many rows as before, in one change", async () => {
    const { browser, view, orders, changes } = await open([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await orders.loadNext();
    changes.length = 0;
    const [third, lengths] = [orders.rows[2], new Set<number>()];
    orders.on("change", () => void lengths.add(orders.rows.length));
    browser.server.drop();
    view.put({ id: 1, made: "changed" });
    view.del(2);
    browser.server.topic(TOPIC).trim();
    await passUntil(() => changes.some(({ removed }) => removed.length > 0));
    await until(() => !orders.isLoading);
    const told = changes.filter((change) => Object.values(change).some(({ length }) => length > 0));
    expect(told).toEqual([
      { inserted: [{ id: 9, made: null }], changed: [{ id: 1, made: "changed" }], removed: ["2"], moved: [] },
    ]);
    expect([orders.rows, [...lengths], orders.rows[1] === third]).toEqual([view.query(null, view.until), [8], true]);
  });

  test.each([
    ["cursor_expired", 410],
    ["cursor_foreign", 403],
    ["cursor_invalid", 400],
  ])("is read again for %s, once", async (name, status) => {
    const { view, orders } = await open([1, 2, 3, 4, 5]);
    const refuse = (): void => void view.refusals.push(Response.json({ name, message: "" }, { status }));
    refuse();
    await orders.loadNext();
    expect([idsOf(orders), view.requests.length]).toEqual([[1, 2, 3, 4, 5], 4]);
    for (const _ of [1, 2]) refuse();
    expect(await refusal(orders.refresh())).toBe(name);
    expect([orders.error?.name, idsOf(orders)]).toEqual([name, [1, 2, 3, 4, 5]]);
    await orders.refresh();
    expect(orders.error).toBe(null);
  });

  test.each(["cursor_expired", "cursor_foreign", "cursor_invalid"])(
    "begins without the cursor that the application had kept, after %s",
    async (name) => {
      const { client, view } = await open([1, 2, 3]);
      const before = view.requests.length;
      view.refusals.push(Response.json({ name, message: "" }, { status: 400 }));
      const { orders } = show(client, view, `${URL_OF_VIEW}?status=open&cursor=old`);
      await until(() => !orders.isLoading);
      expect([orders.error, idsOf(orders)]).toEqual([null, [1, 2, 3]]);
      expect(view.requests.slice(before)).toEqual(["?status=open&cursor=old", "?status=open"]);
    },
  );

  test.each([400, 403, 404, 410, 500])("asks as the application did where an address of the server's gets %i", async (status) => {
    const { view, orders } = await open([1, 2, 3, 4, 5], { remembered: { filters: { made: null } } });
    view.put({ id: 6, made: "today" });
    await orders.loadNext();
    expect(idsOf(orders)).toEqual([1, 2, 3, 4, 5]);
    view.giveUp();
    view.refusals.push(Response.json({ detail: "No such filter." }, { status }));
    await orders.refresh();
    expect([orders.error, idsOf(orders)]).toEqual([null, [1, 2, 3, 4, 5, 6]]);
    view.put({ id: 7, made: "today" });
    await until(() => orders.rows.length === 7);
  });

  test.each([{ filters: { made: null } }, { ordering: [column("made", "text")] }])(
    "goes by what pages say of themselves, where another one says %o",
    async (other) => {
      const { view, orders } = await open([1, 2, 3, 4, 5], { remembered: other });
      view.put({ id: 0, made: "today" });
      view.giveUp();
      await orders.loadNext();
      await until(() => orders.rows.length === 6);
      expect([orders.error, idsOf(orders)]).toEqual([null, [0, 1, 2, 3, 4, 5]]);
    },
  );

  test.each(["other rows", "a refusal"])("is read again seldom while every second answer is another server's, with %s, and is right in the end", async (answer) => {
    const { view, client } = await open([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    const orderings = [view.ordering, [column("made", "text"), ...view.ordering]];
    let isDeploying = true;
    const fetch: typeof view.fetch = (url, init) => {
      const [old] = new URL(url).searchParams.getAll("after");
      view.ordering = orderings[isDeploying ? view.requests.length % 2 : 1] as Column[];
      const isRefused = answer === "a refusal" && old && old !== "null" && JSON.parse(old).length !== view.ordering.length;
      if (isRefused) view.refusals.push(Response.json({ name: "cursor_expired", message: "" }, { status: 410 }));
      return view.fetch(url, init);
    };
    view.requests.length = 0;
    const orders = pages<Row>(client, URL_OF_VIEW, { fetch });
    const loaded = orders.loadNext();
    await pass(300);
    const count = view.requests.length;
    await pass(300);
    // Half of the highest bound, 10 s, lies between two attempts, each of two requests.
    expect([count < 90, view.requests.length - count]).toEqual([true, 60]);
    expect(orders.rows.length).toBeLessThan(9);
    isDeploying = false;
    await passUntil(() => orders.rows.length === 8 && !orders.isLoading);
    await loaded;
    expect([orders.error, orders.rows]).toEqual([null, view.query(null, view.until)]);
  });

  test("tries again by itself without an answer, once there is a connection", async () => {
    const { browser, view, orders } = await open([1, 2, 3, 4, 5]);
    browser.server.drop();
    await turns();
    browser.server.cut();
    view.refusals = ["lost", Response.json({}, { status: 503 }), Response.json({ detail: "x" }, { status: 401 })];
    const loaded = orders.loadNext();
    await until(() => orders.error !== null);
    expect([orders.error?.name, orders.error?.temporary, orders.isLoading]).toEqual(["network_error", true, true]);
    const count = view.requests.length;
    await pass(60);
    expect(view.requests.length).toBe(count);
    browser.server.mend();
    await passUntil(() => orders.rows.length === 5);
    await loaded;
    expect([orders.error, view.refusals]).toEqual([null, []]);
  });

  test.each([
    [Response.json({ detail: "No." }, { status: 403 }), "forbidden"],
    [Response.json({ name: "permission_denied", code: 204, message: "" }, { status: 403 }), "permission_denied"],
    [Response.json({ results: [], next: null, live: null }), "not_live"],
  ])("stays with what it has for %o, until it is refreshed", async (response, name) => {
    const { view, orders } = await open([1, 2, 3, 4, 5]);
    // The page's own address is refused as the server's was.
    view.refusals.push(response.clone(), response);
    expect(await refusal(orders.loadNext())).toBe(name);
    expect([orders.error?.name, orders.isLoading, orders.rows.length]).toEqual([name, false, 4]);
    view.del(1);
    await orders.refresh();
    expect([orders.error, idsOf(orders)]).toEqual([null, [2, 3, 4, 5]]);
  });

  test("says that its topic is denied", async () => {
    const { browser, orders } = await open([1]);
    browser.server.deny(TOPIC);
    await until(() => orders.error !== null);
    expect([orders.error?.name, idsOf(orders)]).toEqual(["topic_denied", [1]]);
  });

  test("is empty after a logout", async () => {
    const { client, orders } = await open([1]);
    void client.logout();
    await passUntil(() => orders.rows.length === 0);
    expect(orders.error?.temporary).toBe(false);
  });

  test("hears nothing after close, and takes no answer", async () => {
    const { browser, view, orders, changes } = await open([1, 2, 3, 4, 5]);
    view.holds = true;
    const loaded = orders.loadNext();
    await turns();
    changes.length = 0;
    orders.close();
    view.release();
    view.put({ id: 1, made: "changed" });
    await turns();
    expect([changes, await refusal(loaded), await refusal(orders.refresh())]).toEqual([[], "closed", "closed"]);
    expect(browser.server.received.at(-1)).toMatchObject({ type: "unsubscribe", log: `topic:${TOPIC}` });
  });
});

describe("what clients cannot judge", () => {
  test("is counted, and shown by a refresh", async () => {
    const { view, orders } = await open([1], { hidden: ({ made }) => made !== "hidden" });
    view.put({ id: 2, made: "hidden" });
    view.put({ id: 3, made: null });
    await until(() => orders.more === 2);
    expect(idsOf(orders)).toEqual([1]);
    await Promise.all([orders.refresh(), pass(1)]);
    expect([idsOf(orders), orders.more]).toEqual([[1, 3], 0]);
    view.put({ id: 1, made: "hidden" });
    await passUntil(() => orders.rows.length === 1);
    expect(idsOf(orders)).toEqual([3]);
  });

  test("is read again, in its own range alone, where it may have moved", async () => {
    const { view, orders, changes } = await open([], { ordering: [column("made", "unknown")] });
    view.put({ id: 1, made: "b" });
    await passUntil(() => orders.rows.length === 1);
    view.put({ id: 2, made: "a" });
    await passUntil(() => orders.rows.length === 2);
    expect(idsOf(orders)).toEqual([2, 1]);
    const count = view.requests.length;
    changes.length = 0;
    view.put({ id: 1, made: "b", note: "new" });
    await until(() => changes.length > 0);
    expect([view.requests.length, changes[0]?.changed]).toEqual([count, [{ id: 1, made: "b", note: "new" }]]);
  });
});

const VIEWS: ViewOptions[] = [
  {},
  { ordering: [column("made", "text", { descending: true, nulls: "first" })] },
  { ordering: [column("price", "decimal"), column("made", "text", { descending: true })], filters: { paid: true } },
  { ordering: [column("paid", "boolean", { descending: true }), column("count", "number", { nulls: "first" })] },
  { ordering: [column("made", "unknown")], filters: { count: { in: [null, 0, 1] } } },
  { ordering: [column("count", "number", { descending: true })], hidden: ({ paid }) => paid === true },
];

type Act =
  | { act: "put"; row: Row }
  | { act: "overtaken"; rows: Row[] }
  | { act: "del"; id: number }
  | { act: "next" | "refresh" | "drop" | "gap" | "lost" | "expired" | "hold" | "release" | "rest" };

const ACT: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ act: fc.constant("put" as const), row: rowOf(14) }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant("del" as const), id: fc.integer({ min: 1, max: 14 }) }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant("overtaken" as const), rows: fc.array(rowOf(14)) }) },
  { weight: 5, arbitrary: fc.record({ act: fc.constantFrom("next", "refresh", "drop", "gap", "lost", "expired", "hold", "release", "rest") }) },
);

/** Demand that what is shown is right, and that `more` counts each row that lacks, and none that nobody could ask for. */
function expectMore(orders: Pages<Row>, view: ListView): void {
  const shown = new Set(idsOf(orders));
  const wanted = view.query(null, view.until);
  expect(orders.rows).toEqual(wanted.filter(({ id }) => shown.has(id)));
  const lacking = wanted.filter(({ id }) => !shown.has(id)).length;
  const asked = view.listInRange(null, view.until).filter(({ id }) => !shown.has(id ?? null)).length;
  expect([orders.more, lacking <= orders.more, orders.more <= asked]).toEqual([orders.more, true, true]);
}

test("whatever happens, the rows are those of the query, limited to what was read", async () => {
  const scene = fc.tuple(fc.constantFrom(...VIEWS), fc.array(rowOf(14), { minLength: 6, maxLength: 20 }), fc.array(ACT, { maxLength: 30 }));
  await fc.assert(
    fc.asyncProperty(scene, async ([options, first, acts]) => {
      const browser = new Browser();
      const client = await browser.tab().openConnected();
      const view = new ListView(browser.server, options);
      for (const row of first) view.put(row);
      const { orders, changes } = show(client, view);
      const known = new Map<unknown, Row>();
      const check = async (): Promise<void> => {
        view.holds = false;
        view.refusals = [];
        view.release();
        const settle = async (): Promise<void> => {
          for (let at = 0; at < 60 && (at < 2 || orders.isLoading || orders.error?.temporary || client.status !== "connected"); at += 1) await pass(1);
        };
        await settle();
        if (orders.error?.name === "cursor_expired") await Promise.all([orders.refresh(), pass(1)]);
        await pass(1);
        if (options.hidden) {
          expectMore(orders, view);
          await Promise.all([orders.refresh(), settle()]);
        }
        await pass(1);
        expect(orders.more).toBe(0);
        expect(orders.error).toBe(null);
        expect(orders.rows).toEqual(view.query(null, view.until));
        // Rows that came after the end are of a further page; one that was there may have gone.
        expect(view.until !== null || !orders.hasNext).toBe(true);
        for (const { inserted, changed, removed } of changes.splice(0)) {
          for (const row of [...inserted, ...changed]) known.set(String(row.id), row);
          for (const pk of removed) known.delete(pk);
        }
        expect(new Set(orders.rows)).toEqual(new Set(known.values()));
        expect(orders.rows.every((row) => known.get(String(row.id)) === row)).toBe(true);
      };
      for (const given of acts) {
        if (given.act === "put") view.put(given.row);
        else if (given.act === "del") view.del(given.id);
        else if (given.act === "overtaken") {
          view.holds = true;
          void orders.loadNext();
          await turns(2);
          for (const row of given.rows) view.put(row);
          view.holds = false;
          view.release();
        } else if (given.act === "next") void orders.loadNext();
        else if (given.act === "refresh") void orders.refresh();
        else if (given.act === "lost") view.refusals.push("lost");
        else if (given.act === "expired") view.refusals.push(Response.json({ name: "cursor_expired" }, { status: 410 }));
        else if (given.act === "hold") view.holds = true;
        else if (given.act === "release") view.release(1);
        else if (given.act === "rest") await check();
        else browser.server.drop();
        if (given.act === "gap") browser.server.topic(TOPIC).trim();
        await turns(3);
      }
      await check();
      orders.close();
      client.close();
    }),
    { seed: 190351979, numRuns: 60 },
  );
});
