/** What the connection of one tab carries for the others, and who leads while tabs come and go. */

import { expect, test } from "vitest";
import type { Environment } from "../src/environment";
import type { ServerFrame } from "../src/frames";
import type { Circle } from "../src/tabs/circle";
import { Election } from "../src/tabs/election";
import { Leader } from "../src/tabs/leader";
import type { Link, LinkPort } from "../src/transport";
import { FakeLocks } from "../src/testing";
import { pass, record, turns, until, useFakeClock } from "./harness";
import { countSockets, LiveBrowser, openTabs, type LiveTab } from "./liveTabs";

useFakeClock();

const follows = ({ server }: LiveBrowser, topic = "t"): boolean[] =>
  [...server.session.clients.values()].map(({ follows: logs }) => logs.has(`topic:${topic}`));
const attaches = ({ server }: LiveBrowser) => server.http.calls.filter(([name]) => name === "connections").length;

async function openFollower() {
  const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
  b.client.topics.subscribe("t", () => undefined);
  await pass(1);
  expect(follows(browser)[0]).toBe(true);
  return { browser, a, b };
}

test("a log of a tab that is closed is carried no more, at once", async () => {
  const { browser, b } = await openFollower();
  await b.close();
  await turns();
  expect(follows(browser)[0]).toBe(false);
});

test("a log of a tab that has crashed is carried no more after some minutes", async () => {
  const { browser, b } = await openFollower();
  const c = browser.tab();
  await c.openShared();
  b.crash();
  await pass(60);
  expect(follows(browser)[0]).toBe(true);
  await pass(150);
  expect([follows(browser)[0], c.leads]).toEqual([false, false]);
});

test("a tab that gets the lead while it attaches as a follower leads as soon as it is attached", async () => {
  const browser = new LiveBrowser();
  const [, a] = (await openTabs(1, browser)) as [LiveBrowser, LiveTab];
  const b = browser.tab();
  let arrive = (): void => undefined;
  const isHeld = new Promise<void>((resolve) => (arrive = resolve));
  const calls: string[] = [];
  const fetch: typeof browser.server.fetch = async (url, init) => {
    calls.push(url);
    if (url.endsWith("/connections/")) await isHeld;
    return browser.server.fetch(url, init);
  };
  const opening = b.openShared({ fetch });
  await until(() => calls.some((url) => url.endsWith("/connections/")));
  await a.close();
  await turns();
  arrive();
  await opening;
  await until(() => b.leads);
  const heard: unknown[] = [];
  b.client.topics.subscribe("t", (data) => void heard.push(data));
  await turns();
  browser.server.publish("t", 1);
  await turns();
  expect([countSockets(browser), heard]).toEqual([1, [1]]);
});

test("a tab that gets the lead and loses it while its call is under way attaches to nothing new", async () => {
  const [browser, a, b, c] = (await openTabs(3)) as [LiveBrowser, LiveTab, LiveTab, LiveTab];
  const before = attaches(browser);
  browser.server.http.missed.frames = 1;
  const written = b.client.state.inc("/n");
  await turns(3);
  b.show("hidden");
  a.client.close();
  await until(() => c.leads && !b.leads);
  await pass(3);
  await written;
  expect(attaches(browser)).toBe(before);
});

test("a refusal of a log that only another tab follows is no error of the tab that leads", async () => {
  const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
  const errors = record(a.client, "error");
  browser.channels.loses = () => true;
  b.client.topics.subscribe("t", () => undefined);
  await turns();
  browser.server.denied.add("t");
  browser.channels.loses = () => false;
  await pass(11);
  const asked = () => browser.server.received.filter(({ type, id }) => type === "subscribe" && id > 2 ** 40);
  expect([asked().length, errors]).toEqual([1, []]);
  // It is not asked for at each beat.
  await pass(60);
  expect(asked()).toHaveLength(1);
});

test("a page whose locks are denied asks for the lead now and then, and not again at once", async () => {
  let asked = 0;
  const refuse = (): Promise<never> => Promise.reject(new DOMException("denied", "SecurityError"));
  const request = (): Promise<unknown> => ((asked += 1) > 50 ? new Promise(() => undefined) : refuse());
  const election = new Election({ locks: { request } } as unknown as Environment, "leader", () => undefined);
  await election.settled;
  await turns();
  expect([asked, election.leads]).toEqual([1, false]);
  election.seize();
  await turns();
  expect([asked, election.leads]).toEqual([2, false]);
});

test("an election that is closed at any moment holds no lock, and waits for none", async () => {
  for (let hops = 0; hops < 12; hops += 1) {
    for (const isTaken of [false, true]) {
      const locks = new FakeLocks();
      let give = (): void => undefined;
      if (isTaken) void locks.request("leader", {}, () => new Promise<void>((resolve) => (give = resolve)));
      await turns(1);
      const election = new Election({ locks } as unknown as Environment, "leader", () => undefined);
      if (isTaken) await turns(1);
      give();
      for (let hop = 0; hop < hops; hop += 1) await null;
      election.close();
      await turns(2);
      let isFree = false;
      await locks.request("leader", { ifAvailable: true }, async (lock) => void (isFree = lock !== null));
      expect({ hops, isTaken, isFree, leads: election.leads }).toEqual({ hops, isTaken, isFree: true, leads: false });
    }
  }
});

test("a log that was refused is asked for again after a change of the transport", () => {
  const sent: object[] = [];
  let inner!: LinkPort;
  const link: Link = { sendFrame: (frame) => sent.push(frame), endWith: () => undefined, drop: () => undefined };
  const open = (port: LinkPort): Link => ((inner = port), link);
  const nothing = (): undefined => undefined;
  const circle = { listWanted: () => ({ "topic:t": null }), beat: nothing, tellNews: nothing };
  const port = { findPlace: nothing, handleFrame: nothing, beginSwitch: nothing } as unknown as LinkPort;
  const leader = new Leader({ open, openWriter: open }, port, circle as unknown as Circle);
  const connect = (logs: object): void => inner.handleFrame({ type: "connected", logs } as ServerFrame, 0);
  connect({ "topic:t": { mode: "denied" } });
  leader.noteWants();
  expect(sent).toEqual([]);
  inner.beginSwitch();
  connect({});
  expect(sent).toMatchObject([{ type: "subscribe", log: "topic:t" }]);
});
