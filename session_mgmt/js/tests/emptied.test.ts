/** Pages in the browser's cache that lose their storage, while something else happens to their writes too. */

import { expect, test } from "vitest";
import type { Json } from "../src/values";
import { comeBack, count, empty } from "./cached";
import { passUntil, record, refusal, turns, useFakeClock } from "./harness";
import { LiveBrowser, type LiveTab } from "./liveTabs";

useFakeClock();

async function open(tab: LiveTab): Promise<LiveTab> {
  await tab.openShared({ oneSocket: false });
  return tab;
}

function publish({ client }: LiveTab, ...names: string[]): Promise<string>[] {
  return names.map((name) => client.topics.publish("t", name).then(() => "done", ({ name }: Error) => name));
}

/** Publications that have taken effect. */
const list = ({ server }: LiveBrowser): Json[] => server.topic("t").entries.map(([, , body]) => body);

/** Publish without a network; nobody answers. */
async function publishInVain({ browser: { server } }: LiveTab, send: () => Promise<string>[]): Promise<Promise<string>[]> {
  server.cut();
  const sent = send();
  await turns();
  return sent;
}

/** Leave a page with two writes that nobody has answered, and one that it makes when it has let go. */
async function leaveWithWrites() {
  const browser = new LiveBrowser();
  const first = await open(browser.tab());
  await Promise.all(publish(first, "begin"));
  const { clientId } = first.client;
  const answers = await publishInVain(first, () => publish(first, "one", "two"));
  first.leave();
  answers.push(...publish(first, "late"));
  await turns();
  return { browser, first, answers, clientId };
}

/** Open the next page of a tab, and let it send what it finds. */
async function openNext({ browser, first }: { browser: LiveBrowser; first: LiveTab }): Promise<LiveTab> {
  browser.server.mend();
  const second = await open(first.next());
  await passUntil(() => second.client.pending === 0);
  return second;
}

const SENT = ["begin", "one", "two", "late"];

test("what the next page has left unanswered is sent by a page that had lost its storage", async () => {
  const world = await leaveWithWrites();
  const { browser, first, answers, clientId } = world;
  const second = await openNext(world);
  await publishInVain(second, () => publish(second, "three", "four"));
  second.leave();
  empty(first.storage);
  first.comeBack();
  // Equal to a write that the next page has left.
  const more = publish(first, "three");
  browser.server.mend();
  await comeBack(first);
  await passUntil(() => first.client.pending === 0);
  expect([list(browser), first.client.clientId]).toEqual([[...SENT, "three", "four", "three"], clientId]);
  expect(await Promise.all([...answers, ...more])).toEqual(["done", "done", "done", "done"]);
});

test("what the next page has sent is not taken for an equal write of a page that had lost its storage", async () => {
  const world = await leaveWithWrites();
  const { browser, first, answers, clientId } = world;
  const second = await openNext(world);
  await Promise.all(publish(second, "three", "four"));
  second.leave();
  empty(first.storage);
  first.comeBack();
  // The number that this write would have belongs to an equal one.
  const more = publish(first, "four");
  await comeBack(first);
  await passUntil(() => first.client.pending === 0);
  expect([list(browser), first.client.clientId]).toEqual([[...SENT, "three", "four", "four"], clientId]);
  expect(await Promise.all([...answers, ...more])).toEqual(["done", "done", "done", "done"]);
});

test("what the next page has left as another client is sent as that client, and nothing that it has given up", async () => {
  const world = await leaveWithWrites();
  const { browser, first, answers } = world;
  browser.server.mend();
  browser.server.session.clients.clear();
  const second = first.next();
  const opening = open(second);
  // In small steps, so that IndexedDB answers in time.
  await passUntil(() => second.client?.status === "connected");
  await opening;
  const unsent = record(second.client, "unsent");
  await turns();
  await publishInVain(second, () => publish(second, "three"));
  second.leave();
  empty(first.storage);
  browser.server.mend();
  await comeBack(first);
  await passUntil(() => first.client.pending === 0);
  expect([list(browser), first.client.clientId, unsent.length]).toEqual([["begin", "three"], second.client.clientId, 1]);
  expect(await Promise.all(answers)).toEqual(["write_adopted", "write_adopted", "write_adopted"]);
});

test.each([
  ["the page itself", false, true],
  ["the next page", true, true],
  ["the next page, and not answered yet", true, false],
])("what another tab has adopted of %s is not sent again by a page that had lost its storage, and the rest is", async (_, hasNext, isAnswered) => {
  const world = await leaveWithWrites();
  const { browser, first, answers, clientId } = world;
  if (hasNext) {
    const second = await openNext(world);
    await publishInVain(second, () => publish(second, "three"));
    second.leave();
  }
  browser.server.mend();
  browser.server.swallowReceipts = !isAnswered;
  const other = await open(browser.tab());
  await passUntil(() => list(browser).length === (hasNext ? 5 : 3));
  await turns(40);
  empty(first.storage);
  // A new record begins, and its lock is claimed.
  const { setItem } = first.storage;
  const more: Promise<string>[] = [];
  first.storage.setItem = (name, text) => {
    setItem.call(first.storage, name, text);
    if (name.endsWith(":client") && more.length === 0) queueMicrotask(() => more.length === 0 && more.push(...publish(first, "more")));
  };
  await comeBack(first);
  browser.server.swallowReceipts = false;
  await passUntil(() => first.client.pending === 0 || !isAnswered);
  if (!isAnswered) browser.server.drop();
  await passUntil(() => first.client.pending + other.client.pending === 0);
  expect(list(browser)).toEqual(hasNext ? [...SENT, "three", "more"] : [...SENT, "more"]);
  expect(first.client.clientId).not.toBe(clientId);
  const adopted = hasNext ? "write_adopted" : "done";
  expect(await Promise.all([...answers, ...more])).toEqual([adopted, adopted, adopted, "done"]);
});

test.each([false, true])("an update that the next page has moved to another base is still the first page's (its storage is emptied: %s)", async (isEmptied) => {
  const browser = new LiveBrowser();
  const first = await open(browser.tab());
  await first.client.state.inc("/n");
  browser.server.cut();
  const moved = first.client.state.inc("/n");
  await turns();
  first.leave();
  browser.server.mend();
  browser.server.write([["set", "/m", 1]]);
  browser.server.refuse({ name: "too_old", temporary: true });
  const second = await open(first.next());
  browser.server.cut();
  await passUntil(() => second.client.status !== "connected");
  second.leave();
  if (isEmptied) empty(first.storage);
  browser.server.mend();
  await comeBack(first);
  expect([await refusal(moved), count(browser), first.client.pending]).toEqual(["resolved", 2, 0]);
  await first.client.state.inc("/n");
  expect([count(browser), first.client.state.get()]).toEqual([3, { n: 3, m: 1 }]);
});

test("what a page has written late is sent once though it is left twice, and the next page has sent it", async () => {
  const world = await leaveWithWrites();
  const { browser, first } = world;
  browser.server.mend();
  const other = await open(browser.tab());
  await passUntil(() => other.client.pending === 0);
  first.comeBack();
  first.leave();
  first.thaw();
  await turns(40);
  const second = await openNext(world);
  second.leave();
  await comeBack(first);
  expect([list(browser), first.client.clientId]).toEqual([SENT, second.client.clientId]);
});
