/** Redirects of a portal or of another site: no call follows one, and none says anything about the session. */

import { expect, test } from "vitest";
import type { SessionClient } from "../src/index";
import { Browser, pass, passUntil, refusal, useFakeClock } from "./harness";

useFakeClock();

type Answer = () => Response;

/** A redirect as a browser shows it that was told not to follow, and as Node does; the portal's JSON looks like ours. */
const REDIRECTS: [who: string, answer: Answer][] = [
  ["a browser", () => Response.error()],
  ["Node", () => redirect()],
];

function redirect(): Response {
  const body = JSON.stringify({ code: 210, name: "session_terminated", temporary: false, csrf: "of the portal" });
  return new Response(body, { status: 307, headers: { Location: "https://portal.test/", "Content-Type": "application/json" } });
}

/** Browser whose server can be hidden behind a portal that redirects; what follows a redirect lands in `elsewhere`. */
class Hidden {
  readonly browser = new Browser();
  /** Paths whose calls are redirected. */
  hides: (path: string) => boolean = () => false;
  readonly redirected: string[] = [];
  readonly elsewhere: [url: string, headers: Headers][] = [];

  constructor(readonly answer: Answer) {}

  readonly fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const { pathname } = new URL(url);
    if (!this.hides(pathname)) return this.browser.server.fetch(url, init);
    this.redirected.push(`${init.method} ${pathname.slice("/api/".length)}`);
    if (init.redirect === "manual") return this.answer();
    this.elsewhere.push([url, new Headers(init.headers)]);
    return new Response(JSON.stringify({ results: [], ok: true }));
  };
}

const CALLS: Record<string, (client: SessionClient) => Promise<unknown>> = {
  "GET state/": (client) => client.documents(),
  "GET state/main/": ({ state }) => state.info(),
  "GET state/main/size/": ({ state }) => state.sizes(),
  "GET state/main/history/": ({ state }) => state.history(),
  "GET state/main/history/1/": ({ state }) => state.readAt(1),
  "GET state/main/diff/": ({ state }) => state.diff(1),
  "GET state/main/persist/": ({ state }) => state.checkpoints(),
  "GET state/main/conflicts/": ({ state }) => state.conflicts(),
  "POST state/main/persist/": ({ state }) => state.persist("before the sale"),
  "POST state/main/restore/": ({ state }) => state.restore(1),
  "POST state/main/compress/": ({ state }) => state.compress(),
  "POST state/main/sync/": ({ state }) => state.sync(),
  "POST state/main/conflicts/1/resolve/": ({ state }) => state.resolve("1", "server"),
  "DELETE state/main/persist/old/": ({ state }) => state.forget("old"),
  "GET sessions/": ({ sessions }) => sessions.getActiveSessions(),
  "POST sessions/": ({ sessions }) => sessions.createSession(),
  "GET": ({ sessions }) => sessions.getSession(),
  "PATCH": ({ sessions }) => sessions.updateSession({ label: "till" }),
  "DELETE": ({ sessions }) => sessions.terminateSession(),
  "POST validate/": ({ sessions }) => sessions.validateSession(),
  "POST recover/": ({ sessions }) => sessions.recoverSession(),
  "GET metrics/": ({ sessions }) => sessions.getSessionMetrics(),
  "GET connections/": ({ sessions }) => sessions.getConnections(),
  "GET devices/": ({ sessions }) => sessions.list(),
  "DELETE devices/": ({ sessions }) => sessions.endOthers(),
  "DELETE devices/session-9/": ({ sessions }) => sessions.end("session-9"),
  "POST tokens/narrow/": ({ auth }) => auth.narrow(["read"]),
  "POST sessions/enter/": (client) => client.login({ user: 7 }),
};

test.each(REDIRECTS)("each kind of call is refused for now, as %s shows a redirect", async (_, answer) => {
  const hidden = new Hidden(answer);
  const client = await hidden.browser.tab().openConnected({ fetch: hidden.fetch });
  const { id } = client;
  const { token } = client.auth;
  const own = `sessions/${id}/`;
  hidden.hides = () => true;
  for (const [name, call] of Object.entries(CALLS)) {
    hidden.redirected.length = 0;
    await expect(call(client), name).rejects.toMatchObject({
      name: "not_our_server",
      temporary: true,
      retryAfter: 15,
      message: expect.stringMatching(/^A portal or another site answers at http:\/\/shop\.test\/api\/.* \((307|a redirect)\)/),
    });
    // No call is made again in place of the one that was redirected.
    expect(hidden.redirected.map((each) => each.replace(own, "").replace(/\?.*/, "").trim())).toEqual([name]);
  }
  expect(hidden.elsewhere).toEqual([]);
  expect([client.id, client.auth.token, client.status]).toEqual([id, token, "connected"]);
  hidden.hides = () => false;
  expect(await client.state.sync().then(() => "synced")).toBe("synced");
});

test.each(REDIRECTS)("tokens are exchanged when it has gone, and nothing was cleared, as %s shows it", async (_, answer) => {
  const hidden = new Hidden(answer);
  const client = await hidden.browser.tab().openConnected({ fetch: hidden.fetch });
  const { id } = client;
  const { token } = client.auth;
  hidden.hides = () => true;
  client.connection.disconnect();
  await pass(3600);
  void client.connection.connect();
  await pass(20);
  expect(hidden.redirected.every((call) => call === "POST tokens/refresh/")).toBe(true);
  expect([hidden.redirected.length > 0, client.status, client.auth.token]).toEqual([true, "reconnecting", token]);
  hidden.hides = () => false;
  await passUntil(() => client.status === "connected");
  expect([client.id, client.auth.token === token, hidden.elsewhere]).toEqual([id, false, []]);
});

test.each(REDIRECTS)("a page's token against forgery goes nowhere else either, as %s shows it", async (_, answer) => {
  const hidden = new Hidden(answer);
  hidden.browser.server.login.tokenMode = "cookie";
  hidden.hides = () => true;
  const starting = hidden.browser.tab().start({ fetch: hidden.fetch, tokenMode: "cookie" });
  expect(await refusal(starting)).toBe("not_our_server");
  expect([hidden.redirected, hidden.elsewhere]).toEqual([["GET login/"], []]);
});

test.each(REDIRECTS)("a large document comes with the next connection, as %s shows it", async (_, answer) => {
  const hidden = new Hidden(answer);
  const { server } = hidden.browser;
  const client = await hidden.browser.tab().openConnected({ fetch: hidden.fetch });
  await client.state.set("/a", 1);
  hidden.hides = (path) => path.includes("/state/");
  const url = `/api/sessions/${client.id}/state/main/`;
  server.broadcast({ type: "snapshot", log: "state:main", url, reason: "too_large", position: ["x", 9, "t"] });
  await passUntil(() => hidden.redirected.length > 0);
  hidden.hides = () => false;
  await passUntil(() => client.status === "connected" && client.state.get("/a") === 1);
  expect(hidden.elsewhere).toEqual([]);
});

test.each(["sse", "longpoll"] as const)("an API over %s whose headers CORS hides is no portal, and is asked again", async (transport) => {
  const browser = new Browser();
  let isHidden = true;
  const fetch: typeof browser.server.fetch = async (url, init) => {
    const answer = await browser.server.fetch(url, init);
    if (isHidden) answer.headers.delete("X-Session-Mgmt");
    return Object.defineProperty(answer, "type", { value: "cors" });
  };
  const client = await browser.tab().open({ fetch, transports: [transport] });
  const written = client.state.set("/a", 1);
  await passUntil(() => client.reason !== null);
  expect([client.status, client.reason]).toEqual(["connecting", { code: 1006, name: "header_not_exposed" }]);
  isHidden = false;
  await passUntil(() => client.status === "connected");
  expect((await written).version).toBe(1);
});
