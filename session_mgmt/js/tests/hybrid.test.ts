/** A WebSocket where one gets through, HTTP where none does, and what is remembered of the network. */

import { describe, expect, test } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import "../src/requests/index";
import { Browser, pass, passUntil, record, refusal, turns, useFakeClock } from "./harness";

useFakeClock();

const ALL = { transports: undefined } as unknown as StartOptions;
const MINUTE = 60;

async function open(browser: Browser, tab = browser.tab()): Promise<SessionClient> {
  const client = await tab.open(ALL);
  await turns();
  return client;
}

/** Seconds of the fake clock until a client is connected. */
async function timeToConnect(client: SessionClient): Promise<number> {
  const begun = Date.now();
  for (let at = 0; at < 400 && client.status !== "connected"; at += 1) await pass(0.05);
  return (Date.now() - begun) / 1000;
}

const carrier = (client: SessionClient) => client.stats().transport;
const attaches = (browser: Browser) => browser.server.http.calls.filter(([name]) => name === "connections").length;
const connects = (browser: Browser) => browser.server.received.filter(({ type }) => type === "connect").length;

async function blocked(sockets: "refused" | "silent" | "swallowed") {
  const browser = new Browser();
  browser.server.network.sockets = sockets;
  const tab = browser.tab();
  const client = await open(browser, tab);
  await timeToConnect(client);
  return { browser, tab, client };
}

describe("a network", () => {
  test("that lets sockets through has no call of HTTP", async () => {
    const browser = new Browser();
    const client = await open(browser);
    await pass(60);
    expect([carrier(client), browser.server.http.calls]).toEqual(["websocket", []]);
  });

  test.each([
    ["refused", 0.3],
    ["silent", 1],
    ["swallowed", 1.7],
  ] as const)("whose sockets are %s is connected over HTTP within %d s", async (sockets, within) => {
    const browser = new Browser();
    browser.server.network.sockets = sockets;
    const client = await open(browser);
    expect(await timeToConnect(client)).toBeLessThan(within);
    expect([carrier(client), attaches(browser)]).toEqual(["sse", 1]);
    await client.state.set("/a", 1);
    expect(browser.server.session.document("main").value).toEqual({ a: 1 });
  });

  test("whose sockets are slow attaches once, over HTTP, and then changes to the socket", async () => {
    const browser = new Browser();
    browser.server.network.openAfter = 1200;
    const client = await open(browser);
    await pass(1);
    expect([client.status, carrier(client), connects(browser)]).toEqual(["connected", "sse", 1]);
    await pass(1);
    expect([client.status, carrier(client), connects(browser)]).toEqual(["connected", "websocket", 2]);
    expect(browser.server.connected).toBe(1);
  });

  test("that lets sockets through later is found by a probe, and nobody sees the change", async () => {
    const { browser, client } = await blocked("refused");
    const statuses = record(client, "status");
    const transports = record(client, "transport");
    browser.server.network.sockets = "open";
    await pass(7);
    expect([carrier(client), statuses, transports]).toEqual(["websocket", [], [["websocket"]]]);
    await client.state.set("/a", 1);
    expect(client.stats().connections).toBe(2);
  });

  test("that holds a call back keeps nobody from the change, and what was in the call counts once", async () => {
    const browser = new Browser();
    browser.server.network.sockets = "refused";
    let isHeld = false;
    const fetch = async (url: string, init?: RequestInit): Promise<Response> => {
      if (isHeld && url.endsWith("/frames/")) await new Promise((_, reject) => init?.signal?.addEventListener("abort", reject));
      return browser.server.fetch(url, init);
    };
    const client = await browser.tab().open({ ...ALL, fetch } as StartOptions);
    await timeToConnect(client);
    isHeld = true;
    void client.state.inc("/visits");
    browser.server.network.sockets = "open";
    await passUntil(() => carrier(client) === "websocket" && client.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
  });

  test("that changes loses no question, whether it was asked before the change or in it", async () => {
    const browser = new Browser();
    browser.server.network.sockets = "refused";
    let isHeld = false;
    const fetch = async (url: string, init?: RequestInit): Promise<Response> => {
      if (isHeld && url.endsWith("/frames/")) await new Promise((_, reject) => init?.signal?.addEventListener("abort", reject));
      return browser.server.fetch(url, init);
    };
    browser.server.publish("t", { n: 1 });
    browser.server.values.set("t", "value");
    const client = await browser.tab().open({ ...ALL, fetch } as StartOptions);
    await timeToConnect(client);
    const told: unknown[] = [];
    const ask = (): void => {
      const tell = (what: string) => (answer: unknown) => void told.push([what, answer]);
      void client.topics.history("t").then(({ entries }) => tell("history")(entries.length), tell("history"));
      void client.topics.presence("hall").then(({ count }) => tell("presence")(count), tell("presence"));
      const subscription = client.topics.subscribe("t", () => {}, { snapshot: tell("value") });
      void subscription.subscribed.catch(tell("value"));
    };
    isHeld = true;
    ask();
    const statuses = record(client, "status");
    client.on("transport", ask);
    browser.server.network.sockets = "open";
    await passUntil(() => carrier(client) === "websocket");
    await pass(1);
    const all = [["history", 1], ["presence", 0], ["value", "value"]];
    expect([told.sort(), statuses]).toEqual([[...all, ...all].sort(), []]);
  });

  test("whose sockets open and die again and again counts as blocked", async () => {
    const browser = new Browser();
    const client = await open(browser);
    for (let n = 0; n < 3; n += 1) {
      await passUntil(() => client.status === "connected");
      expect(carrier(client)).toBe("websocket");
      browser.server.drop();
      await turns();
    }
    await passUntil(() => client.status === "connected");
    expect(carrier(client)).toBe("sse");
  });

  test("that is gone altogether proves nothing about sockets", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await open(browser, tab);
    browser.server.network.sockets = "refused";
    browser.server.cut();
    await pass(90);
    expect(client.status).toBe("reconnecting");
    browser.server.mend();
    browser.server.network.sockets = "open";
    await passUntil(() => client.status === "connected");
    expect([carrier(client), attaches(browser)]).toEqual(["websocket", 0]);
  });

  test.each([200, 403, 404])("behind a portal that answers %d is temporary: nothing is cleared", async (status) => {
    const browser = new Browser();
    browser.server.network.sockets = "refused";
    const client = await browser.tab().open({ ...ALL, autoConnect: false });
    browser.server.portal = status;
    const statuses = record(client, "status");
    void client.connection.connect();
    await pass(5);
    const { id } = client;
    expect(statuses).toEqual([["connecting", null], ["connecting", { code: 1006, name: "not_our_server" }]]);
    // A page that begins there has the session too, and nothing to report but its status.
    const told: string[] = [];
    const later = await browser.tab().open({ ...ALL, autoConnect: false, onError: ({ name }) => void told.push(name) });
    const laterStatuses = record(later, "status");
    void later.connection.connect();
    await pass(5);
    expect([later.status, laterStatuses.at(-1)?.[1], told]).toEqual(["connecting", { code: 0, name: "not_our_server" }, []]);
    browser.server.portal = 0;
    await pass(20);
    expect([client, later].map((each) => [each.status, each.id])).toEqual([["connected", id], ["connected", id]]);
  });

  test.each([200, 403])("that somebody else answers with %d is told to a start with nothing to lose", async (status) => {
    const browser = new Browser();
    browser.server.portal = status;
    await expect(browser.tab().start(ALL)).rejects.toMatchObject({
      name: "not_our_server",
      temporary: true,
      message: expect.stringMatching(`^A portal or another site answers at http://shop.test/api/.* \\(${status}\\): mend`),
    });
  });

  test("that becomes a portal's tells it, though both ends have one code", async () => {
    const browser = new Browser();
    browser.server.network.sockets = "refused";
    const client = await open(browser);
    await passUntil(() => client.status === "connected");
    const statuses = record(client, "status");
    browser.server.offline = true;
    browser.server.drop();
    await pass(5);
    browser.server.offline = false;
    browser.server.portal = 200;
    await pass(30);
    const names = statuses.map((told) => (told[1] as { name: string } | null)?.name);
    expect([names[0], names.at(-1)]).toEqual(["network_error", "not_our_server"]);
  });
});

describe("what the server says is not the transport's fault", () => {
  test.each([4000, 4013, 4029])("close code %d brings the socket back", async (code) => {
    const browser = new Browser();
    const client = await open(browser);
    for (let n = 0; n < 4; n += 1) {
      browser.server.bye(code, 1);
      await passUntil(() => client.status === "connected");
    }
    expect([carrier(client), attaches(browser)]).toEqual(["websocket", 0]);
  });

  test("1012 brings the socket back", async () => {
    const browser = new Browser();
    const client = await open(browser);
    for (let n = 0; n < 4; n += 1) {
      browser.server.drop(1012);
      await passUntil(() => client.status === "connected");
    }
    expect([carrier(client), attaches(browser)]).toEqual(["websocket", 0]);
  });

  test("a refusal over HTTP ends as it does over a socket", async () => {
    const { browser, client } = await blocked("refused");
    browser.server.terminate("requested");
    await passUntil(() => client.status === "failed");
    expect(await refusal(client.state.set("/a", 1))).toBe("session_terminated");
  });

  test("sockets that are refused twice while a server starts again are tried again, and HTTP is not", async () => {
    const browser = new Browser();
    const client = await open(browser);
    const transports = record(client, "transport");
    browser.server.network.sockets = "refused";
    browser.server.drop();
    await turns();
    await pass(1);
    browser.server.network.sockets = "open";
    await passUntil(() => client.status === "connected");
    expect([carrier(client), attaches(browser), transports]).toEqual(["websocket", 0, []]);
  });

  test("a page whose sockets got through looks for one as soon as HTTP carries it", async () => {
    const browser = new Browser();
    const client = await open(browser);
    const transports = record(client, "transport");
    const at: number[] = [];
    client.on("transport", () => {
      browser.server.network.sockets = "open";
      at.push(Date.now());
    });
    browser.server.network.sockets = "refused";
    browser.server.drop();
    await passUntil(() => transports.length === 2);
    expect([client.status, transports]).toEqual(["connected", [["sse"], ["websocket"]]]);
    expect((at[1] as number) - (at[0] as number)).toBeLessThan(1000);
  });

  test("sockets that are refused from now on are given up after some tries", async () => {
    const browser = new Browser();
    const client = await open(browser);
    browser.server.network.sockets = "refused";
    browser.server.drop();
    await passUntil(() => client.status === "connected" && carrier(client) === "sse");
    expect(attaches(browser)).toBe(1);
  });

  test("a restart leaves nobody on HTTP", async () => {
    const browser = new Browser();
    const clients = await Promise.all(Array.from({ length: 10 }, () => open(browser)));
    browser.server.network.sockets = "refused";
    browser.server.drop();
    await pass(3);
    browser.server.network.sockets = "open";
    await pass(60);
    expect(clients.map((client) => [client.status, carrier(client)])).toEqual(clients.map(() => ["connected", "websocket"]));
  });
});

describe("a later page", () => {
  test("begins over HTTP after two pages without a socket, and with one when the time is over", async () => {
    const { browser, tab, client } = await blocked("refused");
    await tab.close(client);
    const second = await open(browser, tab);
    await timeToConnect(second);
    await tab.close(second);
    const sockets = browser.server.sockets.length;
    const third = await open(browser, tab);
    await timeToConnect(third);
    expect([carrier(third), browser.server.sockets.length]).toEqual(["sse", sockets]);
    await tab.close(third);
    await pass(11 * MINUTE);
    browser.server.network.sockets = "open";
    const last = await open(browser, tab);
    await passUntil(() => last.status === "connected");
    expect([carrier(last), attaches(browser)]).toEqual(["websocket", 3]);
  });

  test("forgets it when a socket was of use", async () => {
    const { browser, tab, client } = await blocked("refused");
    browser.server.network.sockets = "open";
    await pass(20);
    expect(carrier(client)).toBe("websocket");
    expect(browser.local.getItem("session-mgmt:http://shop.test/api/:transport")).toBe(null);
    await tab.close(client);
  });

  test("tries no stream where one was held back", async () => {
    const browser = new Browser();
    browser.server.network.sockets = "refused";
    browser.server.http.isBuffered = true;
    const tab = browser.tab();
    const client = await open(browser, tab);
    await timeToConnect(client);
    await pass(4);
    expect([client.status, carrier(client)]).toEqual(["connected", "longpoll"]);
    await tab.close(client);
    const next = await open(browser, tab);
    await timeToConnect(next);
    expect(carrier(next)).toBe("longpoll");
  });
});

test("an attach that was given up and comes late does not end the client", async () => {
  const { browser, client } = await blocked("swallowed");
  expect(carrier(client)).toBe("sse");
  const { clientId } = client;
  // The socket's attach arrives after all, and takes over.
  browser.server.overtake();
  await passUntil(() => attaches(browser) === 2);
  await turns();
  expect([client.status, client.clientId]).toEqual(["connected", clientId]);
  await client.state.set("/a", 1);
});
