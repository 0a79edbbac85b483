import { describe, expect, test } from "vitest";
import { Browser, pass, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

const told = (browser: Browser) => browser.server.received.filter(({ type }) => type === "value").length;

describe("a topic that begins with its value", () => {
  test("tells the value first, and of the publications those that it has not", async () => {
    const browser = new Browser();
    browser.server.publish("orders:1", { n: 1 });
    browser.server.values.set("orders:1", [1]);
    const client = await browser.tab().openConnected();
    const seen: unknown[] = [];
    // Followed already: what comes while the value is asked for is in it, or after it.
    client.topics.subscribe("orders:1", () => {});
    await turns();
    const subscription = client.topics.subscribe("orders:1", (data) => seen.push(data), { snapshot: (value) => seen.push(value) });
    browser.server.publish("orders:1", { n: 2 });
    browser.server.values.set("orders:1", [1, 2]);
    expect(await subscription.subscribed).toBe(true);
    expect(seen).toEqual([[1, 2]]);
    browser.server.publish("orders:1", { n: 3 });
    await until(() => seen.length === 2);
    expect(seen[1]).toEqual({ n: 3 });
    subscription();
    await turns();
    browser.server.publish("orders:1", { n: 4 });
    await turns();
    expect(seen.length).toBe(2);
  });

  test("reads the value again after a gap, and asks the next connection where no answer came", async () => {
    const browser = new Browser();
    browser.server.values.set("orders:1", "a");
    const client = await browser.tab().openConnected();
    const seen: unknown[] = [];
    const subscription = client.topics.subscribe("orders:1", (data) => seen.push(data), { snapshot: (value) => seen.push(value) });
    await subscription.subscribed;
    browser.server.values.set("orders:1", "b");
    browser.server.drop();
    browser.server.topic("orders:1").restart();
    await pass(2);
    await until(() => seen.length === 2);
    expect(seen).toEqual(["a", "b"]);
    browser.server.publish("orders:1", "c");
    await until(() => seen.length === 3);
    expect(seen[2]).toBe("c");
    expect(told(browser)).toBe(2);
  });

  test("is refused where the topic may not be read, and may end before it has begun", async () => {
    const browser = new Browser();
    browser.server.denied.add("orders:1");
    const client = await browser.tab().openConnected();
    const options = { snapshot: () => expect.unreachable() };
    const denied = client.topics.subscribe("orders:1", () => {}, options);
    expect(await refusal(denied.subscribed)).toBe("topic_denied");
    const early = client.topics.subscribe("orders:2", () => {}, options);
    early();
    expect(await refusal(early.subscribed)).toBe("unsubscribed");
  });
});
