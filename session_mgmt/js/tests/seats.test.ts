/** Polls that are held: a browser has two of them at a time to a server of HTTP/1.1, and those who are looked at go first. */

import { describe, expect, test } from "vitest";
import type { StartOptions } from "../src/index";
import { pass, turns, useFakeClock } from "./harness";
import { LiveBrowser, type LiveTab } from "./liveTabs";

useFakeClock();

const TABS = 8;

interface Call {
  hold: number;
  accept: string | null;
}

type Given = StartOptions & { protocol?: string };

/** Tabs that are connected over HTTP, and the polls of each that have no answer yet. */
async function openAll(transport: "sse" | "longpoll", { protocol = "http/1.1", ...options }: Given = {}) {
  const browser = new LiveBrowser();
  const under = new Map<LiveTab, Set<Call>>();
  const asked = new Map<LiveTab, number[]>();
  const heard = new Map<LiveTab, unknown[]>();
  const tabs: LiveTab[] = [];
  for (let n = 0; n < TABS; n += 1) {
    const tab = browser.tab();
    const calls = new Set<Call>();
    under.set(tab, calls);
    asked.set(tab, []);
    const entries = [{ name: "http://shop.test/", nextHopProtocol: protocol }];
    Object.assign(tab.page.window, { performance: { getEntriesByType: () => entries } });
    await tab.openShared({
      oneSocket: false,
      transports: [transport],
      fetch: async (url, init) => {
        const isPoll = url.endsWith("/poll/");
        const body = isPoll ? (JSON.parse(String(init?.body)) as { hold: number }) : null;
        const call = { hold: body?.hold ?? 0, accept: new Headers(init?.headers).get("Accept") };
        if (body) asked.get(tab)?.push(Date.now());
        const isHeld = body !== null && (body.hold > 0 || call.accept === "text/event-stream");
        if (isHeld) calls.add(call);
        init?.signal?.addEventListener("abort", () => calls.delete(call));
        const answer = await browser.server.fetch(url, init);
        if (!answer.body || transport === "longpoll") calls.delete(call);
        return answer;
      },
      ...options,
    });
    const seen: unknown[] = [];
    heard.set(tab, seen);
    tab.client.topics.subscribe("t", (data) => void seen.push(data));
    tabs.push(tab);
    await turns(10);
  }
  const holding = (): LiveTab[] => tabs.filter((tab) => (under.get(tab)?.size ?? 0) > 0);
  const polls = (tab: LiveTab): number[] => asked.get(tab) as number[];
  return { browser, tabs, heard, holding, polls };
}

describe.each(["sse", "longpoll"] as const)("eight tabs over HTTP/1.1 by %s", (transport) => {
  test("hold two polls, and all hear everything at once", async () => {
    const { browser, tabs, heard, holding } = await openAll(transport);
    await pass(33);
    expect(holding()).toHaveLength(2);
    browser.server.publish("t", "news");
    await pass(1);
    expect(tabs.map((tab) => heard.get(tab))).toEqual(tabs.map(() => ["news"]));
    expect([holding().length, tabs.every(({ client }) => client.status === "connected")]).toEqual([2, true]);
  });

  test("give the seat of one that is closed or crashes to the next at once", async () => {
    const { tabs, holding } = await openAll(transport);
    await pass(30);
    const [first, second] = holding() as [LiveTab, LiveTab];
    first.client.close();
    second.crash();
    await pass(0.1);
    const now = holding().filter((tab) => tab !== second);
    expect([now.length, now.includes(first), tabs.includes(now[0] as LiveTab)]).toEqual([2, false, true]);
  });

  test("give it to one that is looked at", async () => {
    const { browser, tabs, heard, holding } = await openAll(transport);
    await pass(30);
    const seen = tabs.find((tab) => !holding().includes(tab)) as LiveTab;
    for (const tab of tabs) if (tab !== seen) tab.show("hidden");
    await pass(2);
    expect(holding()).toContain(seen);
    browser.server.publish("t", "now");
    await turns();
    expect(heard.get(seen)).toEqual(["now"]);
    const next = tabs.find((tab) => !holding().includes(tab)) as LiveTab;
    seen.show("hidden");
    next.show("visible");
    await pass(0.1);
    expect([holding().includes(next), holding().length <= 2]).toEqual([true, true]);
  });
});

describe("a seat", () => {
  test("is left by a tab that is frozen", async () => {
    const { tabs, holding } = await openAll("longpoll");
    for (const tab of tabs) tab.show("hidden");
    await pass(90);
    const frozen = holding();
    expect(frozen).toHaveLength(2);
    for (const tab of frozen) {
      tab.page.document.dispatchEvent(new Event("freeze"));
      tab.freeze();
    }
    const seen = tabs.find((tab) => !frozen.includes(tab)) as LiveTab;
    seen.show("visible");
    await pass(0.1);
    expect(holding()).toContain(seen);
  });

  test("of a tab whose lock is taken away is held no more", async () => {
    const { browser, holding } = await openAll("longpoll");
    await pass(30);
    const names = [0, 1].map((at) => `session-mgmt:http://shop.test:held:${at}`);
    for (const name of names) void browser.locks.request(name, { steal: true }, () => new Promise(() => undefined));
    await pass(0.1);
    expect(holding()).toEqual([]);
  });

  test("is free without Web Locks for tabs that are looked at, and for no others", async () => {
    const { browser, tabs, heard, holding } = await openAll("longpoll", { locks: null });
    const seen = tabs.slice(0, 3);
    for (const tab of tabs) if (!seen.includes(tab)) tab.show("hidden");
    await pass(30);
    expect(holding()).toEqual(seen);
    browser.server.publish("t", "news");
    await pass(5);
    expect(tabs.map((tab) => heard.get(tab))).toEqual(tabs.map(() => ["news"]));
  });
});

describe("a tab without a seat", () => {
  test("is rung at most once a second, and once in five while nobody looks", async () => {
    const { browser, tabs, heard, holding, polls } = await openAll("longpoll");
    await pass(30);
    const [one, other] = tabs.filter((tab) => !holding().includes(tab)) as [LiveTab, LiveTab];
    other.show("hidden");
    await pass(5);
    const before = [polls(one).length, polls(other).length] as const;
    const told = Array.from({ length: 100 }, (_, n) => n);
    for (const n of told) {
      browser.server.publish("t", n);
      await pass(0.1);
    }
    await pass(6);
    expect(tabs.map((tab) => heard.get(tab))).toEqual(tabs.map(() => told));
    expect(polls(one).length - before[0]).toBeLessThanOrEqual(12);
    expect(polls(other).length - before[1]).toBeLessThanOrEqual(4);
  });

  test("is not rung for what it does not follow, and hears within ten seconds where no tab can ring", async () => {
    const { browser, tabs, heard, holding, polls } = await openAll("longpoll");
    await pass(30);
    const [holder] = holding() as [LiveTab];
    const [other] = tabs.filter((tab) => !holding().includes(tab)) as [LiveTab];
    await holder.client.topics.subscribe("u", () => undefined).subscribed;
    const before = polls(other).length;
    for (let n = 0; n < 9; n += 1) {
      browser.server.publish("u", n);
      await pass(1);
    }
    expect(polls(other).length - before).toBeLessThanOrEqual(1);
    browser.channels.loses = () => true;
    browser.server.publish("t", "news");
    await pass(10.1);
    expect(heard.get(other)).toEqual(["news"]);
  });

  test("polls every ten seconds, or every minute while nobody looks", async () => {
    const { tabs, holding, polls } = await openAll("longpoll");
    await pass(30);
    const [one, other] = tabs.filter((tab) => !holding().includes(tab)) as [LiveTab, LiveTab];
    other.show("hidden");
    const before = [polls(one).length, polls(other).length];
    await pass(120);
    expect([polls(one).length - (before[0] as number), polls(other).length - (before[1] as number)]).toEqual([12, 2]);
  });

  test("polls at once for what it begins to follow, and when it is shown", async () => {
    const { browser, tabs, holding, polls } = await openAll("longpoll");
    await pass(33);
    const [one, other] = tabs.filter((tab) => !holding().includes(tab)) as [LiveTab, LiveTab];
    const before = [polls(one).length, polls(other).length];
    const seen: unknown[] = [];
    await one.client.topics.subscribe("u", (data) => void seen.push(data)).subscribed;
    other.show("hidden");
    other.show("visible");
    await pass(0.1);
    expect([polls(one).length - (before[0] as number), polls(other).length - (before[1] as number)]).toEqual([1, 1]);
    browser.server.publish("u", "news");
    await pass(10.1);
    expect(seen).toEqual(["news"]);
  });

  test("is none where calls share a connection", async () => {
    const { holding } = await openAll("longpoll", { protocol: "h2" });
    await pass(30);
    expect(holding()).toHaveLength(TABS);
  });
});
