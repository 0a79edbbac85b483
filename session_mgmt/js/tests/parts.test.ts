/** Parts that the client loads later, and cannot. */

import { afterEach, expect, test, vi } from "vitest";
import { Browser, pass, passUntil, record, until, turns, useFakeClock } from "./harness";
import type { SessionClient } from "../src/index";

vi.mock("../src/copies", () => ({
  get Copies(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
vi.mock("../src/sending", () => ({
  get Sending(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));

vi.mock("../src/batch", () => ({
  get Batch(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
vi.mock("../src/http/index", () => ({
  get makeHttp(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
type OutboxesPart = typeof import("../src/outboxes");
const outboxes = vi.hoisted(() => ({ failures: 0, open: null as (() => Promise<never>) | null }));
vi.mock("../src/outboxes", async (original) => {
  const part = (await original()) as OutboxesPart;
  return { ...part, Outboxes: { open: (env: never) => (outboxes.open ?? part.Outboxes.open)(env) } };
});
vi.mock("../src/loading", async (original) => {
  const all = (await original()) as typeof import("../src/loading");
  const loadOutboxes = async (): Promise<unknown> => {
    outboxes.failures -= 1;
    if (outboxes.failures >= 0) throw new TypeError("Failed to fetch dynamically imported module");
    return all.loadOutboxes();
  };
  return { ...all, loadOutboxes };
});
const requests = vi.hoisted(() => ({ failures: 1 }));
vi.mock("../src/requests/index", (original) => {
  requests.failures -= 1;
  if (requests.failures < 0) return original();
  throw new TypeError("Failed to fetch dynamically imported module");
});

useFakeClock();
afterEach(() => (outboxes.open = null));

test("without the part that keeps copies the client works, and says so", async () => {
  const errors: string[] = [];
  const client = await new Browser().tab().open({ cache: "indexeddb", onError: ({ name }) => errors.push(name) });
  await until(() => client.status === "connected");
  await client.state.set("/x", 1);
  expect([client.state.get("/x"), client.state.fromCache]).toEqual([1, false]);
  expect(errors).toEqual(["cache_unavailable"]);
});

test("without the part that sends them, the writes of a closed tab stay", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  const closing = await tab.openConnected();
  browser.server.cut();
  void closing.state.inc("/visits");
  await turns();
  await tab.close(closing);
  browser.server.mend();
  const next = await browser.tab().openConnected();
  const adopted = record(next, "adopted");
  await until(() => next.pending === 1);
  await turns(50);
  expect([next.pending, adopted, browser.server.session.document("main").head]).toEqual([1, [], 0]);
});

test("without the part that gathers updates they go at once, and the client says so", async () => {
  const browser = new Browser();
  const errors: string[] = [];
  const onError = ({ name }: Error): void => void errors.push(name);
  const client = await browser.tab().open({ sync: { mode: "delayed", delay: 60_000 }, onError });
  await until(() => client.status === "connected");
  void client.state.set("/x", 1);
  await until(() => browser.server.session.document("main").head === 1);
  expect(errors).toEqual(["sync_unavailable"]);
});

test("without the part that speaks HTTP a network without sockets is tried again", async () => {
  const browser = new Browser();
  browser.server.network.sockets = "refused";
  const client = await browser.tab().open({ transports: ["websocket", "longpoll"] });
  await pass(3);
  expect(client.status).toBe("connecting");
  browser.server.network.sockets = "open";
  await passUntil(() => client.status === "connected");
});

test("without the part that makes requests one is refused for now, and the next loads it again", async () => {
  const client = await new Browser().tab().openConnected();
  await expect(client.state.history()).rejects.toMatchObject({ name: "part_unavailable", temporary: true });
  await client.state.set("/x", 1);
  expect((await client.state.info()).data).toEqual({ x: 1 });
});

test("what keeps outboxes and could not be loaded is loaded again", async () => {
  outboxes.failures = 1;
  const errors: string[] = [];
  const starting = new Browser().tab().start({ onError: ({ name }) => errors.push(name) });
  await pass(0.6);
  const client = await starting;
  const reports = record(client, "pending");
  void client.state.set("/x", 1);
  await until(() => reports.some(([{ durable }]) => durable));
  expect(errors).toEqual([]);
  client.close();
});

test("without the part that keeps outboxes a write survives a reload, and the client says that no more does", async () => {
  outboxes.open = () => Promise.reject(new TypeError("Failed to fetch dynamically imported module"));
  const browser = new Browser();
  const tab = browser.tab();
  const errors: string[] = [];
  const client = await tab.open({ onError: ({ name }) => errors.push(name) });
  await until(() => client.status === "connected");
  const reports = record(client, "pending");
  browser.server.cut();
  void client.state.inc("/visits");
  await until(() => reports.length > 0);
  expect([reports.at(-1), errors]).toEqual([[{ count: 1, orphaned: 0, durable: false }], ["storage_unavailable"]]);
  await tab.close(client);
  browser.server.mend();
  const next = await tab.openConnected();
  await until(() => next.pending === 0);
  expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
});

test("a start does not wait long for the part that keeps outboxes, and what comes later is closed", async () => {
  let arrive: (late: never) => void = () => undefined;
  outboxes.open = () => new Promise((resolve) => (arrive = resolve));
  const starting = new Browser().tab().start();
  let client: SessionClient | null = null;
  void starting.then((started) => (client = started));
  await pass(1.9);
  expect(client).toBeNull();
  await pass(0.2);
  await until(() => client?.status === "connected");
  const close = vi.fn();
  arrive({ store: { close } } as never);
  await until(() => close.mock.calls.length === 1);
  (await starting).close();
});
