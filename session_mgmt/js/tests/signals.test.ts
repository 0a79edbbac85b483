/** Signals of the client's own: once, off, and the moment from which on a topic misses nothing. */

import { expect, test } from "vitest";
import { Browser, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

async function connect() {
  const browser = new Browser();
  return { browser, client: await browser.tab().openConnected() };
}

test("once is called for one event, and can be ended before", async () => {
  const { browser, client } = await connect();
  const heard: unknown[] = [];
  client.once("message", (data) => heard.push(data));
  const stop = client.once("message", () => heard.push("ended"));
  stop();
  for (const n of [1, 2]) browser.server.message(n);
  await until(() => heard.length > 0);
  await turns();
  expect(heard).toEqual([1]);
});

test("off ends what on began with the callback, and nothing else", async () => {
  const { browser, client } = await connect();
  const heard: unknown[] = [];
  const take = (data: unknown): void => void heard.push(data);
  client.on("message", take);
  client.on("message", take);
  client.on("message", (data) => heard.push(["other", data]));
  client.off("message", take);
  client.off("message", take);
  client.off("gap", take as never);
  browser.server.message(1);
  await until(() => heard.length > 0);
  expect(heard).toEqual([["other", 1]]);
});

test("subscribed resolves when the server follows the topic, also for those who come later", async () => {
  const { browser, client } = await connect();
  const heard: unknown[] = [];
  const subscription = client.topics.subscribe("news", (data) => heard.push(data));
  await subscription.subscribed;
  browser.server.publish("news", 1);
  await until(() => heard.length === 1);
  await client.topics.subscribe("news", () => undefined).subscribed;
});

test("subscribed resolves for who leaves and comes back in one turn, and asks anew after a turn", async () => {
  const { browser, client } = await connect();
  const asked = (): number => browser.server.received.filter(({ type }) => type === "subscribe").length;
  const first = client.topics.subscribe("news", () => undefined);
  await first.subscribed;
  first();
  const second = client.topics.subscribe("news", () => undefined);
  await second.subscribed;
  expect(asked()).toBe(1);
  second();
  await turns();
  browser.server.deny("news");
  expect(await refusal(client.topics.subscribe("news", () => undefined).subscribed)).toBe("topic_denied");
  expect(asked()).toBe(2);
});

test("subscribed waits for the connection", async () => {
  const browser = new Browser();
  const client = await browser.tab().open({ autoConnect: false });
  let isDone = false;
  const { subscribed } = client.topics.subscribe("news", () => undefined);
  void subscribed.then(() => (isDone = true));
  await turns();
  expect(isDone).toBe(false);
  await client.connection.connect();
  await until(() => isDone);
});

test("subscribed rejects with the refusal, for everybody, and is asked anew later", async () => {
  const { browser, client } = await connect();
  browser.server.deny("news");
  const first = client.topics.subscribe("news", () => undefined);
  expect(await refusal(first.subscribed)).toBe("topic_denied");
  const second = client.topics.subscribe("news", () => undefined);
  expect(await refusal(second.subscribed)).toBe("topic_denied");
});

test("subscribed rejects when the subscription or the client ends", async () => {
  const client = await new Browser().tab().open({ autoConnect: false });
  const left = client.topics.subscribe("news", () => undefined);
  const open = client.topics.subscribe("news", () => undefined);
  left();
  expect(await refusal(left.subscribed)).toBe("unsubscribed");
  client.close();
  expect(await refusal(open.subscribed)).toBe("closed");
});
