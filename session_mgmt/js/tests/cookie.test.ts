/** Pages that hold no secret: a cookie that no script can read proves their session. */

import { describe, expect, test } from "vitest";
import type { StartOptions } from "../src/index";
import { CLOSE } from "../src/codes";
import { Browser, pass, passUntil, record, refusal, type Tab, turns, until, useFakeClock } from "./harness";

useFakeClock();

const SECRET = /sm[acr]_\d/;
// A server that says nothing for a long time is no reason to connect again.
const PATIENT = { heartbeat: { interval: 25, missed_limit: 3, deadline: 100_000 } };
const COOKIE: StartOptions = { tokenMode: "cookie" };

function openBrowser(): Browser {
  const browser = new Browser();
  browser.server.login.tokenMode = "cookie";
  return browser;
}

/** Everything that scripts find in the storages of a browser. */
async function readKept(browser: Browser, ...tabs: Tab[]): Promise<string> {
  const words = [browser.local, ...tabs.map(({ storage }) => storage)].flatMap((store) =>
    Array.from({ length: store.length }, (_, at) => store.getItem(store.key(at) as string)),
  );
  for (const { name } of await browser.databases.databases()) {
    const opening = browser.databases.open(name as string);
    await new Promise((resolve) => (opening.onsuccess = resolve));
    for (const store of opening.result.objectStoreNames) {
      const all = opening.result.transaction(store).objectStore(store).getAll();
      await new Promise((resolve) => (all.onsuccess = resolve));
      words.push(JSON.stringify(all.result));
    }
    opening.result.close();
  }
  return words.join("\n");
}

function entries(browser: Browser): number {
  return browser.server.requests.filter((line) => line.endsWith("/enter/")).length;
}

/** Put the cookie of a new session into the browser, as if another page had just entered and not yet stored it. */
async function replaceCookie(browser: Browser): Promise<void> {
  browser.server.session.state = "terminated";
  const elsewhere = await new Browser(browser.server).tab().openConnected(COOKIE);
  elsewhere.close();
  await turns();
}

describe("a page without a token", () => {
  test("keeps none, sends none, and has none to show", async () => {
    const browser = openBrowser();
    const tab = browser.tab();
    const sent: Headers[] = [];
    const fetch: typeof browser.server.fetch = (url, init) => {
      sent.push(new Headers(init?.headers));
      return browser.server.fetch(url, init);
    };
    const client = await tab.openConnected({ ...COOKIE, cache: "indexeddb", fetch });
    await client.state.set("/cart", ["tea"]);
    await client.sessions.updateSession({ label: "kitchen" });
    await pass(1);
    expect(browser.server.session.document("main").value).toEqual({ cart: ["tea"] });
    expect(browser.server.jar.find(null)).toMatch(SECRET);
    expect(await readKept(browser, tab)).not.toMatch(SECRET);
    expect(JSON.stringify([client, client.auth, client.info, browser.server.received])).not.toMatch(SECRET);
    expect(browser.server.received.map(({ token }) => token)).toEqual(browser.server.received.map(() => undefined));
    expect(sent.some((headers) => headers.has("Authorization"))).toBe(false);
    expect(() => client.auth.token).toThrow("no script can read it");
    expect(client.auth.headers()).toEqual({ "X-CSRFToken": browser.server.jar.csrf });
  });

  test("goes on after a reload, without a question if it knows its user", async () => {
    const browser = openBrowser();
    const tab = browser.tab();
    const before = await tab.openConnected({ ...COOKIE, user: 7 });
    await before.state.set("/a", 1);
    await tab.close(before);
    const after = await tab.openConnected({ ...COOKIE, user: 7 });
    await until(() => after.state.version === 1);
    expect([after.id, after.clientId, entries(browser)]).toEqual([before.id, before.clientId, 1]);
    await tab.close(after);
    await tab.openConnected(COOKIE);
    expect(entries(browser)).toBe(2);
  });

  test("does not ask for a visitor's login again and again", async () => {
    const browser = openBrowser();
    browser.server.login.user = null;
    browser.server.settings = PATIENT;
    const client = await browser.tab().openConnected(COOKIE);
    await pass(23 * 3600);
    expect([client.status, entries(browser)]).toEqual(["connected", 1]);
  });

  test("has another session under another name", async () => {
    const browser = openBrowser();
    const first = await browser.tab().openConnected(COOKIE);
    const second = await browser.tab().openConnected({ ...COOKIE, name: "support" });
    await second.state.set("/a", 1);
    await second.sessions.updateSession({ label: "desk" });
    expect(second.id).not.toBe(first.id);
    expect(browser.server.jar.find("support")).not.toBe(browser.server.jar.find(null));
    expect(second.auth.headers()["X-Session-Name"]).toBe("support");
  });

  test("is refused a session of one tab, which the cookie is not", async () => {
    expect(await refusal(openBrowser().tab().open({ ...COOKIE, share: "tab" }))).toBe("invalid_option");
  });

  test.each([
    ["cookie", "bearer"],
    ["bearer", "cookie"],
  ] as const)("is told that it says %s where the server says %s, and keeps nothing", async (tokenMode, mode) => {
    const browser = new Browser();
    browser.server.login.tokenMode = mode;
    const failure = await browser.tab().open({ tokenMode }).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: "wrong_token_mode", message: expect.stringContaining(`tokenMode "${mode}"`) });
    expect(await readKept(browser)).not.toMatch(SECRET);
  });

  test("puts a cookie in the place of the pair that it kept before, and leaves none in a tab", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const alone = await tab.openConnected({ share: "tab" });
    await tab.close(alone);
    const before = await tab.openConnected();
    await tab.close(before);
    expect((await readKept(browser, tab)).match(new RegExp(SECRET, "g"))?.length).toBeGreaterThan(2);
    browser.server.login.tokenMode = "cookie";
    const after = await tab.openConnected(COOKIE);
    expect([after.id, after.clientId]).toEqual([before.id, before.clientId]);
    expect(await readKept(browser, tab)).not.toMatch(SECRET);
  });
});

describe("a page that does not say how its session is proved", () => {
  test.each([
    ["a user", "7"],
    ["nobody", null],
  ])("keeps no secret where the server has a cookie for it, of %s", async (_, user) => {
    const browser = openBrowser();
    browser.server.login.user = user;
    const tab = browser.tab();
    const before = await tab.openConnected({ name: "support" });
    await before.state.set("/a", 1);
    await before.sessions.updateSession({ label: "desk" });
    await tab.close(before);
    const after = await tab.openConnected({ name: "support", user });
    await until(() => after.state.version === 1);
    expect([after.id, entries(browser)]).toEqual([before.id, 2]);
    expect(browser.server.jar.find("support")).toMatch(SECRET);
    expect(browser.server.jar.find(null)).toBeUndefined();
    expect(await readKept(browser, tab)).not.toMatch(SECRET);
    expect(browser.server.received.map(({ token }) => token)).not.toContainEqual(expect.anything());
  });

  test.each([
    ["cookie", "bearer"],
    ["bearer", "cookie"],
  ] as const)("goes on, with all it has written, after the server has changed from %s to %s", async (from, to) => {
    const browser = new Browser();
    browser.server.login.tokenMode = from;
    const tabs = [browser.tab(), browser.tab(), browser.tab()];
    const clients = await Promise.all(tabs.map((tab) => tab.openConnected()));
    const unsent = clients.map((client) => record(client, "unsent"));
    browser.server.login.tokenMode = to;
    const sockets = browser.server.sockets.length;
    for (const client of clients) void client.state.inc("/n");
    browser.server.drop();
    await pass(20);
    expect(clients.map(({ status }) => status)).toEqual(Array(3).fill("connected"));
    // An attempt with the proof of before, and one with the next.
    expect(browser.server.sockets.length - sockets).toBeLessThanOrEqual(6);
    // A cookie that counts no more proves nothing to the fake server, which knows no logins.
    const isSame = to === "cookie";
    expect([new Set(clients.map(({ id }) => id)).size, unsent.flat().length]).toEqual([1, isSame ? 0 : 3]);
    if (isSame) expect(browser.server.session.document("main").value).toEqual({ n: 3 });
    const kept = await readKept(browser, ...tabs);
    if (isSame) expect(kept).not.toMatch(SECRET);
    expect(kept).not.toMatch(isSame ? /"(refresh|from|loginDue)"/ : /"turn"/);
    await clients[0]?.state.set("/m", 1);
    expect(browser.server.session.document("main").value).toHaveProperty("m", 1);
  });

  test("is refused a session of one tab by a server that has a cookie for all", async () => {
    expect(await refusal(openBrowser().tab().open({ share: "tab" }))).toBe("wrong_token_mode");
  });

  test("that wants tokens ends once, and keeps what it has, when the server changes to a cookie", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected({ tokenMode: "bearer" });
    const told = record(client, "error");
    browser.server.login.tokenMode = "cookie";
    const sockets = browser.server.sockets.length;
    browser.server.drop();
    await pass(600);
    // One call at the start, and one that is sent again with the token against forgery.
    expect([client.status, browser.server.sockets.length - sockets, entries(browser)]).toEqual(["failed", 1, 3]);
    expect(told.map(([{ name }]) => name)).toEqual(["wrong_token_mode"]);
  });
});

describe("a cookie in time", () => {
  test("is renewed by one of two tabs before the login is due, and nothing is lost when the sockets end", async () => {
    const browser = openBrowser();
    browser.server.settings = PATIENT;
    const clients = [await browser.tab().openConnected(COOKIE), await browser.tab().openConnected(COOKIE)];
    const first = browser.server.jar.find(null);
    await pass(850);
    expect([entries(browser), clients.map(({ status }) => status)]).toEqual([3, ["connected", "connected"]]);
    expect(browser.server.jar.find(null)).not.toBe(first);
    const sockets = browser.server.sockets.length;
    browser.server.bye(CLOSE.TOKEN_EXPIRED);
    void clients[0]?.state.set("/a", 1);
    await pass(5);
    expect(clients.map(({ status }) => status)).toEqual(["connected", "connected"]);
    expect(browser.server.sockets).toHaveLength(sockets + 2);
    expect(entries(browser)).toBe(3);
    expect(browser.server.session.document("main").value).toEqual({ a: 1 });
  });

  test.each([
    ["with locks", {}],
    ["without locks", { locks: null }],
  ])("that is over is renewed once for four tabs that wake, %s", async (_, options) => {
    const browser = openBrowser();
    const opening = Array.from({ length: 4 }, () => browser.tab().openConnected({ ...COOKIE, ...options }));
    const clients = await Promise.all(opening);
    for (const client of clients) client.connection.disconnect();
    await pass(20 * 3600);
    const before = entries(browser);
    for (const client of clients) {
      void client.state.inc("/n");
      void client.connection.connect();
    }
    await pass(20);
    expect(clients.map(({ status }) => status)).toEqual(Array(4).fill("connected"));
    expect([entries(browser) - before, browser.server.session.document("main").value]).toEqual([1, { n: 4 }]);
  });

  test("keeps a claim whose answer was lost (41)", async () => {
    const browser = openBrowser();
    browser.server.login.user = null;
    const client = await browser.tab().openConnected(COOKIE);
    await client.state.set("/cart", 1);
    browser.server.login.user = "7";
    browser.server.lostAnswers = 1;
    expect(await refusal(client.login())).toBe("network_error");
    await client.login();
    await passUntil(() => client.status === "connected");
    expect([client.info.userId, client.state.get("/cart"), browser.server.sessions.length]).toEqual(["7", 1, 1]);
  });
});

describe("a call beside the cookie", () => {
  test("is sent again with the token against forgery that a login has changed", async () => {
    const browser = openBrowser();
    const client = await browser.tab().openConnected(COOKIE);
    browser.server.jar.csrf = "another";
    await client.sessions.updateSession({ label: "kitchen" });
    expect(browser.server.requests.slice(-3)).toEqual([
      `PATCH /api/sessions/${client.id}/`,
      "GET /api/login/",
      `PATCH /api/sessions/${client.id}/`,
    ]);
    browser.server.jar.isForged = () => true;
    expect(await refusal(client.sessions.updateSession({ label: "bath" }))).toBe("permission_denied");
  });

  test("leaves the project's own proof of the login to the calls that ask for it", async () => {
    const browser = openBrowser();
    const calls: [string, string | null][] = [];
    const fetch: typeof browser.server.fetch = (url, init) => {
      calls.push([new URL(url).pathname, new Headers(init?.headers).get("Authorization")]);
      return browser.server.fetch(url, init);
    };
    const headers = (): Record<string, string> => ({ authorization: "JWT of-the-project" });
    const client = await browser.tab().openConnected({ ...COOKIE, fetch, headers });
    await client.sessions.getSession();
    expect(calls.find(([path]) => path.endsWith("/enter/"))?.[1]).toBe("JWT of-the-project");
    expect(calls.at(-1)).toEqual([`/api/sessions/${client.id}/`, null]);
  });

  test("ends the session at a logout, in every tab", async () => {
    const browser = openBrowser();
    const tabs = [browser.tab(), browser.tab()];
    const clients = await Promise.all(tabs.map((tab) => tab.openConnected({ ...COOKIE, cache: "indexeddb" })));
    await clients[0]?.state.set("/secret", 1);
    await until(() => clients[1]?.state.version === 1);
    const id = browser.server.session.id;
    expect(await readKept(browser, ...tabs)).toContain(id);
    const leaving = clients[0]?.logout();
    await pass(3);
    await leaving;
    expect(clients.map(({ status, state }) => [status, state.get()])).toEqual(Array(2).fill(["failed", {}]));
    expect(browser.server.session.state).toBe("terminated");
    const kept = await readKept(browser, ...tabs);
    expect(kept).not.toMatch(/secret|position|session_id/);
    expect(kept).not.toContain(id);
  });
});

describe("a cookie that is newer than what a tab has read", () => {
  test("gives its session none of the tab's writes", async () => {
    const browser = openBrowser();
    const client = await browser.tab().open({ ...COOKIE, autoConnect: false });
    const unsent = record(client, "unsent");
    void client.state.set("/a", "of the session before");
    await replaceCookie(browser);
    void client.connection.connect();
    await pass(5);
    expect([client.status, client.id]).toEqual(["connected", browser.server.session.id]);
    expect(unsent.map(([writes]) => writes.length)).toEqual([1]);
    expect(browser.server.session.document("main").head).toBe(0);
    await client.state.set("/b", 1);
    expect(browser.server.session.document("main").value).toEqual({ b: 1 });
  });

  test("gives its session none of a closed tab's writes", async () => {
    const browser = openBrowser();
    browser.server.settings = PATIENT;
    const tab = browser.tab();
    const living = await browser.tab().openConnected(COOKIE);
    const closing = await tab.open({ ...COOKIE, autoConnect: false });
    void closing.state.set("/a", "of the session before");
    await turns();
    await replaceCookie(browser);
    await tab.close(closing);
    const sockets = browser.server.sockets.length;
    await pass(301);
    await turns(100);
    expect(browser.server.sockets.length).toBeGreaterThan(sockets);
    expect(browser.server.session.document("main").head).toBe(0);
    expect(living.pending).toBe(1);
  });

  test("of another person shows that person's session nothing, and this tab's nobody", async () => {
    const browser = openBrowser();
    const client = await browser.tab().openConnected(COOKIE);
    await client.state.set("/secret", "of seven");
    client.connection.disconnect();
    const unsent = record(client, "unsent");
    void client.state.set("/more", "of seven");
    browser.server.login.user = "8";
    await replaceCookie(browser);
    void client.connection.connect();
    await pass(10);
    expect([client.info.userId, client.state.get(), unsent.length]).toEqual(["8", {}, 1]);
    expect(browser.server.session.document("main").head).toBe(0);
  });
});
