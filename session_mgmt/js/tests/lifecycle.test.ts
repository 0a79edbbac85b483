import { describe, expect, test } from "vitest";
import { CLOSE, CLOSE_NAMES } from "../src/codes";
import type { FakeSocket } from "../src/testing/socket";
import { Browser, pass, passUntil, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

describe("client_forgotten", () => {
  test("makes a new client, and gives what was not confirmed to the application", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { clientId } = client;
    const unsent = record(client, "unsent");
    const seen: unknown[] = [];
    client.topics.subscribe("t", (data) => void seen.push(data));
    await client.state.set("/a", 1);
    browser.server.swallowReceipts = true;
    const lost = client.topics.publish("chat", "hello");
    await turns();
    browser.server.swallowReceipts = false;
    browser.server.forgetClients();
    await turns();
    browser.server.publish("t", "meanwhile");
    await pass(2);
    expect(await refusal(lost)).toBe("client_forgotten");
    const write = { type: "publish", topic: "chat", data: "hello" };
    expect(unsent).toEqual([[[{ seq: 2, write }], "client_forgotten"]]);
    expect(client.clientId).not.toBe(clientId);
    expect(seen).toEqual(["meanwhile"]);
    await client.state.set("/b", 2);
    expect(browser.server.received.at(-1)?.seq).toBe(1);
    expect(client.state.get()).toEqual({ a: 1, b: 2 });
  });
});

describe("session_expired", () => {
  test("gets a successor, keeps subscriptions, and gives unsent writes to the application", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    const old = client.id;
    const unsent = record(client, "unsent");
    const receipts = record(client, "recovery");
    const seen: unknown[] = [];
    client.topics.subscribe("t", (data) => void seen.push(data));
    await client.state.set("/a", 1);
    client.connection.disconnect();
    void client.state.set("/b", 2);
    browser.server.session.state = "expired";
    browser.server.publish("t", "missed");
    void client.connection.connect();
    await pass(3);
    expect(client.status).toBe("connected");
    expect(client.id).not.toBe(old);
    expect(unsent.map(([writes, reason]) => [writes.length, reason])).toEqual([[1, "session_expired"]]);
    expect(receipts.map(([{ reason, verdict }]) => [reason, verdict])).toEqual([["session_expired", "state_only"]]);
    expect(seen).toEqual(["missed"]);
    expect(client.state.get()).toEqual({ a: 1 });
    await client.state.set("/c", 3);
    await tab.close(client);
    expect((await tab.open()).id).toBe(client.id);
  });

  test("gets a successor that goes on where an earlier page was in a topic", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    await before.topics.subscribe("t", () => undefined).subscribed;
    await tab.close(before);
    browser.server.publish("t", "missed");
    const client = await tab.openConnected();
    browser.server.expire();
    await passUntil(() => client.status === "connected" && client.id !== before.id);
    const seen: unknown[] = [];
    await client.topics.subscribe("t", (data) => void seen.push(data)).subscribed;
    await turns();
    expect(seen).toEqual(["missed"]);
  });

  test("in two tabs gets one successor", async () => {
    const browser = new Browser();
    const first = await browser.tab().openConnected();
    const second = await browser.tab().openConnected();
    browser.server.expire();
    await pass(5);
    expect(browser.server.sessions).toHaveLength(2);
    expect(first.id).toBe(second.id);
    expect([first.status, second.status]).toEqual(["connected", "connected"]);
  });

  test("without a successor goes on in a new session", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const old = client.id;
    await client.state.set("/a", 1);
    browser.server.session.isRecoverable = false;
    browser.server.expire();
    await pass(3);
    expect([client.status, client.state.get()]).toEqual(["connected", {}]);
    expect(client.id).not.toBe(old);
  });

  test("asks again while the server does not answer", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.offline = true;
    browser.server.expire();
    await pass(3);
    expect(client.status).toBe("reconnecting");
    browser.server.offline = false;
    await pass(20);
    expect(client.status).toBe("connected");
  });
});

describe("a token that has expired", () => {
  test("is treated as its session: the tab goes on in the successor", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const old = client.id;
    browser.server.session.state = "expired";
    browser.server.bye(CLOSE.TOKEN_EXPIRED);
    await pass(3);
    expect(client.status).toBe("connected");
    expect(client.id).not.toBe(old);
  });

  test("is told as an error only where the refusal of a connection is its end", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const errors = record(client, "error");
    const named = () => errors.map(([{ name }]) => name);
    for (const expire of [
      () => browser.server.session.tokens.expireAll(),
      () => Object.assign(browser.server.session, { state: "expired" }),
    ]) {
      expire();
      browser.server.drop();
      await passUntil(() => client.status === "connected");
      expect(named()).toEqual([]);
    }
    browser.server.network.sockets = "swallowed";
    browser.server.drop();
    await passUntil(() => client.status === "reconnecting" && browser.server.sockets.at(-1)?.open === true);
    const socket = browser.server.sockets.at(-1) as FakeSocket;
    socket.cut = false;
    const name = "origin_denied";
    socket.deliver({ type: "error", code: 204, name, message: "Not from here.", temporary: false });
    socket.deliver({ type: "bye", code: 4509, name, reconnect: false, retry_after: null });
    await until(() => client.status === "failed");
    expect(named()).toEqual([name]);
  });

  test("is exchanged for the next one: nothing else changes", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { id, clientId } = client;
    browser.server.bye(CLOSE.TOKEN_EXPIRED);
    await pass(3);
    expect([client.status, client.id, client.clientId]).toEqual(["connected", id, clientId]);
    expect(browser.server.requests.at(-1)).toBe("POST /api/tokens/refresh/");
  });

  test("and whose login is gone ends the client instead of being tried for ever", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const told = record(client, "auth_required");
    const unsent = record(client, "unsent");
    browser.server.refuse({ name: "busy", temporary: true, retry_after: 60 });
    const waiting = expect(client.state.set("/a", 1)).rejects.toMatchObject({ name: "auth_required" });
    Object.assign(browser.server.login, { user: null, anonymous: false });
    browser.server.bye(CLOSE.TOKEN_EXPIRED);
    await pass(60);
    await waiting;
    expect(client.status).toBe("failed");
    expect(told).toHaveLength(1);
    expect(unsent.map(([writes, reason]) => [writes.length, reason])).toEqual([[1, "auth_required"]]);
    await expect(client.state.set("/b", 1)).rejects.toMatchObject({ name: "auth_required" });
  });
});

describe("a session that is no more", () => {
  test("terminated: fails, tells it once, and the next start creates another", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    const terminated = record(client, "session_terminated");
    const unsent = record(client, "unsent");
    browser.server.refuse({ name: "busy", temporary: true, retry_after: 60 });
    void client.state.set("/a", 1);
    await turns();
    browser.server.event("session_terminated", { by: "admin" });
    browser.server.terminate();
    await pass(60);
    expect(client.status).toBe("failed");
    expect(terminated).toHaveLength(1);
    expect(unsent.map(([, reason]) => reason)).toEqual(["session_terminated"]);
    expect(browser.server.sockets).toHaveLength(1);
    await tab.close(client);
    expect((await tab.openConnected()).id).not.toBe(client.id);
  });

  test("invalid token of a login that was ended: fails and says that a login is needed", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const required: unknown[] = [];
    client.auth.onAuthRequired((data) => void required.push(data));
    browser.server.login.isEnded = true;
    browser.server.bye(4501);
    await pass(60);
    expect(client.status).toBe("failed");
    expect(required).toEqual([{ reason: "login_ended" }]);
  });

  test("invalid token: takes the session that another tab has got in the meantime", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const key = browser.local.key(0) as string;
    const kept = JSON.parse(browser.local.getItem(key) as string);
    await browser.tab().open({ name: "other" });
    const other = browser.server.session;
    browser.local.setItem(key, JSON.stringify({ ...kept, session: other.fields(), token: other.token }));
    browser.server.bye(4501);
    await pass(3);
    expect(client.status).toBe("connected");
    expect(client.id).toBe(other.id);
  });

  test("a record of an earlier session gives its writes to the application of the next start", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const before = await tab.openConnected();
    before.connection.disconnect();
    void before.send("for the old session");
    await tab.close(before);
    browser.local.removeItem(browser.local.key(0) as string);
    const after = await tab.open({ autoConnect: false });
    const unsent = record(after, "unsent");
    await pass(0.1);
    expect(unsent).toEqual([[[{ seq: 1, write: { type: "send", data: "for the old session" } }], "session_changed"]]);
    expect(after.pending).toBe(0);
  });

  test("a write that breaks the protocol does not end the next page's connection too", async () => {
    const browser = new Browser();
    const tab = browser.tab();
    const client = await tab.openConnected();
    const unsent = record(client, "unsent");
    browser.server.swallowReceipts = true;
    void client.send("poison");
    await turns();
    browser.server.bye(4500);
    await turns();
    expect(client.status).toBe("failed");
    expect(unsent.map(([, reason]) => reason)).toEqual(["invalid_frame"]);
    await tab.close(client);
    const next = await tab.openConnected();
    await until(() => next.status === "connected");
    expect(next.pending).toBe(0);
  });
});

describe("a connection that has failed", () => {
  test.each([4503, 4506, 4509])("by code %d leaves no promise open", async (code) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.swallowReceipts = true;
    const before = refusal(client.state.set("/a", 1));
    await turns();
    browser.server.bye(code);
    await pass(1);
    expect(client.status).toBe("failed");
    const name = CLOSE_NAMES[code];
    expect(await before).toBe(name);
    expect(await refusal(client.state.set("/b", 1))).toBe(name);
    expect(await refusal(client.send("x"))).toBe(name);
    expect(await refusal(client.topics.publish("t", 1))).toBe(name);
    expect(client.state.get("/b")).toBeUndefined();
  });

  test("takes writes again when it comes back, and sends those that waited", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.refuse({ name: "busy", temporary: true, retry_after: 60 });
    const before = refusal(client.state.set("/a", 1));
    await turns();
    browser.server.bye(4506);
    await pass(1);
    expect(await before).toBe("unsupported_version");
    expect(client.pending).toBe(1);
    await client.connection.connect();
    await client.state.set("/b", 2);
    expect(browser.server.session.document("main").value).toEqual({ a: 1, b: 2 });
  });
});

describe("a first start without a network", () => {
  test("ends with its signal, and tells what it waits for", async () => {
    const browser = new Browser();
    browser.server.offline = true;
    const abort = new AbortController();
    const heard: string[] = [];
    const onError = (error: Error): void => void heard.push(error.name);
    const started = browser.tab().start({ signal: abort.signal, onError });
    await pass(3);
    expect(heard).toContain("network_error");
    abort.abort();
    expect(await refusal(started)).toBe("AbortError");
    const requests = browser.server.requests.length;
    await pass(60);
    expect(browser.server.requests).toHaveLength(requests);
  });

  test("ends with its signal while another tab holds the start", async () => {
    const browser = new Browser();
    browser.server.offline = true;
    const first = refusal(browser.tab().start());
    await turns();
    const abort = new AbortController();
    const second = browser.tab().start({ signal: abort.signal });
    await turns();
    abort.abort();
    expect(await refusal(second)).toBe("AbortError");
    browser.server.offline = false;
    await pass(120);
    expect(await first).toBe("resolved");
  });

  test("tells errors of the start to who comes later", async () => {
    const client = await new Browser().tab().open({ share: "tab", cache: "indexeddb", autoConnect: false });
    await pass(10);
    const errors = record(client, "error");
    await turns();
    expect(errors.map(([{ name }]) => name)).toEqual(["cache_unavailable"]);
  });
});

describe("the session manager", () => {
  test("has a call for every operation of a session manager", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { sessions } = client;
    expect((await sessions.getSession()).sessionId).toBe(client.id);
    expect((await sessions.updateSession({ metadata: { a: 1 } })).state).toBe("active");
    expect(await sessions.validateSession("shop.view")).toEqual({ valid: true, reason: null });
    expect(await client.auth.validate()).toEqual({ valid: true, reason: null });
    expect((await sessions.getActiveSessions()).map(({ sessionId }) => sessionId)).toEqual([client.id]);
    expect((await sessions.createSession()).session.sessionId).not.toBe(client.id);
    await sessions.getSessionMetrics();
    expect((await sessions.recoverSession(client.id)).token).toMatch(/^sma_/);
    await client.state.persistState();
    await client.state.restoreState();
    await client.state.compressState();
    expect(browser.server.requests.slice(-3).map((line) => line.split("/").slice(-3, -1).join("/"))).toEqual([
      "main/persist",
      "main/restore",
      "main/compress",
    ]);
  });

  test("rejects with the server's error", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.sessions.length = 0;
    await expect(client.sessions.getSession()).rejects.toMatchObject({ name: "invalid_token", code: 200 });
    browser.server.offline = true;
    await expect(client.sessions.getSession()).rejects.toMatchObject({ name: "network_error", temporary: true });
  });
});
