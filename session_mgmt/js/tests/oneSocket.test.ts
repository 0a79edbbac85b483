/** One connection for all tabs: one of them leads, the others follow, and nothing depends on which. */

import { describe, expect, test } from "vitest";
import { Browser, pass, passUntil, record, turns, until, useFakeClock } from "./harness";
import { countSockets, LiveBrowser, openTabs, type LiveTab } from "./liveTabs";

useFakeClock();

/** Publications that a tab has heard. */
function listen(tab: LiveTab, topic = "t"): unknown[] {
  const heard: unknown[] = [];
  tab.client.topics.subscribe(topic, (data) => void heard.push(data));
  return heard;
}

const polls = ({ server }: Browser) => server.http.calls.filter(([name]) => name === "poll");
const attaches = ({ server }: Browser) => server.http.calls.filter(([name]) => name === "connections");

describe("tabs that share one connection", () => {
  test("have one socket, and each hears what any of them writes, once and in order", async () => {
    const [browser, a, b, c] = (await openTabs(3)) as [LiveBrowser, LiveTab, LiveTab, LiveTab];
    const all = [a, b, c];
    expect([countSockets(browser), ...all.map(({ leads }) => leads)]).toEqual([1, true, false, false]);
    const heard = all.map((tab) => listen(tab));
    await turns(40);
    for (const { client, number } of all) {
      await client.state.inc("/n");
      await client.topics.publish("t", number);
    }
    await turns();
    const numbers = all.map(({ number }) => number);
    expect(heard).toEqual([numbers, numbers, numbers]);
    expect(all.map(({ client }) => client.state.get("/n"))).toEqual([3, 3, 3]);
    expect(new Set(all.map(({ client }) => client.clientId)).size).toBe(3);
    expect(countSockets(browser)).toBe(1);
  });

  test("follow by what the leader hands on, not by polls", async () => {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const heard = listen(b);
    await turns(40);
    const before = polls(browser).length;
    for (let n = 0; n < 5; n += 1) browser.server.publish("t", n);
    browser.server.write([["set", "/x", 1]]);
    browser.server.message("hello");
    const ephemeral = a.client.topics.publish("t", "now", { ephemeral: true });
    await turns();
    await ephemeral;
    expect([heard, b.client.state.get("/x"), polls(browser).length]).toEqual([[0, 1, 2, 3, 4, "now"], 1, before]);
    await pass(120);
    // Nothing was missing all the time.
    expect([polls(browser).length, b.client.status]).toEqual([before, "connected"]);
  });

  test("let the connection carry no log that nobody follows any more", async () => {
    const [browser, , b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const stop = b.client.topics.subscribe("t", () => undefined);
    await pass(1);
    const follows = () => [...browser.server.session.clients.values()].map(({ follows: logs }) => logs.has("topic:t"));
    expect(follows()).toEqual([true, true]);
    stop();
    await pass(1);
    expect(follows()).toEqual([false, false]);
  });

  test("keep the log that the leader leaves and a follower follows", async () => {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const stop = a.client.topics.subscribe("t", () => undefined);
    const heard = listen(b);
    await pass(1);
    const before = polls(browser).length;
    stop();
    await turns();
    browser.server.publish("t", 1);
    await turns();
    expect([heard, polls(browser).length]).toEqual([[1], before]);
  });

  test("say what carries them, and count what waits, each for itself", async () => {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    expect([a, b].map(({ client }) => client.stats().transport)).toEqual(["websocket", "tab"]);
    browser.server.http.missed.frames = 1;
    const written = b.client.state.inc("/n");
    expect([a.client.pending, b.client.pending]).toEqual([0, 1]);
    await pass(2);
    await written;
    expect([a.client.state.get("/n"), b.client.pending]).toEqual([1, 0]);
  });

  test("keep nothing of a session that has ended", async () => {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const ended = [a, b].map(({ client }) => record(client, "ended"));
    browser.server.terminate("logged_out");
    await pass(1);
    expect(ended).toEqual([[[{ reason: "logged_out" }]], [[{ reason: "logged_out" }]]]);
    expect([a, b].map(({ client }) => client.status)).toEqual(["failed", "failed"]);
  });

  test("without locks have a connection each, and say so once", async () => {
    const browser = new LiveBrowser();
    const errors: string[] = [];
    const onError = ({ name }: Error): void => void errors.push(name);
    for (let n = 0; n < 2; n += 1) await browser.tab().openShared({ locks: null, onError });
    expect([countSockets(browser), errors]).toEqual([2, ["one_socket_unavailable", "one_socket_unavailable"]]);
  });
});

/** Let the leader end, and return the time in seconds until another one leads. */
async function timeToLead(end: () => void, next: LiveTab): Promise<number> {
  const begun = Date.now();
  end();
  await turns();
  for (let at = 0; at < 300 && !next.leads; at += 1) await pass(0.1);
  return (Date.now() - begun) / 1000;
}

describe("while three followers write", () => {
  const ENDS: Record<string, (leader: LiveTab) => unknown> = {
    "is closed": (leader) => leader.close(),
    crashes: (leader) => leader.crash(),
    freezes: (leader) => leader.freeze(),
    "goes to another page": (leader) => leader.leave(),
    "loses its connection": ({ live }) => live.server.drop(),
  };

  // Turns of the loop after the first writes: on their way, being answered, handed on.
  test.each(Object.keys(ENDS).flatMap((name) => [0, 3].map((after) => [name, after] as const)))(
    "the leader %s %i turns later: nothing is lost, doubled or out of order",
    async (name, after) => {
      const [browser, leader, ...followers] = (await openTabs(4)) as [LiveBrowser, LiveTab, ...LiveTab[]];
      const heard = followers.map((tab) => listen(tab));
      await turns(40);
      const answers: Promise<unknown>[] = [];
      const write = (n: number): void => {
        for (const { client, number } of followers) {
          answers.push(client.state.inc("/n"), client.state.set(`/last/${number}`, n), client.topics.publish("t", [number, n]));
        }
      };
      for (let n = 0; n < 3; n += 1) write(n);
      await turns(after);
      void ENDS[name]?.(leader);
      for (let n = 3; n < 6; n += 1) {
        write(n);
        await turns(1);
      }
      const isQuiet = ({ client }: LiveTab, at: number): boolean => client.pending === 0 && heard[at]?.length === 18;
      await passUntil(() => followers.every(isQuiet));
      await Promise.all(answers);
      await pass(10);
      const told = browser.server.topic("t").entries.map(([, , body]) => body as unknown as [number, number]);
      for (const { number } of followers) expect(told.filter(([of]) => of === number).map(([, n]) => n)).toEqual([0, 1, 2, 3, 4, 5]);
      expect(heard).toEqual(followers.map(() => told));
      const last = Object.fromEntries(followers.map(({ number }) => [number, 5]));
      expect(followers.map(({ client }) => client.state.get())).toEqual(followers.map(() => ({ n: 18, last })));
      // No network was lost, so nothing went twice, to whichever carried it.
      const went = browser.server.received.filter(({ type }) => type === "publish").map(({ data }) => `${data}`);
      expect(went.toSorted()).toEqual(told.map(String).toSorted());
    },
  );
});

describe("the next tab leads", () => {
  async function begin() {
    const [browser, a, b, c] = (await openTabs(3)) as [LiveBrowser, LiveTab, LiveTab, LiveTab];
    const heard = [b, c].map((tab) => listen(tab));
    const statuses = [b, c].map(({ client }) => record(client, "status"));
    await turns(40);
    /** Demand that nobody has missed anything, and that there is one connection. */
    const check = async (): Promise<void> => {
      browser.server.publish("t", "after");
      await Promise.all([b.client.state.inc("/n"), c.client.state.inc("/n")]);
      await turns();
      expect(heard).toEqual([["during", "after"], ["during", "after"]]);
      expect([b, c].map(({ client }) => client.state.get("/n"))).toEqual([2, 2]);
      expect([statuses, countSockets(browser)]).toEqual([[[], []], 1]);
    };
    return { browser, a, b, c, check };
  }

  test("when the leader is closed", async () => {
    const { browser, a, b, check } = await begin();
    expect(await timeToLead(() => (a.client.close(), browser.server.publish("t", "during")), b)).toBeLessThan(0.2);
    await check();
  });

  test("when the leader crashes", async () => {
    const { browser, a, b, check } = await begin();
    expect(await timeToLead(() => (a.crash(), browser.server.publish("t", "during")), b)).toBeLessThan(0.2);
    await check();
  });

  test("when the leader is frozen, and it follows when it goes on", async () => {
    const { browser, a, b, c, check } = await begin();
    const seen = listen(a);
    await turns();
    const time = await timeToLead(() => (a.freeze(), browser.server.publish("t", "during")), b);
    expect([time < 17, b.leads || c.leads]).toEqual([true, true]);
    a.thaw();
    await turns(40);
    expect([a.leads, a.client.status]).toEqual([false, "connected"]);
    await check();
    expect([seen, a.client.state.get("/n")]).toEqual([["during", "after"], 2]);
  });

  test("when the leader is hidden and another is seen, at once", async () => {
    const { browser, a, b, c, check } = await begin();
    c.show("hidden");
    a.show("hidden");
    browser.server.publish("t", "during");
    await passUntil(() => b.leads);
    expect([a.leads, c.leads]).toEqual([false, false]);
    c.show("visible");
    await turns(40);
    expect([b.leads, c.leads]).toEqual([true, false]);
    b.show("hidden");
    c.show("visible");
    await turns(60);
    expect([b.leads, c.leads]).toEqual([false, true]);
    await check();
  });

  test("when the leader goes to another page, and it follows when it comes back", async () => {
    const { browser, a, b, check } = await begin();
    const seen = listen(a);
    await turns();
    expect(await timeToLead(() => (a.leave(), browser.server.publish("t", "during")), b)).toBeLessThan(0.2);
    await check();
    expect(seen).toEqual([]);
    a.comeBack();
    await passUntil(() => a.client.status === "connected");
    await turns(40);
    expect([a.leads, seen, a.client.state.get("/n"), countSockets(browser)]).toEqual([false, ["during", "after"], 2, 1]);
  });

  test("when the leader disconnects", async () => {
    const { browser, a, b, check } = await begin();
    expect(await timeToLead(() => (a.client.connection.disconnect(), browser.server.publish("t", "during")), b)).toBeLessThan(0.2);
    await check();
    await a.client.connection.connect();
    await turns();
    expect([a.leads, a.client.state.get("/n")]).toEqual([false, 2]);
  });

  test("and carries at once what only one that follows wants", async () => {
    const [browser, a, b, c] = (await openTabs(3)) as [LiveBrowser, LiveTab, LiveTab, LiveTab];
    const heard = listen(c);
    await turns(40);
    await timeToLead(() => a.client.close(), b);
    browser.server.publish("t", "during");
    await turns(40);
    const before = polls(browser).length;
    for (const n of [1, 2]) {
      browser.server.publish("t", n);
      await turns();
    }
    expect([b.leads, heard, polls(browser).length]).toEqual([true, ["during", 1, 2], before]);
  });

  test("but not because the server starts again", async () => {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const heard = listen(b);
    await turns(40);
    browser.server.cut();
    browser.server.sockets.at(-1)?.onclose?.({ code: 1006, reason: "" });
    await pass(5);
    browser.server.publish("t", 1);
    browser.server.mend();
    await passUntil(() => a.client.status === "connected" && heard.length === 1);
    expect([a.leads, b.leads, countSockets(browser)]).toEqual([true, false, 1]);
  });
});

test("a write that is under way when its tab gets the lead, and loses it again, keeps none back", async () => {
  const [browser, a, b, c] = (await openTabs(3)) as [LiveBrowser, LiveTab, LiveTab, LiveTab];
  // Its call goes again within a second.
  browser.server.http.missed.frames = 1;
  const first = b.client.state.inc("/n");
  await turns(3);
  b.show("hidden");
  a.client.close();
  await until(() => c.leads && !b.leads);
  const second = b.client.state.inc("/n");
  await pass(2);
  await Promise.all([first, second]);
  await turns();
  expect([b.leads, c.client.state.get("/n"), countSockets(browser)]).toEqual([false, 2, 1]);
  expect(browser.server.received.filter(({ type }) => type === "update")).toHaveLength(2);
});

describe("messages between tabs", () => {
  test.each([0.3, 0.9, 1])("may be lost with a chance of %d: positions find it", async (chance) => {
    const [browser, , b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const heard = listen(b);
    await turns(40);
    let draw = 1;
    browser.channels.loses = () => (draw = (draw * 48_271) % 2_147_483_647) / 2_147_483_647 < chance;
    const sent = Array.from({ length: 40 }, (_, n) => n);
    for (const n of sent) {
      browser.server.publish("t", n);
      await pass(0.2);
    }
    await pass(40);
    expect(heard).toEqual(sent);
  });

  /** Let the channel lose a publication. */
  async function lose() {
    const [browser, a, b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const heard = listen(b);
    await turns(40);
    browser.channels.loses = () => true;
    browser.server.publish("t", 1);
    await turns(2);
    browser.channels.loses = () => false;
    expect(heard).toEqual([]);
    return { browser, a, heard };
  }

  test("are missed at once if another one follows", async () => {
    const { browser, heard } = await lose();
    browser.server.publish("t", 2);
    await turns();
    expect(heard).toEqual([1, 2]);
  });

  test("are missed at the next beat if nothing follows", async () => {
    const { a, heard } = await lose();
    await pass(5.1);
    expect([heard, a.leads]).toEqual([[1], true]);
  });

  test("of a page that was frozen for long are caught up by one poll", async () => {
    const [browser, , b] = (await openTabs(2)) as [LiveBrowser, LiveTab, LiveTab];
    const heard = listen(b);
    await turns(40);
    b.freeze();
    for (let n = 0; n < 50; n += 1) browser.server.publish("t", n);
    await pass(600);
    b.thaw();
    await turns(40);
    expect(heard).toHaveLength(50);
  });

  test("of another user's session are none of this one's", async () => {
    const browser = new LiveBrowser();
    const [, a] = (await openTabs(1, browser)) as [LiveBrowser, LiveTab];
    const b = browser.tab();
    await b.openShared({ name: "support" });
    expect([a.leads, b.leads, countSockets(browser)]).toEqual([true, true, 2]);
  });
});

test("tabs that are opened at once have one leader", async () => {
  const browser = new LiveBrowser();
  await openTabs(1, browser);
  const tabs = Array.from({ length: 5 }, () => browser.tab());
  await Promise.all(tabs.map((tab) => tab.openShared()));
  await turns(40);
  expect([countSockets(browser), tabs.some(({ leads }) => leads), attaches(browser).length]).toEqual([1, false, 5]);
});
