import { describe, expect, test } from "vitest";
import { Stats } from "../src/stats";
import { Browser, pass, passUntil, turns, until, useFakeClock } from "./harness";

useFakeClock();

async function connected() {
  const browser = new Browser();
  const tab = browser.tab();
  const client = await tab.openConnected();
  const missed: number[] = [];
  client.on("heartbeat_missed", (report) => void missed.push(report.missed));
  const asked = () => browser.server.received.filter(({ type }) => type === "configure");
  return { browser, tab, client, missed, asked };
}

describe("beats as the application wants them", () => {
  test("are asked of the server, and what holds is told", async () => {
    const { client, asked } = await connected();
    const held = client.connection.setConnectionConfig({ interval: 2, missedLimit: 2, batch: 0.1 });
    await turns();
    expect(await held).toEqual({ interval: 2, missedLimit: 2, batch: 0.1, deadline: 5 });
    expect(asked()).toMatchObject([{ interval: 2, missed_limit: 2, batch: 0.1 }]);
  });

  test("are asked for again by each later connection", async () => {
    const { browser, client, asked } = await connected();
    void client.connection.setConnectionConfig({ interval: 2 });
    void client.connection.setConnectionConfig({ batch: 0.5 });
    await turns();
    browser.server.drop();
    await pass(2);
    expect(asked().at(-1)).toMatchObject({ interval: 2, batch: 0.5 });
    expect(asked()).toHaveLength(3);
  });

  test("outside the server's range are refused with the range, and not asked for again", async () => {
    const { browser, client, asked } = await connected();
    const refused = client.connection.setConnectionConfig({ interval: 0.5 });
    await turns();
    await expect(refused).rejects.toMatchObject({ name: "invalid_field", facts: { allowed: [2, 55] } });
    browser.server.drop();
    await pass(2);
    expect(asked()).toHaveLength(1);
  });

  test("without a connection wait for one", async () => {
    const { client, asked } = await connected();
    client.connection.disconnect();
    expect(await client.connection.setConnectionConfig({ interval: 3 })).toBeNull();
    void client.connection.connect();
    await pass(1);
    expect(asked()).toMatchObject([{ interval: 3 }]);
  });

  test("find a black-holed server within interval times missed limit and a second, told beat by beat", async () => {
    const { browser, client, missed } = await connected();
    void client.connection.setConnectionConfig({ interval: 2, missedLimit: 3 });
    await turns();
    browser.server.cut();
    for (const [seconds, told] of [[2.9, []], [0.2, [1]], [2, [1, 2]], [1.8, [1, 2]]] as const) {
      await pass(seconds);
      expect(missed).toEqual(told);
      expect(client.status).toBe("connected");
    }
    await pass(0.3);
    expect(client.status).toBe("reconnecting");
    expect(client.stats().missedBeats).toBe(2);
  });

  test("that come after all begin the count anew", async () => {
    const { browser, client, missed } = await connected();
    void client.connection.setConnectionConfig({ interval: 2, missedLimit: 5 });
    await turns();
    await pass(3.1);
    browser.server.broadcast({ type: "ping", ping: 1 });
    await pass(3.1);
    expect(missed).toEqual([1, 1]);
  });
});

describe("a hidden page", () => {
  function show(tab: Awaited<ReturnType<typeof connected>>["tab"], state: string) {
    tab.page.document.visibilityState = state;
    tab.page.document.dispatchEvent(new Event("visibilitychange"));
  }

  test("asks once a minute, however often it was told to", async () => {
    const { browser, tab, client } = await connected();
    const pings = () => browser.server.received.filter(({ type }) => type === "ping").length;
    show(tab, "hidden");
    client.connection.setupHeartbeat(5);
    await pass(5);
    const before = pings();
    browser.server.broadcast({ type: "ping", ping: 1 });
    await pass(30);
    browser.server.broadcast({ type: "ping", ping: 2 });
    await pass(29);
    expect(pings()).toBe(before);
    browser.server.broadcast({ type: "ping", ping: 3 });
    await pass(2);
    expect(pings()).toBe(before + 1);
  });

  test("is no reason to miss beats that came, and a dead server is found when it is shown", async () => {
    const { browser, tab, client, missed } = await connected();
    show(tab, "hidden");
    for (let beat = 1; beat < 20; beat += 1) {
      browser.server.broadcast({ type: "ping", ping: beat });
      await pass(25);
    }
    expect(missed).toEqual([]);
    expect(browser.server.sockets).toHaveLength(1);
    browser.server.cut();
    show(tab, "visible");
    await pass(3.1);
    expect(client.status).toBe("reconnecting");
  });
});

describe.each(["sse", "longpoll"] as const)("over %s", (transport) => {
  /** Open a client each of whose calls is answered after the next of these milliseconds, the last one again and again. */
  async function openSlowly(...delays: number[]) {
    const browser = new Browser();
    const tab = browser.tab();
    const fetch = async (url: string, init?: RequestInit): Promise<Response> => {
      const answer = await browser.server.fetch(url, init);
      if (url.includes("/connections/")) await new Promise((resolve) => setTimeout(resolve, delays.length > 1 ? delays.shift() : delays[0]));
      return answer;
    };
    const client = await tab.open({ transports: [transport], fetch });
    await passUntil(() => client.status === "connected");
    return { browser, tab, client };
  }

  test("round trips are those of calls that nobody holds back", async () => {
    const { tab, client } = await openSlowly(40, 60);
    const measured = (): number | null => client.stats().latency.last_ms;
    // Streams begin at once, what a long poll answers is held back.
    const first = transport === "sse" ? 60 : 40;
    expect([measured(), client.stats().latency.average_ms]).toEqual([first, transport === "sse" ? 50 : 40]);
    tab.page.window.dispatchEvent(new Event("online"));
    await passUntil(() => measured() === 60);
    expect(client.stats().latency.p95_ms).toBe(60);
  });

  test("a poll without an answer is a missed beat, and after two the client comes back", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected({ transports: [transport] });
    const missed: number[] = [];
    client.on("heartbeat_missed", (report) => void missed.push(report.missed));
    await client.state.set("/a", 1);
    await pass(1);
    browser.server.cut();
    await passUntil(() => client.status === "reconnecting");
    expect([missed, client.stats().missedBeats]).toEqual([[1, 2], 2]);
    browser.server.mend();
    browser.server.write([["set", "/b", 2]]);
    await passUntil(() => client.status === "connected");
    await until(() => client.state.get("/b") === 2);
    expect(client.stats().recoveries.full).toBe(1);
  });
});

test("round trips are summed up as the server and the Python client do", () => {
  const stats = new Stats();
  const summary = () => stats.buildSummary(0, null).latency;
  expect(summary()).toEqual({ last_ms: null, average_ms: null, p95_ms: null, jitter_ms: null });
  for (const milliseconds of [...Array<number>(18).fill(10), 50, 30]) stats.addLatency(milliseconds);
  expect(summary()).toEqual({ last_ms: 30, average_ms: 13, p95_ms: 30, jitter_ms: 60 / 19 });
});
