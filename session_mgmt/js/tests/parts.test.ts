/** Parts that the client loads later, and cannot. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { Browser, pass, passUntil, record, until, turns, useFakeClock, type Tab } from "./harness";
import { SessionError, type SessionClient } from "../src/index";
import type { MemoryStore } from "../src/testing";

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
const changes = vi.hoisted(() => ({ failures: 0, loads: 0 }));
const content = vi.hoisted(() => ({ failures: 0, wait: null as Promise<void> | null, isGone: false }));
/** Parts in the order in which they were first asked for. */
const asked = vi.hoisted(() => new Set<string>());
const substitutes = vi.hoisted(() => ({ failures: 0 }));
/** Note in `asked` which of these functions load. */
const noteLoads = vi.hoisted(() => (functions: Record<string, unknown>): Record<string, unknown> => {
  const noted = Object.entries(functions).map(([name, value]) => {
    if (!/^load[A-Z]/.test(name)) return [name, value];
    return [name, () => (asked.add(name), (value as () => unknown)())];
  });
  return Object.fromEntries(noted);
});
vi.mock("../src/loading", async (original) => {
  const all = (await original()) as typeof import("../src/loading");
  const loadSubstitutes = async (): Promise<unknown> => {
    substitutes.failures -= 1;
    if (substitutes.failures >= 0) throw SessionError.local("part_unavailable", "It could not be loaded.", true);
    return all.loadSubstitutes();
  };
  const arePartsGone = (): boolean => content.isGone;
  return noteLoads({ ...all, loadSubstitutes, arePartsGone });
});
vi.mock("../src/parts", async (original) => {
  const all = (await original()) as typeof import("../src/parts");
  const loadOutboxes = async (): Promise<unknown> => {
    outboxes.failures -= 1;
    if (outboxes.failures >= 0) throw new TypeError("Failed to fetch dynamically imported module");
    return all.loadOutboxes();
  };
  const loadChanges = async (): Promise<unknown> => {
    changes.failures -= 1;
    changes.loads += 1;
    if (changes.failures >= 0) throw SessionError.local("part_unavailable", "It could not be loaded.", true);
    return all.loadChanges();
  };
  const loadContent = async (): Promise<unknown> => {
    await content.wait;
    content.failures -= 1;
    if (content.failures >= 0) throw SessionError.local("part_unavailable", "It could not be loaded.", true);
    return all.loadContent();
  };
  return noteLoads({ ...all, loadOutboxes, loadChanges, loadContent });
});
const requests = vi.hoisted(() => ({ failures: 1 }));
vi.mock("../src/requests/index", (original) => {
  requests.failures -= 1;
  if (requests.failures < 0) return original();
  throw new TypeError("Failed to fetch dynamically imported module");
});

useFakeClock();
afterEach(() => {
  outboxes.open = null;
  Object.assign(content, { failures: 0, wait: null, isGone: false });
  asked.clear();
  changes.failures = 0;
});

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

test("a page without Web Locks loads what takes their place again, and says so", async () => {
  const browser = new Browser();
  const errors: string[] = [];
  substitutes.failures = 2;
  const starting = browser.tab().start({ locks: null, onError: ({ name }) => errors.push(name) });
  await passUntil(() => browser.server.sessions.length === 1);
  await pass(1);
  const client = await starting;
  await until(() => client.status === "connected");
  expect(errors).toEqual(["part_unavailable", "part_unavailable"]);
  client.close();
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

describe("documents, topics and the way of writing", () => {
  /** Leave a write in a tab that was never sent. */
  async function leaveWrite(browser: Browser): Promise<Tab> {
    const tab = browser.tab();
    const client = await tab.openConnected();
    browser.server.cut();
    void client.state.inc("/visits");
    await turns();
    await tab.close(client);
    browser.server.mend();
    return tab;
  }

  test("are asked for before the server is, with all other files that a start waits for", async () => {
    const browser = new Browser();
    asked.clear();
    const starting = browser.tab().start({ cache: "indexeddb", oneSocket: true, sync: { mode: "delayed" } });
    const first = [...asked].sort();
    expect(first).toEqual(["loadBatch", "loadContent", "loadCopies", "loadHttp", "loadOutboxes", "loadTabs"]);
    expect(browser.server.sessions).toEqual([]);
    const client = await starting;
    await until(() => client.status === "connected");
    // What takes changes is not waited for.
    expect([...asked].filter((name) => !first.includes(name))).toEqual(["loadChanges"]);
    client.close();
  });

  test("that come late let the page enter meanwhile, and a write of the page before goes first", async () => {
    const browser = new Browser();
    const tab = await leaveWrite(browser);
    let arrive = (): void => undefined;
    content.wait = new Promise((resolve) => (arrive = resolve));
    const began = vi.fn();
    const starting = tab.start();
    void starting.then(began);
    await pass(60);
    expect(began).not.toHaveBeenCalled();
    arrive();
    const client = await starting;
    void client.state.inc("/visits");
    // Seen at once, as ever.
    expect([client.state.get("/visits"), client.pending]).toEqual([2, 2]);
    await until(() => client.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 2 });
    client.close();
  });

  test("that the network keeps away are loaded again, which is told once, and no write is lost", async () => {
    const browser = new Browser();
    const tab = await leaveWrite(browser);
    content.failures = 4;
    const errors: string[] = [];
    const starting = tab.start({ onError: ({ name }) => errors.push(name) });
    let client: SessionClient | null = null;
    void starting.then((started) => (client = started));
    await passUntil(() => client?.status === "connected" && client.pending === 0);
    expect([browser.server.session.document("main").value, errors]).toEqual([{ visits: 1 }, ["part_unavailable"]]);
    (await starting).close();
  });

  test("that the server has no more end the start, and the next page sends what waits", async () => {
    const browser = new Browser();
    const tab = await leaveWrite(browser);
    Object.assign(content, { failures: Infinity, isGone: true });
    const close = vi.spyOn(IDBDatabase.prototype, "close");
    await expect(tab.start()).rejects.toMatchObject({ name: "part_unavailable", temporary: true });
    expect(close).toHaveBeenCalledOnce();
    content.failures = 0;
    const client = await tab.openConnected();
    await until(() => client.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
  });

  test("are waited for no longer when the page gives its start up", async () => {
    content.failures = Infinity;
    const leaving = new AbortController();
    const starting = new Browser().tab().start({ signal: leaving.signal });
    starting.catch(() => undefined);
    await pass(60);
    leaving.abort(new Error("left"));
    await expect(starting).rejects.toThrow("left");
  });
});

describe("without the part that takes changes of the session", () => {
  test("a page is connected and writes, and says so once", async () => {
    changes.failures = Infinity;
    const browser = new Browser();
    const errors: string[] = [];
    const client = await browser.tab().open({ onError: ({ name }) => errors.push(name) });
    await until(() => client.status === "connected");
    await client.state.set("/x", 1);
    browser.server.drop();
    void client.state.set("/x", 2);
    await passUntil(() => client.status === "connected" && client.pending === 0);
    await pass(120);
    expect([browser.server.session.document("main").value, errors]).toEqual([{ x: 2 }, ["part_unavailable"]]);
  });

  test.each([
    ["whose session is in doubt", 4005, "detached"],
    ["whose token is over", 4001, "token_expired"],
    ["that the server has forgotten", 4508, "client_forgotten"],
  ])("a page %s waits for it before it connects", async (_, code, reason) => {
    changes.failures = Infinity;
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.bye(code);
    await pass(60);
    expect([client.status, client.connection.isConnected()]).toEqual(["reconnecting", false]);
    const unsent = record(client, "unsent");
    const written = client.state.set("/x", 1).catch(({ name }) => name);
    changes.failures = 0;
    await passUntil(() => client.status === "connected");
    if (reason === "client_forgotten") expect([await written, unsent.length]).toEqual(["client_forgotten", 1]);
    else expect((await written).version).toBe(1);
  });

  test("a sign of the page loads it again at once", async () => {
    changes.failures = Infinity;
    const tab = new Browser().tab();
    const client = await tab.openConnected();
    tab.browser.server.bye(4005);
    await pass(60);
    changes.failures = 0;
    await turns();
    expect(client.status).toBe("reconnecting");
    tab.page.window.dispatchEvent(new Event("online"));
    await until(() => client.status === "connected");
  });

  test("nobody is logged out, and the call says so; the next one loads it again", async () => {
    changes.failures = Infinity;
    const client = await new Browser().tab().openConnected();
    await expect(client.logout()).rejects.toMatchObject({ name: "part_unavailable", temporary: true });
    await expect(client.login()).rejects.toMatchObject({ name: "part_unavailable" });
    expect(client.id).not.toBe("");
    changes.failures = 0;
    const ended = record(client, "ended");
    await client.logout();
    expect(ended).toEqual([[{ reason: "logged_out" }]]);
  });

  test("a tab learns later that another has logged out, and connects in no way before", async () => {
    changes.failures = Infinity;
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const ended = record(client, "ended");
    void client.state.set("/x", 1);
    browser.server.drop();
    for (const name of listNames(browser.local)) browser.local.removeItem(name);
    const connects = browser.server.received.filter(({ type }) => type === "connect").length;
    await pass(60);
    expect(browser.server.received.filter(({ type }) => type === "connect")).toHaveLength(connects);
    changes.failures = 0;
    await passUntil(() => ended.length > 0);
    expect([client.state.get(), client.status]).toEqual([{}, "failed"]);
  });

  test("a client that is closed loads it no more", async () => {
    changes.failures = Infinity;
    const client = await new Browser().tab().openConnected();
    client.close();
    await turns();
    const { loads } = changes;
    await pass(120);
    expect([loads > 0, changes.loads]).toEqual([true, loads]);
  });
});

function listNames(store: MemoryStore): string[] {
  return Array.from({ length: store.length }, (_, at) => store.key(at) as string);
}
