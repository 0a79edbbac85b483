import { describe, expect, test, vi } from "vitest";
import type { Connection } from "../src/connection";
import type { EntriesFrame, Verdict } from "../src/frames";
import type { SessionClient } from "../src/index";
import { Logbook } from "../src/logbook";
import { Browser, pass, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

function follow(client: SessionClient, topic: string): unknown[] {
  const seen: unknown[] = [];
  client.topics.subscribe(topic, (data) => void seen.push(data));
  return seen;
}

describe("a publication over the limit", () => {
  const TOO_LARGE = "x".repeat(65_535);

  test.each([{}, { ephemeral: true }])("is refused at the call (%o), before a connection by the default", async (options) => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    expect(await refusal(client.topics.publish("chat", TOO_LARGE, options))).toBe("publication_too_large");
    expect(client.pending).toBe(0);
    expect(await refusal(client.topics.publish("chat", "é".repeat(32_768), options))).toBe("publication_too_large");
  });

  test("is judged by the limit that the server has told", async () => {
    const browser = new Browser();
    browser.server.settings = { limits: { publication_bytes: 10 } };
    const client = await browser.tab().openConnected();
    expect(await refusal(client.topics.publish("chat", "123456789"))).toBe("publication_too_large");
    expect(await refusal(client.topics.publish("chat", "123456789", { ephemeral: true }))).toBe("publication_too_large");
    await client.topics.publish("chat", "12345678");
    expect(browser.server.received.filter(({ type }) => type === "publish")).toEqual([
      { type: "publish", seq: 1, topic: "chat", data: "12345678" },
    ]);
    browser.server.settings = { limits: { publication_bytes: 100_000 } };
    browser.server.drop();
    await pass(1);
    await client.topics.publish("chat", TOO_LARGE);
  });

  test("does not concern what is sent to the server", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    expect(await client.send(TOO_LARGE)).toBe(TOO_LARGE);
  });
});

/** Return a connection whose questions wait for their answers, and which tells that it is given up. */
function fakeConnection(answers: ((verdict: Verdict) => void)[], told: string[]): Connection {
  const askServer: Connection["askServer"] = (_, answer) =>
    answers.push((verdict) => answer({ type: "reply", id: 1, verdict })) > 0;
  return { askServer, abandonLink: () => told.push("abandoned") } as Partial<Connection> as Connection;
}

describe("an answer that is older than what a poll or another tab has brought", () => {
  test.each([
    { mode: "up_to_date", position: ["e", 0, "t0"] },
    { mode: "gap", position: ["e", 1, "t1"], from: 1, to: 1, reason: "trimmed" },
  ] as Verdict[])("gives no entry twice ($mode)", async (verdict) => {
    const answers: ((verdict: Verdict) => void)[] = [];
    const [taken, told]: [unknown[], string[]] = [[], []];
    const logbook = new Logbook({
      ...{ clock: globalThis as never, random: Math.random },
      connection: fakeConnection(answers, told),
      fetchDocument: () => Promise.reject(new Error()),
      tellFailed: () => undefined,
      tellRange: (event, ..._range) => void told.push(event),
    });
    const takeVerdict = ({ mode }: Verdict) => told.push(mode);
    logbook.followLog("topic:t", { start: ["e", 0, "t0"], takeEntry: (body) => taken.push(body), takeVerdict });
    logbook.attach({});
    await turns();
    const news = { type: "entries", log: "topic:t", epoch: "e", entries: [[1, "t1", "one"]] } as EntriesFrame;
    logbook.takeEntries(news);
    answers[0]?.(verdict);
    logbook.takeEntries(news);
    expect([taken, told]).toEqual([["one"], [verdict.mode]]);
  });
});

test("what is under way when a topic is followed anew neither ends the connection nor comes twice", async () => {
  const answers: ((verdict: Verdict) => void)[] = [];
  const [taken, told]: [unknown[], string[]] = [[], []];
  const logbook = new Logbook({
    ...{ clock: globalThis as never, random: Math.random },
    connection: fakeConnection(answers, told),
    fetchDocument: () => Promise.reject(new Error()),
    tellFailed: () => undefined,
    tellRange: (event, ..._range) => void told.push(event),
  });
  logbook.followLog("topic:t", { start: null, takeEntry: (body) => taken.push(body) });
  logbook.attach({});
  await turns();
  const tell = (n: number): void =>
    logbook.takeEntries({ type: "entries", log: "topic:t", epoch: "e", entries: [[n, `t${n}`, n]] } as EntriesFrame);
  // Of the subscription before; and, over HTTP, what a poll has brought before the answer to this one.
  for (const n of [1, 2, 4]) tell(n);
  answers[0]?.({ mode: "up_to_date", position: ["e", 3, "t3"] });
  tell(5);
  expect([taken, told]).toEqual([[4, 5], []]);
});

describe("the past of a topic", () => {
  test("is told in pages, on any connection, without a subscription", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const positions = [1, 2, 3].map((n) => browser.server.publish("t", { n }));
    const newest = await client.topics.history("t", { limit: 2 });
    expect(newest).toEqual({
      entries: [2, 3].map((n) => ({ data: { n }, position: positions[n - 1], at: expect.any(String) })),
      more: true,
    });
    const oldest = await client.topics.history("t", { before: newest.entries[0]?.position });
    expect(oldest.entries.map(({ data }) => data)).toEqual([{ n: 1 }]);
    expect(oldest.more).toBe(false);
    const [first, ...others] = browser.server.received.filter(({ type }) => type !== "connect");
    expect(first).toEqual({ type: "history", id: expect.any(Number), log: "topic:t", before: null, limit: 2 });
    expect(others.map(({ type }) => type)).toEqual(["history"]);
  });

  test("is refused by the server's error, and not told without a connection", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.denied.add("t");
    expect(await refusal(client.topics.history("t"))).toBe("topic_denied");
    await client.connection.disconnect();
    expect(await refusal(client.topics.history("t"))).toBe("network_error");
  });
});

describe("a topic that is followed from an earlier place", () => {
  test("gives what was there before as not live, and goes on from its own place after that", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    for (let n = 1; n <= 5; n += 1) browser.server.publish("t", n);
    const seen: unknown[] = [];
    const { subscribed } = client.topics.subscribe("t", (data, { live }) => void seen.push([data, live]), {
      since: { last: 2 },
    });
    expect(await subscribed).toBe(true);
    browser.server.publish("t", 6);
    await until(() => seen.length === 3);
    browser.server.drop();
    await turns();
    browser.server.publish("t", 7);
    await pass(2);
    browser.server.publish("t", 8);
    await until(() => seen.length === 5);
    expect(seen).toEqual([
      [4, false],
      [5, false],
      [6, true],
      [7, false],
      [8, true],
    ]);
    const connect = browser.server.received.findLast(({ type }) => type === "connect");
    expect(connect?.logs["topic:t"]).toEqual(browser.server.topic("t").positionAt(6));
  });

  test("is asked for in the turn of start too, and tells by its promise what is gone", async () => {
    const browser = new Browser();
    for (let n = 1; n <= 3; n += 1) browser.server.publish("t", n);
    const client = await browser.tab().open({ autoConnect: false });
    const seen: unknown[] = [];
    const since = { position: browser.server.topic("t").positionAt(1) };
    client.topics.subscribe("t", (data) => void seen.push(data), { since });
    void client.connection.connect();
    await until(() => seen.length === 2);
    expect(seen).toEqual([2, 3]);
    const log = browser.server.topic("old");
    log.appendEntry(1);
    log.judgePosition = () => ({ mode: "up_to_date", position: log.position, complete: false });
    const time = new Date(0);
    expect(await client.topics.subscribe("old", () => undefined, { since: { time } }).subscribed).toBe(false);
    // Whoever comes later is told the same.
    expect(await client.topics.subscribe("old", () => undefined).subscribed).toBe(false);
    const asked = browser.server.received.findLast(({ type }) => type === "subscribe");
    expect(asked?.since).toEqual({ time: "1970-01-01T00:00:00.000Z" });
  });

  test("begins where the page was made, wherever this tab left it before", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    const known: unknown[] = [];
    await before.topics.subscribe("t", (data) => void known.push(data)).subscribed;
    browser.server.publish("t", 1);
    await until(() => known.length === 1);
    await tab.close(before);
    for (let n = 2; n <= 4; n += 1) browser.server.publish("t", n);
    const seen: unknown[] = [];
    const listen = (data: unknown): void => void seen.push(data);
    const since = { position: browser.server.topic("t").positionAt(3) };
    const client = await tab.openConnected();
    await client.topics.subscribe("t", listen, { since }).subscribed;
    browser.server.publish("t", 5);
    await until(() => seen.includes(5));
    expect(seen).toEqual([4, 5]);
  });

  test("counts live entries anew after a gap", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    for (let n = 1; n <= 3; n += 1) browser.server.publish("t", n);
    const seen: unknown[] = [];
    client.topics.subscribe("t", (data, { live }) => void seen.push([data, live]), { since: { last: 3 } });
    await until(() => seen.length === 3);
    const log = browser.server.topic("t");
    log.restart();
    browser.server.broadcast(log.gapFrame(1, 0));
    browser.server.publish("t", "anew");
    await until(() => seen.length === 4);
    expect(seen[3]).toEqual(["anew", true]);
  });
});

describe("a topic", () => {
  test("hands over publications with their places", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const places: unknown[] = [];
    client.topics.subscribe("orders:42", (data, place) => void places.push([data, place]));
    await turns();
    const [epoch, offset, tag] = browser.server.publish("orders:42", { status: "paid" });
    await turns();
    expect(places).toEqual([[{ status: "paid" }, { epoch, offset, tag, ephemeral: false, live: true }]]);
  });

  test("gives what was missed first, in order and once, also after a reload", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    const seen = follow(before, "orders:42");
    await turns();
    browser.server.publish("orders:42", 1);
    await until(() => seen.length === 1);
    await tab.close(before);
    browser.server.publish("orders:42", 2);
    browser.server.publish("orders:42", 3);
    const after = await tab.openConnected();
    // After the connection was there: the place in the topic is known all the same.
    const again = follow(after, "orders:42");
    await until(() => again.length === 2);
    browser.server.publish("orders:42", 4);
    await turns();
    expect([seen, again]).toEqual([[1], [2, 3, 4]]);
  });

  test("that is subscribed to in the turn of start is part of the recovery", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    follow(before, "orders:42");
    await turns();
    await tab.close(before);
    browser.server.publish("orders:42", 1);
    const after = await tab.open({ autoConnect: false });
    const receipts = record(after, "recovery");
    void after.connection.connect();
    const seen = follow(after, "orders:42");
    await until(() => receipts.length === 1);
    expect(seen).toEqual([1]);
    expect(receipts[0]?.[0]).toMatchObject({ replayed: { "topic:orders:42": [1, 1] } });
  });

  test("resumes from a place where nothing ever came", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = follow(client, "quiet");
    await turns();
    browser.server.drop();
    await turns();
    browser.server.publish("quiet", "first");
    await pass(2);
    expect(seen).toEqual(["first"]);
    const connect = browser.server.received.findLast(({ type }) => type === "connect");
    expect(connect?.logs["topic:quiet"]).toEqual([browser.server.topic("quiet").epoch, 0, ""]);
  });

  test("resumes ten times in a row", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = follow(client, "t");
    await turns();
    for (let n = 1; n <= 10; n += 1) {
      browser.server.drop();
      await turns();
      browser.server.publish("t", n);
      await pass(31);
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(client.stats().recoveries.full).toBe(10);
  });

  test("signals a gap before later entries", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const events: unknown[] = [];
    client.topics.subscribe("t", (data) => void events.push(data));
    client.topics.onGap((gap) => void events.push(gap));
    const gaps = record(client, "gap");
    await turns();
    browser.server.publish("t", 1);
    await turns();
    browser.server.drop();
    await turns();
    browser.server.publish("t", 2);
    browser.server.topic("t").trim();
    await pass(2);
    browser.server.publish("t", 3);
    await turns();
    const gap = { log: "topic:t", topic: "t", from: 2, to: 2, reason: "trimmed" };
    expect(events).toEqual([1, gap, 3]);
    expect(gaps).toEqual([[gap]]);
  });

  test("signals a gap on a live log", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = follow(client, "t");
    const gaps = record(client, "gap");
    await turns();
    const log = browser.server.topic("t");
    log.appendEntry("lost");
    browser.server.broadcast(log.gapFrame(1, 1));
    await turns();
    browser.server.publish("t", "next");
    await turns();
    expect(gaps).toHaveLength(1);
    expect(seen).toEqual(["next"]);
  });

  test("takes a frame of the newest by key for the range that it stands for", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const events: unknown[] = [];
    client.topics.subscribe("t", (data) => void events.push(data));
    client.on("conflated", (range) => void events.push(range));
    await turns();
    browser.server.publish("t", 1);
    await turns();
    const log = browser.server.topic("t");
    for (const data of [2, 3, 4, 5]) log.appendEntry(data);
    const frame = { type: "entries", log: "topic:t", epoch: log.epoch, conflated: true, position: log.position };
    // It may begin before what the client has seen; what comes twice is ignored.
    const newest = { ...frame, prev: 0, entries: [log.entries[0], log.entries[3]] };
    browser.server.broadcast(newest);
    browser.server.broadcast(newest);
    await turns();
    expect(events).toEqual([1, { log: "topic:t", topic: "t", from: 1, to: 5 }, 4]);
    // The place is at the end of the range, and not at the last entry.
    browser.server.publish("t", 6);
    await turns();
    expect(events.slice(3)).toEqual([6]);
    expect(browser.server.sockets[0]?.closedWith).toBeNull();
    // A range that begins later than the client is has a hole before it.
    browser.server.broadcast({ ...frame, prev: 7, entries: [], position: [log.epoch, 9, "x"] });
    await turns();
    expect(browser.server.sockets[0]?.closedWith).toBe(4104);
  });

  test("asks for its way to be slow when it subscribes, and again whenever it connects", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    client.topics.subscribe("t", () => undefined, { slow: "latest" });
    client.topics.subscribe("t", () => undefined, { slow: "drop_oldest" });
    client.topics.subscribe("other", () => undefined);
    await turns();
    const asked = browser.server.received.filter(({ type }) => type === "subscribe").map(({ log, slow }) => [log, slow]);
    expect(asked).toEqual([
      ["topic:t", "latest"],
      ["topic:other", undefined],
    ]);
    browser.server.drop();
    await pass(2);
    const connects = browser.server.received.filter(({ type }) => type === "connect");
    expect(connects.map(({ slow }) => slow)).toEqual([undefined, { "topic:t": "latest" }]);
  });

  test("asks for a part, gives its subscribers nothing else, and moves its place where nothing comes", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const filter = { region: { in: ["eu", "us"] }, open: true };
    const seen: unknown[] = [];
    client.topics.subscribe("t", (data) => seen.push(data.n), { filter });
    await turns();
    const log = browser.server.topic("t");
    // All of it comes where another tab leads.
    browser.server.publish("t", { n: 1, region: "eu", open: true });
    browser.server.publish("t", { n: 2, region: "asia", open: true });
    browser.server.publish("t", { n: 3, region: "us", open: 1 });
    browser.server.publish("t", "text");
    browser.server.broadcast({ type: "ephemeral", topic: "t", data: { n: 5, region: "us" } });
    browser.server.broadcast({ type: "ephemeral", topic: "t", data: { n: 6, region: "us", open: true } });
    const position = [log.epoch, 9, "x"];
    browser.server.broadcast({ type: "entries", log: "topic:t", epoch: log.epoch, entries: [], prev: 4, position });
    await turns();
    expect(seen).toEqual([1, 6]);
    browser.server.drop();
    await pass(2);
    const asked = browser.server.received.filter(({ type }) => type === "subscribe" || type === "connect");
    expect(asked.map((frame) => frame.filter)).toEqual([undefined, filter, { "topic:t": filter }]);
    expect(asked[2]?.logs["topic:t"]).toEqual(position);
  });

  test("asks anew, from its place, where another part is wanted in the same turn", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const filter = { region: "eu" };
    const stop = client.topics.subscribe("t", () => undefined, { filter });
    await turns();
    browser.server.publish("t", filter);
    await turns();
    stop();
    const again = client.topics.subscribe("t", () => undefined, { filter });
    await turns();
    again();
    client.topics.subscribe("t", () => undefined, { filter: { region: "us" } });
    await turns();
    const told = browser.server.received.filter(({ type }) => type === "subscribe" || type === "unsubscribe");
    expect(told.map(({ type, filter: part, position }) => [type, part?.region, position?.[1]])).toEqual([
      ["subscribe", "eu", undefined],
      ["unsubscribe", undefined, undefined],
      ["subscribe", "us", 1],
    ]);
  });

  test.each(["subscribe", "connect"])("that has no room now is asked for again, ever later, and told once, as %s says", async (how) => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const errors = record(client, "error");
    browser.server.crowded.add("t");
    if (how === "subscribe") await client.connection.connect();
    const heard: unknown[] = [];
    const { subscribed } = client.topics.subscribe("t", (data) => heard.push(data));
    let answer: unknown = "waits";
    void subscribed.then((isComplete) => (answer = isComplete));
    if (how === "connect") await client.connection.connect();
    const asks = (): number => browser.server.received.filter(({ type, log }) => type === "subscribe" && log === "topic:t").length;
    await turns();
    const begun = asks();
    // 5 s by the server's word and half as many again, then twice as long.
    await pass(7);
    expect(asks() - begun).toBe(0);
    await pass(1);
    expect(asks() - begun).toBe(1);
    await pass(14);
    expect(asks() - begun).toBe(1);
    expect([errors.map(([{ name, facts }]) => [name, facts.topic]), answer]).toEqual([[["busy", "t"]], "waits"]);
    browser.server.crowded.clear();
    await pass(2);
    browser.server.publish("t", 1);
    await turns();
    expect([asks() - begun, answer, heard]).toEqual([2, true, [1]]);
  });

  test("ignores entries that were seen, and comes back with 4104 after a jump", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = follow(client, "t");
    await turns();
    browser.server.publish("t", 1);
    await turns();
    const log = browser.server.topic("t");
    browser.server.broadcast({ type: "entries", log: "topic:t", epoch: log.epoch, entries: [...log.entries] });
    log.appendEntry(2);
    // The doorbell for 2 was lost; 3 comes as if nothing had happened.
    browser.server.publish("t", 3);
    await turns();
    expect(seen).toEqual([1]);
    expect(browser.server.sockets[0]?.closedWith).toBe(4104);
    await pass(2);
    expect(seen).toEqual([1, 2, 3]);
  });

  test("is left when the last listener goes, and the place is forgotten", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen: unknown[] = [];
    const first = client.topics.subscribe("t", (data) => void seen.push(data));
    const second = client.topics.subscribe("t", () => undefined);
    await turns();
    second();
    second();
    await turns();
    browser.server.publish("t", 1);
    await turns();
    first();
    await turns();
    browser.server.publish("t", 2);
    await turns();
    expect(seen).toEqual([1]);
    expect(browser.server.received.at(-1)).toMatchObject({ type: "unsubscribe", log: "topic:t" });
    const again = follow(client, "t");
    await turns();
    browser.server.publish("t", 3);
    await turns();
    expect(again).toEqual([3]);
  });

  test("loses and doubles nothing when a handler subscribes anew during a replay", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen: unknown[] = [];
    let stop = client.topics.subscribe("t", handler);
    function handler(data: unknown): void {
      seen.push(data);
      stop();
      stop = client.topics.subscribe("t", handler);
    }
    await turns();
    browser.server.drop();
    await turns();
    for (const n of [1, 2, 3]) browser.server.publish("t", n);
    await pass(2);
    browser.server.publish("t", 4);
    await turns();
    expect(seen).toEqual([1, 2, 3, 4]);
  });

  test("serves an entry once although the handler throws on it, also over a reload", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    before.topics.subscribe("t", () => {
      throw new Error("of the application");
    });
    await turns();
    browser.server.publish("t", 1);
    browser.server.publish("t", 2);
    await turns();
    await tab.close(before);
    const after = await tab.open({ autoConnect: false });
    const seen = follow(after, "t");
    await after.connection.connect();
    browser.server.publish("t", 3);
    await turns();
    expect(seen).toEqual([3]);
  });

  test("is not called by an ended connection", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen: unknown[] = [];
    client.topics.subscribe("t", (data) => {
      seen.push(data);
      if (data === 1) client.connection.disconnect();
    });
    await turns();
    browser.server.drop();
    await turns();
    for (const n of [1, 2, 3]) browser.server.publish("t", n);
    await pass(2);
    expect(seen).toEqual([1]);
    await client.connection.connect();
    await turns();
    expect(seen).toEqual([1, 2, 3]);
  });

  test("that may not be read is told as an error, live and on connect", async () => {
    const browser = new Browser();
    browser.server.denied.add("secret");
    const client = await browser.tab().openConnected();
    const errors = record(client, "error");
    client.topics.subscribe("secret", () => undefined);
    await turns();
    browser.server.drop();
    await pass(2);
    expect(errors.map(([error]) => [error.name, error.code, error.facts.topic])).toEqual([
      ["topic_denied", 250, "secret"],
      ["topic_denied", 250, "secret"],
    ]);
  });

  test("that is denied in the middle of a connection is told once, left, and resumed when it is wanted anew", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const errors = record(client, "error");
    const [seen, other] = [follow(client, "secret"), follow(client, "open")];
    await turns();
    browser.server.publish("secret", 1);
    browser.server.deny("secret");
    await turns();
    browser.server.publish("secret", 2);
    browser.server.publish("open", 1);
    browser.server.drop();
    await pass(2);
    expect(client.status).toBe("connected");
    expect(errors.map(([error]) => [error.name, error.code, error.facts.topic])).toEqual([["topic_denied", 250, "secret"]]);
    const asked = browser.server.received.filter(({ type }) => type === "connect" || type === "subscribe");
    expect(asked.at(-1)?.logs).not.toHaveProperty("topic:secret");
    browser.server.denied.clear();
    const again = follow(client, "secret");
    await turns();
    expect([seen, again, other]).toEqual([[1, 2], [2], [1]]);
  });

  test("that somebody was denied is asked for again when a visitor logs in", async () => {
    const browser = new Browser();
    browser.server.login.user = null;
    const client = await browser.tab().openConnected();
    const seen = follow(client, "members");
    await turns();
    browser.server.deny("members");
    await turns();
    browser.server.denied.clear();
    browser.server.login.user = "7";
    await client.login();
    await pass(5);
    browser.server.publish("members", "welcome");
    await turns();
    expect(seen).toEqual(["welcome"]);
  });

  test("passes ephemeral publications on without a place", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const places: unknown[] = [];
    client.topics.subscribe("chat", (data, { ephemeral, offset }) => void places.push([data, ephemeral, offset]));
    await turns();
    expect(await client.topics.publish("chat", { typing: true }, { ephemeral: true })).toBeNull();
    await turns();
    expect(places).toEqual([[{ typing: true }, true, null]]);
    client.connection.disconnect();
    expect(await client.topics.publish("chat", { typing: true }, { ephemeral: true })).toBeNull();
    expect(client.pending).toBe(0);
  });

  test("takes an idempotency key along", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.topics.publish("chat", 1, { key: "k" });
    expect(browser.server.received.at(-1)).toEqual({ type: "publish", seq: 1, topic: "chat", data: 1, key: "k" });
  });
});

describe("the session's own log", () => {
  test("brings messages and events to their listeners", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const messages: unknown[] = [];
    client.onMessage((data) => void messages.push(data));
    client.connection.onMessage((data) => void messages.push(data));
    const updated = record(client, "session_updated");
    const all: unknown[] = [];
    client.sessions.onSessionEvent((type) => void all.push(type));
    browser.server.message("hello");
    browser.server.event("session_updated", { metadata: 1 });
    browser.server.event("of_a_later_version", {});
    await turns();
    expect(messages).toEqual(["hello", "hello"]);
    const entry = { type: "session_updated", data: { metadata: 1 }, position: expect.any(Array) };
    expect(updated[0]?.[1]).toMatchObject(entry);
    expect(all).toEqual(["session_updated"]);
  });

  test("begins where the session began for the tab that created it", async () => {
    const browser = new Browser();
    const client = await browser.tab().open({ autoConnect: false });
    const messages = record(client, "message");
    browser.server.message("before the first connection");
    await client.connection.connect();
    await turns();
    expect(messages.map(([data]) => data)).toEqual(["before the first connection"]);
  });
});
