import { describe, expect, test } from "vitest";
import { Browser, pass, turns, useFakeClock } from "./harness";

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
