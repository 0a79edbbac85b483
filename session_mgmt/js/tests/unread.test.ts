/** Answers that nobody reads to their end: the client closes their connections, because it has only few of them. */

import { expect, test } from "vitest";
import { Browser, passUntil, turns, useFakeClock } from "./harness";

useFakeClock();

const OURS = { "X-Session-Mgmt": "1" };
const STREAM = { ...OURS, "Content-Type": "text/event-stream" };

/** Browser in which some calls get an answer whose body begins and never ends. */
class Endless {
  readonly browser = new Browser();
  /** Return true for the calls that get such an answer. */
  isEndless = (_path: string, _init: RequestInit): boolean => false;
  made = 0;
  readonly open = new Set<object>();

  constructor(
    readonly init: ResponseInit,
    readonly text = "<html>",
  ) {}

  readonly fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    if (!this.isEndless(new URL(url).pathname, init)) return this.browser.server.fetch(url, init);
    this.made += 1;
    const connection = {};
    const close = (): void => void this.open.delete(connection);
    this.open.add(connection);
    init.signal?.addEventListener("abort", close);
    const start = (stream: ReadableStreamDefaultController): void => stream.enqueue(new TextEncoder().encode(this.text));
    return new Response(new ReadableStream({ start, cancel: close }), this.init);
  };
}

const asksForStream = (_: string, { headers }: RequestInit): boolean => new Headers(headers).get("Accept") === "text/event-stream";

test("a stream of another type is closed when polls follow it", async () => {
  const endless = new Endless({ headers: OURS });
  endless.isEndless = asksForStream;
  const client = await endless.browser.tab().openConnected({ fetch: endless.fetch, transports: ["sse"] });
  await passUntil(() => client.stats().transport === "longpoll");
  endless.browser.server.write([["set", "/a", 1]]);
  await passUntil(() => client.state.get("/a") === 1);
  expect([endless.made, endless.open.size]).toEqual([1, 0]);
});

test("a stream with a frame that cannot be handled is closed when another follows it", async () => {
  const endless = new Endless({ headers: STREAM }, 'data:{"type":"grants"}\n\n');
  endless.isEndless = (path, init) => endless.made === 0 && asksForStream(path, init);
  const client = await endless.browser.tab().openConnected({ fetch: endless.fetch, transports: ["sse"] });
  await passUntil(() => endless.made === 1);
  endless.browser.server.write([["set", "/a", 1]]);
  await passUntil(() => client.state.get("/a") === 1);
  expect([client.stats().transport, endless.made, endless.open.size]).toEqual(["sse", 1, 0]);
});

test.each([
  ["a portal", "", 200],
  ["a portal", "poll/", 200],
  ["a portal", "frames/", 200],
  ["a portal", "leave/", 200],
  ["a proxy", "", 502],
  ["a proxy", "poll/", 502],
  ["a proxy", "frames/", 502],
])("an answer of %s to connections/%s is closed", async (_, call, status) => {
  const endless = new Endless({ status });
  const tab = endless.browser.tab();
  const client = await tab.open({ fetch: endless.fetch, transports: ["longpoll"], autoConnect: false });
  endless.isEndless = (path) => path.endsWith(`/connections/${call}`);
  const connecting = client.connection.connect().catch(() => undefined);
  if (call) await connecting;
  void client.state.set("/a", 1).catch(() => undefined);
  if (call === "leave/") client.connection.disconnect();
  await passUntil(() => endless.made > 0);
  client.close();
  await turns();
  expect(endless.open.size).toBe(0);
});

test("an answer that refuses the page's token against forgery is closed when the call is repeated", async () => {
  const endless = new Endless({ status: 403, headers: OURS }, "{}");
  endless.browser.server.login.tokenMode = "cookie";
  const tab = endless.browser.tab();
  const client = await tab.openConnected({ fetch: endless.fetch, transports: ["longpoll"], tokenMode: "cookie" });
  endless.isEndless = (path) => endless.made === 0 && path.endsWith("/frames/");
  await client.state.set("/a", 1);
  expect([endless.made, endless.open.size]).toEqual([1, 0]);
});
