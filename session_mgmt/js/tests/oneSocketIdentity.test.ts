/** Tabs that share one connection while their tokens are refreshed, and while another person logs in. */

import { describe, expect, test } from "vitest";
import type { StartOptions } from "../src/index";
import { pass, passUntil, record, turns, until, useFakeClock } from "./harness";
import { countSockets, LiveBrowser, type LiveTab } from "./liveTabs";

useFakeClock();

const MODES = ["bearer", "cookie"] as const;
// A token lives for a quarter of an hour.
const HALF_HOUR = 1800;
// A server that says nothing for a long time is no reason to connect again.
const PATIENT = { heartbeat: { interval: 25, missed_limit: 3, deadline: 100_000 } };

function begin(mode: (typeof MODES)[number], user: string | null): LiveBrowser {
  const browser = new LiveBrowser();
  Object.assign(browser.server.login, { tokenMode: mode, user });
  browser.server.settings = PATIENT;
  return browser;
}

async function open(browser: LiveBrowser, count: number, options: StartOptions = {}): Promise<LiveTab[]> {
  const tabs: LiveTab[] = [];
  for (let n = 0; n < count; n += 1) {
    const tab = browser.tab();
    await tab.openShared(options);
    tabs.push(tab);
    await turns();
  }
  return tabs;
}

/** Names of the channels over which tabs hand on what their leader hears. */
const circles = (tabs: LiveTab[]): Set<string> =>
  new Set(tabs.flatMap(({ heard }) => [...heard].filter((name) => name.endsWith(":leader"))));

describe.each(MODES)("tabs with one connection, proved by %s,", (mode) => {
  test("go on when the proof is renewed", async () => {
    const browser = begin(mode, "7");
    const tabs = await open(browser, 3);
    const statuses = tabs.map(({ client }) => record(client, "status"));
    await pass(HALF_HOUR);
    browser.server.publish("t", "early");
    const heard = tabs.map(({ client }) => {
      const seen: unknown[] = [];
      client.topics.subscribe("t", (data) => void seen.push(data));
      return seen;
    });
    await pass(HALF_HOUR);
    for (const { client } of tabs) await client.state.inc("/n");
    browser.server.publish("t", "late");
    await pass(10);
    expect([heard, tabs.map(({ client }) => client.state.get("/n"))]).toEqual([
      [["late"], ["late"], ["late"]],
      [3, 3, 3],
    ]);
    expect([countSockets(browser), circles(tabs).size, statuses]).toEqual([1, 1, [[], [], []]]);
  });

  test("go on together when a visitor has logged in", async () => {
    const browser = begin(mode, null);
    const tabs = await open(browser, 3);
    const [a, b, c] = tabs as [LiveTab, LiveTab, LiveTab];
    await b.client.state.set("/cart", ["tea"]);
    await turns();
    const before = circles(tabs);
    browser.server.login.user = "7";
    await c.client.login();
    await passUntil(() => tabs.every(({ client }) => client.info.userId === "7" && client.status === "connected"));
    await pass(20);
    const later = (await open(browser, 1))[0] as LiveTab;
    await a.client.state.set("/n", 1);
    await until(() => [...tabs, later].every(({ client }) => client.state.get("/n") === 1));
    const after = circles([...tabs, later]);
    expect([countSockets(browser), after.size, [...before].some((name) => after.has(name))]).toEqual([1, 1, false]);
    expect([...tabs, later].map(({ client }) => client.state.get("/cart"))).toEqual(Array(4).fill(["tea"]));
  });

  test("never apply what the leader of the next person hands on", async () => {
    const browser = begin(mode, "7");
    const [a, deaf] = (await open(browser, 2)) as [LiveTab, LiveTab];
    await a.client.state.set("/note", "of seven");
    await turns();
    const told: unknown[] = [];
    deaf.client.state.on("", (value) => void told.push(value));
    // It is frozen, and hears of no end.
    deaf.freeze();
    browser.channels.loses = () => true;
    await a.client.logout();
    browser.channels.loses = () => false;
    browser.server.login.user = "8";
    const [next, other] = (await open(browser, 2)) as [LiveTab, LiveTab];
    expect(circles([next, other]).size).toBe(1);
    for (const name of circles([next, other])) expect(circles([a, deaf])).not.toContain(name);
    await next.client.state.set("/note", "of eight");
    await turns();
    deaf.thaw();
    await pass(30);
    await turns();
    expect(JSON.stringify(told)).not.toContain("of eight");
    expect([deaf.client.state.get(), deaf.client.status]).toEqual([{}, "failed"]);
    expect([other.client.state.get("/note"), countSockets(browser)]).toEqual(["of eight", 1]);
  });
});
