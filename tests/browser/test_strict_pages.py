"""Pages that let no script do more than it must: under a strict policy, beside hostile names, and with a console that
somebody watches.
"""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.browser.fake_site import STATIC, open_site
from tests.browser.waiting import STREAM_CLOCK

pytestmark = pytest.mark.browser

BEGIN = """
import { SessionClient } from "/session-client.js";
import { FakeServer } from "/session-client.testing.js";
window.violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective }) => violations.push(violatedDirective));
const server = (window.server = new FakeServer());
const start = (options) => SessionClient.start({
  url: "/api/", fetch: server.fetch, WebSocket: server.WebSocket, clock: STREAM_CLOCK, ...options,
});
const until = async (condition) => {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 10); });
};
""".replace("STREAM_CLOCK", STREAM_CLOCK)
ALL_PARTS = """
const options = { cache: "indexeddb", sync: { mode: "delayed", delay: 1, maxDelay: 1 } };
const one = await start({ ...options, name: "one", oneSocket: true });
await one.connection.connect();
await one.state.set("/cart", ["tea"]);
await one.sessions.updateSession({ label: "kitchen" });
const close = await one.debug();
close();
server.network.sockets = "refused";
const two = await start({ ...options, name: "two" });
await two.connection.connect();
await two.state.set("/cart", ["milk"]);
// Some are for the outboxes of closed tabs.
await Promise.all(PARTS.map((part) => import(part)));
return [one.state.get("/cart"), two.state.get("/cart"), two.stats().transport];
"""
HOSTILE_NAMES = r"""
const NAMES = ["__proto__", "constructor", "prototype", "toString"];
const BAD = '"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}';
const bad = (text) => JSON.parse(text.replaceAll("BAD", BAD));
const BEATS = '"interval":25,"missed_limit":3,"deadline":35';
server.settings = bad(`{"limits":{BAD},"retry":{"initial":0.5,BAD},"heartbeat":{${BEATS},BAD},BAD}`);
const session = await start({ name: "__proto__", slot: "constructor" });
session.on("error", () => undefined);
await session.connection.connect();
const heard = [];
for (const name of NAMES) {
  await session.topics.subscribe(name, (data) => heard.push(data)).subscribed;
  server.publish(name, bad('{"of":"server",BAD}'));
  const refused = session.topics.publish(name, bad("{BAD}"));
  await refused.catch(() => undefined);
}
for (const name of NAMES) {
  await session.state.set(`/${name}/polluted`, 1).catch(() => undefined);
  server.write([["set", `/${name}/polluted`, 1], ["obj", `/${name}`], ["inc", `/${name}/polluted`, 1]]);
  await session.state.merge({ [name]: { polluted: 1 } }).catch(() => undefined);
  for (const type of ["entries", "snapshot", "gap", "receipt", "reply", "error", name]) {
    server.broadcast(bad(`{"type":"${type}","log":"${name}","id":"${name}","seq":"${name}","topic":"${name}",BAD}`));
  }
  server.event(name, bad("{BAD}"));
  server.message(bad("{BAD}"));
}
server.settings = {};
server.drop();
await until(() => session.status === "connected");
await session.state.set("/after", "all");
const found = [{}, [], () => undefined, "", 1].map((value) => value.polluted);
return [found, Object.keys(Object.prototype), Object.keys(Function.prototype), session.state.get("/after"),
  heard.length >= NAMES.length];
"""
ROUGH_LIFE = """
const session = await start({ name: "rough", cache: "indexeddb" });
await session.connection.connect();
server.refuse({ name: "schema_mismatch", code: 108 }, { name: "publish_denied", code: 251 });
await session.state.set("/refused", 1).catch(() => undefined);
await session.topics.publish("denied", 1).catch(() => undefined);
// Nobody waits for these.
void session.state.set("/kept", 1);
void session.connection.reconnect();
server.drop();
server.denied.add("secret");
session.topics.subscribe("secret", () => undefined);
await until(() => session.status === "connected");
server.network.sockets = "refused";
server.drop();
await until(() => session.status === "connected" && session.stats().transport !== "websocket");
server.bye(4000, 0.01);
await until(() => session.status === "connected");
server.portal = 200;
server.drop();
await until(() => session.status === "reconnecting");
server.portal = 0;
dispatchEvent(new Event("online"));
await until(() => session.status === "connected" && session.pending === 0);
server.network.sockets = "open";
const { id } = session;
server.expire();
await until(() => session.id !== id && session.status === "connected");
await session.state.set("/after", "all");
server.terminate();
await until(() => session.status === "failed");
session.close();
return session.status;
"""
PARTS_GONE = """
const session = await start({ name: "gone" });
const told = [];
session.on("update_available", ({ reason, wanted }) => told.push([reason, wanted]));
await session.connection.connect();
const outcomeOf = (call) => call.then(() => "done", ({ name }) => name);
await session.state.set("/before", 1);
const first = await outcomeOf(session.state.info());
await until(() => told.length === 1);
server.settings = { sdk: "99.0.0" };
server.drop();
await until(() => told.length === 2 && session.status === "connected");
await session.state.set("/after", 1);
await mend();
return [first, told, await outcomeOf(session.state.info()), session.state.get()];
"""


def run(page: Page, script: str) -> object:
    """Return what a script has done when it is over, and let no policy have been broken by it."""
    open_site(page, f"{BEGIN}window.over = (async () => {{{script}}})();")
    done = page.evaluate("over")
    assert page.evaluate("violations") == []
    return done


def test_every_part_loads_under_a_policy_without_anything_unsafe(page: Page) -> None:
    parts = {path.name for path in STATIC.glob("session-client.*-*.js")}
    done = run(page, ALL_PARTS.replace("PARTS", json.dumps([f"/{part}" for part in parts])))
    assert done == [["tea"], ["milk"], "sse"]
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name.split('/').pop())")
    assert parts <= set(loaded)


@pytest.mark.requirement("ASVS 15.3.6")
def test_names_of_the_language_change_no_prototype(page: Page) -> None:
    none = [None] * 5
    assert run(page, HOSTILE_NAMES) == [none, [], [], "all", True]


def test_a_page_that_goes_through_everything_says_nothing_by_itself(page: Page) -> None:
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        said.append(message.text)

    page.on("console", note)
    assert run(page, ROUGH_LIFE) == "disconnected"
    assert said == []


def test_a_page_whose_parts_are_gone_is_told_goes_on_and_loads_them_once_they_are_there(page: Page) -> None:
    part = "**/session-client.requests-*.js"
    page.expose_function("mend", lambda: page.unroute(part))
    open_site(page, f"{BEGIN}window.go = async () => {{{PARTS_GONE}}};")
    # A deploy has removed it; the last route goes first.
    page.route(part, lambda route: route.fulfill(status=404))
    page.wait_for_function("() => window.go !== undefined")
    told = [["parts_gone", None], ["server_newer", "99.0.0"]]
    assert page.evaluate("go()") == ["part_unavailable", told, "done", {"before": 1, "after": 1}]
