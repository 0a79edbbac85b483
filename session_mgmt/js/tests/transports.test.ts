/** What a client does alike on every transport. */

import { describe, expect, test } from "vitest";
import type { SessionClient, TransportName } from "../src/index";
import { Browser, pass, passUntil, record, type Tab, TRANSPORTS, turns, until, useFakeClock } from "./harness";

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
