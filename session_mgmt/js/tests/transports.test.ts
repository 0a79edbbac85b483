/** What a client does alike on every transport. */

import { describe, expect, test } from "vitest";
import type { SessionClient, TransportName } from "../src/index";
import type { Json } from "../src/values";
import { Browser, pass, passUntil, type Tab, TRANSPORTS, turns, until, useFakeClock } from "./harness";

useFakeClock();

async function connected(transport: TransportName): Promise<{ browser: Browser; tab: Tab; client: SessionClient }> {
  const browser = new Browser();
  const tab = browser.tab();
  return { browser, tab, client: await tab.openConnected({ transports: [transport] }) };
}

describe.each(TRANSPORTS)("over %s", (transport) => {
  test("writes happen once, and everybody sees them", async () => {
    const { browser, client } = await connected(transport);
    const other = await browser.tab().openConnected({ transports: [transport] });
    const heard: unknown[] = [];
    other.topics.subscribe("t", (data) => void heard.push(data));
    await turns();
    await Promise.all([client.state.inc("/n"), client.state.inc("/n"), client.topics.publish("t", "hello")]);
    expect(await client.send({ do: "it" })).toEqual({ do: "it" });
    await until(() => other.state.get("/n") === 2 && heard.length === 1);
    expect(browser.server.session.document("main").value).toEqual({ n: 2 });
    expect(client.stats().transport).toBe(transport);
  });
});

describe.each(["sse", "longpoll"] as const)("over %s", (transport) => {
  test.each([
    ["answer", "lost"],
    ["call", "missed"],
  ] as const)("a write whose %s is lost happens once", async (_, what) => {
    const { browser, client } = await connected(transport);
    browser.server.http[what].frames = 1;
    const written = client.state.inc("/n");
    await pass(2);
    await written;
    expect(browser.server.session.document("main").value).toEqual({ n: 1 });
    expect(client.stats().connections).toBe(1);
  });

  test("a call of another generation uses up no number, and the client attaches again", async () => {
    const { browser, client } = await connected(transport);
    browser.server.http.refusals.frames = [{ status: 409, name: "heartbeat_lost", close: 4002 }];
    const written = client.state.inc("/n");
    await passUntil(() => client.stats().connections === 2);
    await written;
    expect(browser.server.session.document("main").value).toEqual({ n: 1 });
  });

  test("each poll says how to go on where the client is slow, and which part it wants, also after it attached anew", async () => {
    const { browser, client } = await connected(transport);
    const logs = (): Json[] =>
      browser.server.http.calls.filter(([name]) => name === "poll").map(([, body]) => body.logs["topic:t"]);
    const ways = (): unknown[] => logs().map((log) => log?.slow);
    client.topics.subscribe("t", () => undefined, { slow: "latest", filter: { region: "eu" } });
    await passUntil(() => ways().at(-1) === "latest");
    expect(logs().at(-1)?.filter).toEqual({ region: "eu" });
    browser.server.http.refusals.frames = [{ status: 409, name: "heartbeat_lost", close: 4002 }];
    const polls = ways().length;
    const published = client.topics.publish("t", 1);
    await passUntil(() => client.stats().connections === 2 && ways().length > polls);
    await published;
    expect(logs().at(-1)).toMatchObject({ slow: "latest", filter: { region: "eu" } });
  });

  test("a client that is closed tells the server", async () => {
    const { browser, client } = await connected(transport);
    client.close();
    await turns();
    expect(browser.server.http.calls.map(([name]) => name).at(-1)).toBe("leave");
    expect(browser.server.connected).toBe(0);
  });
});

test("a server that refuses streams is polled", async () => {
  const browser = new Browser();
  browser.server.http.refusesStreams = true;
  const client = await browser.tab().openConnected({ transports: ["sse"] });
  await passUntil(() => client.stats().transport === "longpoll");
  browser.server.write([["set", "/a", "ü"]]);
  await until(() => client.state.get("/a") === "ü");
});
