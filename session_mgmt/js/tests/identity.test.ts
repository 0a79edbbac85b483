/** Whose session a page gets; the numbers are those of the scenarios in docs/topics/identity.md. */

import { describe, expect, test } from "vitest";
import { CLOSE } from "../src/codes";
import type { SessionClient } from "../src/index";
import { FakeLocks } from "../src/testing";
import { Browser, pass, passUntil, record, refusal, type Tab, turns, until, useFakeClock } from "./harness";

useFakeClock();

/** Everything that a browser keeps for all its tabs. */
function kept(browser: Browser, ...tabs: Tab[]): string {
  return [browser.local, ...tabs.map(({ storage }) => storage)]
    .flatMap((store) => Array.from({ length: store.length }, (_, at) => store.getItem(store.key(at) as string)))
    .join("\n");
}

function tellStorage(tab: Tab): void {
  tab.page.window.dispatchEvent(Object.assign(new Event("storage"), { key: null }));
}

function verdicts(client: SessionClient): Promise<unknown[]> {
  const seen = record(client, "identity");
  return turns().then(() => seen.map(([{ verdict, userId }]) => [verdict, userId]));
}

function entries(browser: Browser): number {
  return browser.server.requests.filter((line) => line.endsWith("/enter/")).length;
}

function refreshes(browser: Browser): number {
  return (
    browser.server.requests.filter((line) => line.endsWith("/refresh/")).length +
    browser.server.received.filter(({ type }) => type === "refresh").length
  );
}

describe("the next person of a browser (1, 2, 7)", () => {
  test.each([
    ["without `user`", {}, {}],
    ["with `user`", { user: 7 }, { user: 8 }],
  ])("gets another session, and nothing of the one before, %s", async (_, first, second) => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected({ ...first, cache: "indexeddb" });
    await before.state.set("/secret", "of seven");
    browser.server.cut();
    void before.state.set("/unsent", "of seven too");
    await turns();
    await tab.close(before);
    browser.server.mend();
    browser.server.login.user = "8";
    const after = await tab.open({ ...second, cache: "indexeddb", autoConnect: false });
    const unsent = record(after, "unsent");
    expect([after.info.userId, after.state.get(), after.pending]).toEqual(["8", {}, 0]);
    expect(await verdicts(after)).toEqual([["created", "8"]]);
    await after.connection.connect();
    await pass(1);
    expect([after.state.get(), unsent]).toEqual([{}, []]);
    expect(kept(browser, tab)).not.toContain("seven");
    expect(kept(browser, tab)).not.toContain(before.auth.token ?? "no token");
    expect(browser.server.sessions[0]?.state).toBe("terminated");
    expect(browser.server.received.filter(({ type }) => type === "update")).toHaveLength(1);
  });

  test("who is nobody gets a session of nobody's, once the login has been missed twice", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/secret", 1);
    await tab.close(before);
    browser.server.login.user = null;
    const after = await tab.openConnected();
    expect([after.info.userId, after.state.get()]).toEqual([null, {}]);
    expect(entries(browser)).toBe(3);
    await tab.close(after);
    browser.server.login.user = "7";
    expect((await tab.openConnected()).info.userId).toBe("7");
  });

  test("ends the tabs of the one before, which have nothing any more", async () => {
    const browser = new Browser();
    const [first, second] = [browser.tab(), browser.tab()];
    const client = await first.openConnected();
    const ended = record(client, "ended");
    await client.state.set("/secret", 1);
    browser.server.login.user = "8";
    const next = await second.openConnected();
    await until(() => client.status === "failed");
    expect([client.state.get(), ended.length, next.info.userId]).toEqual([{}, 1, "8"]);
    await pass(60);
    expect(browser.server.connected).toBe(1);
  });
});

test("whoever logs in on an open page does not go on where an earlier page was in a topic", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  const before = await tab.openConnected();
  before.topics.subscribe("news", () => undefined);
  await turns();
  browser.server.publish("news", "first");
  await turns();
  await tab.close(before);
  // Without a connection, nothing tells the page that the session of the one before has ended.
  const page = await tab.open({ autoConnect: false });
  browser.server.publish("news", "missed by seven");
  browser.server.login.user = "8";
  await page.login({ user: "8" });
  await until(() => page.status === "connected" && page.info.userId === "8");
  const heard: unknown[] = [];
  await page.topics.subscribe("news", (data) => void heard.push(data)).subscribed;
  browser.server.publish("news", "for eight");
  await turns();
  expect(heard).toEqual(["for eight"]);
});

describe("a visitor who logs in (3, 4, 6)", () => {
  test("keeps what he did in two tabs, with one call that claims", async () => {
    const browser = new Browser();
    browser.server.login.user = null;
    const tabs = [browser.tab(), browser.tab()];
    const before = await Promise.all(tabs.map((tab) => tab.openConnected()));
    await before[0]?.state.set("/cart", ["tea"]);
    await before[1]?.state.insert("/cart/-", "milk");
    browser.server.login.user = "7";
    await before[0]?.login();
    await pass(5);
    expect(before.map((client) => [client.info.userId, client.state.get("/cart"), client.status])).toEqual([
      ["7", ["tea", "milk"], "connected"],
      ["7", ["tea", "milk"], "connected"],
    ]);
    expect(browser.server.sessions).toHaveLength(1);
    expect(browser.server.session.tokens.access).toBe(before[1]?.auth.token);
    expect(entries(browser)).toBe(3);
  });

  test("loses no write of a tab that is offline meanwhile", async () => {
    const browser = new Browser();
    browser.server.login.user = null;
    const offline = await browser.tab().openConnected();
    const tab = browser.tab();
    const other = await tab.openConnected();
    offline.connection.disconnect();
    const { clientId } = offline;
    void offline.state.inc("/visits");
    browser.server.login.user = "7";
    await tab.close(other);
    await tab.openConnected();
    const unsent = record(offline, "unsent");
    await offline.connection.connect();
    await until(() => offline.pending === 0);
    expect(browser.server.session.document("main").value).toEqual({ visits: 1 });
    expect([offline.clientId, unsent]).toEqual([clientId, []]);
  });

  test.each([
    ["claim", "claimed"],
    ["fresh", "created"],
  ] as const)("is asked where the server wants that: %s", async (choice, verdict) => {
    const browser = new Browser();
    Object.assign(browser.server.login, { user: null, onLogin: "ask" });
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.state.set("/cart", 1);
    await tab.close(before);
    browser.server.login.user = "7";
    const asked: unknown[] = [];
    const after = await tab.openConnected({
      onAsk: (documents) => {
        asked.push(documents);
        return choice;
      },
    });
    expect(asked).toEqual([[{ name: "main", version: 1 }]]);
    expect(await verdicts(after)).toEqual([[verdict, "7"]]);
  });
});

test("a visitor's other tab follows a login that begins afresh, though it hears of the end first (9)", async () => {
  const browser = new Browser();
  Object.assign(browser.server.login, { user: null, onLogin: "fresh" });
  const tab = browser.tab();
  const other = await browser.tab().openConnected();
  await tab.close(await tab.openConnected());
  browser.server.login.user = "7";
  const held: (() => void)[] = [];
  const slow: typeof browser.server.fetch = async (url, init) => {
    const answer = await browser.server.fetch(url, init);
    await new Promise<void>((resolve) => held.push(resolve));
    return answer;
  };
  const starting = tab.start({ fetch: slow, autoConnect: false });
  await until(() => held.length === 1 && other.status !== "connected");
  held[0]?.();
  await turns();
  const client = await starting;
  await pass(3);
  expect([other.status, other.id, other.info.userId]).toEqual(["connected", client.id, "7"]);
  client.close();
});

describe("a page that was made for somebody else (44)", () => {
  test("is refused, and takes nothing away", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    browser.server.login.user = "8";
    await tab.close(await tab.openConnected());
    const before = kept(browser);
    expect(await refusal(browser.tab().open({ user: 7 }))).toBe("login_mismatch");
    expect(JSON.parse(kept(browser).split("\n")[0] as string)).toEqual(JSON.parse(before.split("\n")[0] as string));
  });
});

describe("a start without a network (45)", () => {
  async function reload(whenOffline: "wait" | "kept") {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected({ cache: "indexeddb" });
    await before.state.set("/secret", 1);
    await tab.close(before);
    browser.server.cut();
    return { browser, client: await tab.open({ cache: "indexeddb", whenOffline }) };
  }

  test("shows nothing of a user's session, and takes writes that wait", async () => {
    const { browser, client } = await reload("wait");
    expect([client.id, client.info.userId, client.state.get()]).toEqual(["", null, {}]);
    expect(() => client.auth.token).toThrow("who is logged in");
    void client.state.set("/more", 2);
    browser.server.mend();
    await pass(30);
    expect(client.state.get()).toEqual({ secret: 1, more: 2 });
  });

  test.each(["wait", "kept"] as const)("with %s sends nothing to the next person", async (whenOffline) => {
    const { browser, client } = await reload(whenOffline);
    expect(client.state.get()).toEqual(whenOffline === "kept" ? { secret: 1 } : {});
    const unsent = record(client, "unsent");
    void client.state.set("/more", 2);
    browser.server.login.user = "8";
    browser.server.mend();
    await pass(30);
    expect([client.state.get(), client.info.userId, client.status]).toEqual([{}, "8", "connected"]);
    expect(unsent.map(([writes]) => writes.length)).toEqual([1]);
    expect(browser.server.session.document("main").head).toBe(0);
  });
});

describe("a token of before (46)", () => {
  test("is replaced once", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await tab.close(before);
    const name = browser.local.key(0) as string;
    const { session, endpoints, token } = JSON.parse(browser.local.getItem(name) as string);
    browser.local.setItem(name, JSON.stringify({ session, endpoints, token }));
    browser.server.session.isLegacy = true;
    const after = await tab.openConnected();
    expect([after.id, after.clientId]).toEqual([before.id, before.clientId]);
    expect(browser.server.session.tokens.isKnown(token)).toBe(false);
    expect(JSON.parse(browser.local.getItem(name) as string).refresh).toMatch(/^smr_/);
  });
});

describe("tokens in time (33)", () => {
  test("are refreshed over the connection, once for two tabs, and both connections live on", async () => {
    const browser = new Browser();
    browser.server.settings = { heartbeat: { interval: 25, missed_limit: 3, deadline: 10_000 } };
    const clients = [await browser.tab().openConnected(), await browser.tab().openConnected()];
    const sockets = browser.server.sockets.length;
    await pass(730);
    expect(clients.map(({ status }) => status)).toEqual(["connected", "connected"]);
    expect(new Set(clients.map(({ auth }) => auth.token))).toEqual(new Set([browser.server.session.token]));
    expect(kept(browser)).toContain(browser.server.session.tokens.pair.refresh);
    expect(browser.server.sockets).toHaveLength(sockets);
    expect(browser.server.requests.filter((line) => line.endsWith("/refresh/"))).toEqual([]);
  });

  test.each([
    ["with locks", {}],
    ["without locks", { locks: null }],
  ])("are refreshed once by eight tabs that wake after 23 hours, %s", async (_, options) => {
    const browser = new Browser();
    const clients = await Promise.all(Array.from({ length: 8 }, () => browser.tab().openConnected(options)));
    for (const client of clients) client.connection.disconnect();
    await pass(23 * 3600);
    const before = refreshes(browser);
    for (const client of clients) void client.connection.connect();
    await pass(20);
    expect(clients.map(({ status }) => status)).toEqual(Array(8).fill("connected"));
    expect(refreshes(browser) - before).toBe(1);
  });

  test("are refreshed once, though a tab is refused whose connect was on its way with the old ones", async () => {
    const browser = new Browser();
    const [first, second] = [browser.tab(), browser.tab()];
    const held: (() => void)[] = [];
    let holds = false;
    class Slow extends browser.server.WebSocket {
      override send(text: string): void {
        const say = (): void => super.send(text);
        holds ? held.push(say) : say();
      }
    }
    const clients = [await first.openConnected(), await second.openConnected({ WebSocket: Slow })];
    for (const client of clients) client.connection.disconnect();
    holds = true;
    void clients[1]?.connection.connect();
    await until(() => held.length === 1);
    await pass(12);
    browser.server.session.tokens.expireAll();
    const before = refreshes(browser);
    void clients[0]?.connection.connect();
    await passUntil(() => clients[0]?.status === "connected");
    tellStorage(second);
    holds = false;
    for (const say of held) say();
    await passUntil(() => clients[1]?.status === "connected");
    expect(refreshes(browser) - before).toBe(1);
    expect(new Set(clients.map(({ auth }) => auth.token)).size).toBe(1);
  });

  test("give one successor to eight tabs that wake after the session has expired", async () => {
    const browser = new Browser();
    const clients = await Promise.all(Array.from({ length: 8 }, () => browser.tab().openConnected()));
    for (const client of clients) client.connection.disconnect();
    browser.server.session.state = "expired";
    await pass(25 * 3600);
    const reports = clients.map((client) => record(client, "identity"));
    await pass(1);
    reports.forEach((seen) => seen.splice(0));
    for (const client of clients) void client.connection.connect();
    await pass(20);
    expect(new Set(clients.map(({ id }) => id)).size).toBe(1);
    expect(browser.server.sessions).toHaveLength(2);
    expect(reports.flat().map(([{ verdict }]) => verdict)).toEqual(["recovered"]);
  });
});

describe("an answer that is lost", () => {
  test.each(["created", "claimed", "recovered", "refreshed"])("is asked for again: %s", async (what) => {
    const browser = new Browser();
    const tab = browser.tab();
    if (what === "claimed") browser.server.login.user = null;
    if (what !== "created") await tab.close(await tab.openConnected());
    if (what === "claimed") browser.server.login.user = "7";
    if (what === "recovered") browser.server.session.state = "expired";
    if (what === "refreshed") await pass(1000);
    browser.server.lostAnswers = 1;
    // This tab does not hear it; another one finds the nonce.
    const dying = new AbortController();
    const lost = tab.start({ autoConnect: false, signal: dying.signal }).then((client) => client.close());
    await pass(0.1);
    dying.abort();
    await refusal(lost);
    const client = await browser.tab().openConnected();
    expect(client.auth.token).toBe(browser.server.session.token);
    expect(browser.server.sessions).toHaveLength(what === "recovered" ? 2 : 1);
    expect(browser.server.sessions.at(-1)?.state).toBe("active");
  });
});

describe("a first visit in two tabs that cannot lock each other out", () => {
  test("is one session, whichever of them must ask twice", async () => {
    const browser = new Browser();
    Object.assign(browser.server.login, { user: null });
    const missing = { code: 207, name: "login_missing", temporary: true, retry_after: null, message: "" };
    const nonces: string[] = [];
    const fetch: typeof browser.server.fetch = async (url, init) => {
      if (!url.endsWith("/enter/")) return browser.server.fetch(url, init);
      nonces.push(JSON.parse(init?.body as string).nonce);
      return nonces.length === 1 ? new Response(JSON.stringify(missing), { status: 409 }) : browser.server.fetch(url, init);
    };
    const slow = browser.tab().start({ fetch, locks: new FakeLocks() });
    await until(() => nonces.length === 1);
    const quick = await browser.tab().openConnected();
    await pass(4);
    const second = await slow;
    expect([second.id, browser.server.sessions.length]).toEqual([quick.id, 1]);
    expect(nonces).toEqual([nonces[0], nonces[0]]);
    second.close();
  });
});

describe("a logout (15)", () => {
  test("leaves nothing, in this tab and in the others", async () => {
    const browser = new Browser();
    const [tab, other] = [browser.tab(), browser.tab()];
    const client = await tab.openConnected({ cache: "indexeddb" });
    const second = await other.openConnected({ cache: "indexeddb" });
    await client.state.set("/secret", 1);
    await until(() => second.state.version === 1);
    const ended = record(second, "ended");
    const leaving = client.logout();
    await pass(3);
    await leaving;
    expect([client.state.get(), second.state.get()]).toEqual([{}, {}]);
    expect([client.status, second.status]).toEqual(["failed", "failed"]);
    expect(ended).toHaveLength(1);
    expect(kept(browser, tab, other)).not.toMatch(/sm[ar]_|secret|position/);
    expect(browser.server.session.state).toBe("terminated");
  });

  test("is seen by tabs without a network, and by frozen ones when they wake", async () => {
    const browser = new Browser();
    const tabs = [browser.tab(), browser.tab(), browser.tab()];
    const clients = await Promise.all(tabs.map((tab) => tab.openConnected()));
    await clients[0]?.state.set("/secret", 1);
    await until(() => clients.every(({ state }) => state.version === 1));
    browser.server.cut();
    const leaving = clients[0]?.logout();
    await pass(5);
    await leaving;
    tellStorage(tabs[1] as Tab);
    const frozen = (tabs[2] as Tab).page.document;
    frozen.visibilityState = "hidden";
    frozen.dispatchEvent(new Event("resume"));
    expect(clients.map(({ status, state }) => [status, state.get()])).toEqual(Array(3).fill(["failed", {}]));
  });

  test("sends what waits first", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected({ sync: { mode: "delayed" } });
    void client.state.set("/a", 1);
    const leaving = client.logout();
    await pass(1);
    await leaving;
    expect(browser.server.session.document("main").value).toEqual({ a: 1 });
  });

  test("is followed by another session after a login without a page load", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    await client.state.set("/secret", 1);
    const leaving = client.logout();
    await pass(1);
    await leaving;
    browser.server.login.user = "8";
    await client.login();
    await until(() => client.status === "connected");
    expect([client.info.userId, client.state.get()]).toEqual(["8", {}]);
    await client.state.set("/mine", 1);
    expect(browser.server.session.document("main").value).toEqual({ mine: 1 });
  });
});

describe("a logout where tabs go on as nobody (17)", () => {
  async function openTwo() {
    const browser = new Browser();
    browser.server.login.onLogout = "anonymous";
    const other = browser.tab();
    const clients = [await browser.tab().openConnected({ user: 7 }), await other.openConnected()] as const;
    await clients[0].state.set("/secret", 1);
    const seen: unknown[] = [];
    clients[1].topics.subscribe("news", (data) => void seen.push(data));
    await until(() => clients[1].state.version === 1);
    await turns();
    const logOut = (): Promise<void> => {
      const leaving = clients[0].logout();
      tellStorage(other);
      return leaving;
    };
    return { browser, clients, seen, logOut, reports: clients.map((client) => record(client, "identity")) };
  }

  test("gives them one new and empty session, asks for their topics again, and tells it", async () => {
    const { browser, clients, seen, logOut, reports } = await openTwo();
    const { id } = clients[0];
    const ended = clients.map((client) => record(client, "ended"));
    const leaving = logOut();
    await pass(1);
    await leaving;
    // The project's own logout is still under way.
    expect(clients.map(({ status, state }) => [status, state.get()])).toEqual(Array(2).fill(["failed", {}]));
    browser.server.login.user = null;
    await pass(5);
    expect(clients.map(({ status, state, info }) => [status, state.get(), info.userId])).toEqual(
      Array(2).fill(["connected", {}, null]),
    );
    expect(browser.server.sessions.map(({ state, user }) => [state, user])).toEqual([
      ["terminated", "7"],
      ["active", null],
    ]);
    expect(clients.map((client) => client.id)).toEqual(Array(2).fill(browser.server.session.id));
    expect(browser.server.session.id).not.toBe(id);
    expect(reports.map((seen) => seen.at(-1)?.[0].userId)).toEqual([null, null]);
    expect(ended.map((told) => told.map(([{ reason }]) => reason))).toEqual(Array(2).fill(["logged_out"]));
    browser.server.publish("news", "for all");
    await clients[1].state.set("/mine", 1);
    await turns();
    expect([seen, clients[0].state.get()]).toEqual([["for all"], { mine: 1 }]);
  });

  test.each([
    ["a close without a reason", ({ server }: Browser) => server.terminate()],
    [
      "the refusal of the next connection",
      ({ server }: Browser) => {
        server.session.state = "terminated";
        server.drop();
      },
    ],
    [
      "the refusal to enter",
      ({ server }: Browser) => {
        Object.assign(server.login, { user: "7", isEnded: true });
        server.bye(CLOSE.LOGIN_CHECK);
      },
    ],
  ])("is heard of by %s as well", async (_, tell) => {
    const { browser, clients } = await openTwo();
    browser.server.login.user = null;
    tell(browser);
    await pass(10);
    // A late answer of the project's may still have the login's cookie.
    Object.assign(browser.server.login, { user: null, isEnded: false });
    await pass(10);
    expect(clients.map(({ status, state, info }) => [status, state.get(), info.userId])).toEqual(
      Array(2).fill(["connected", {}, null]),
    );
    expect(clients.map((client) => client.id)).toEqual(Array(2).fill(browser.server.session.id));
    expect(browser.server.sessions.filter(({ user }) => user === null)).toHaveLength(1);
  });

  test("is not what ends a session for another reason, nor a visitor's", async () => {
    const { browser, clients } = await openTwo();
    browser.server.login.user = null;
    browser.server.terminate("user_deactivated");
    await pass(60);
    expect(clients.map(({ status }) => status)).toEqual(["failed", "failed"]);
    const visitor = await browser.tab().openConnected();
    browser.server.terminate();
    await pass(60);
    expect([visitor.status, browser.server.sessions.length]).toEqual(["failed", 2]);
  });

  test("waits for a network", async () => {
    const { browser, clients, logOut } = await openTwo();
    const leaving = logOut();
    browser.server.login.user = null;
    browser.server.cut();
    await pass(60);
    await leaving;
    expect(clients[0].status).toBe("failed");
    browser.server.mend();
    await pass(60);
    expect(clients.map(({ status, info }) => [status, info.userId])).toEqual(Array(2).fill(["connected", null]));
  });

  test("takes nobody into the session of somebody who is still logged in", async () => {
    const { browser, clients, logOut } = await openTwo();
    const leaving = logOut();
    await pass(60);
    await leaving;
    expect(clients.map(({ status }) => status)).toEqual(["failed", "failed"]);
    expect(browser.server.sessions).toHaveLength(1);
    const before = entries(browser);
    await pass(600);
    expect(entries(browser)).toBe(before);
  });

  test("ends the attempts when the page is left, and when somebody logs in", async () => {
    const { browser, clients, logOut } = await openTwo();
    const leaving = logOut();
    await pass(1);
    await leaving;
    clients[1].close();
    browser.server.login.user = "8";
    await clients[0].login({ user: 8 });
    const before = entries(browser);
    await pass(60);
    expect([clients[0].info.userId, clients[0].status, entries(browser)]).toEqual(["8", "connected", before]);
  });

  test("leaves a tab away that the application keeps away", async () => {
    const { browser, clients, logOut } = await openTwo();
    clients[1].connection.disconnect();
    const leaving = logOut();
    browser.server.login.user = null;
    await pass(10);
    await leaving;
    expect(clients.map(({ status }) => status)).toEqual(["connected", "failed"]);
  });
});
