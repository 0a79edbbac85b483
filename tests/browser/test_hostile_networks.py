"""Networks that stand in the way of WebSockets or streams, each in its own manner, between Chromium and a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.hostile import PORTALS, Hostile, networks
from tests.browser.plain import Plain
from tests.browser.waiting import BUSY, build_clock
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

# By mode: the milliseconds after which the client gives the socket up.
BLOCKED = {"refuse": 0, "drop": 0, "swallow": 1_500}
BUFFERS = ("buffer all", "buffer small")
MODES = (*BLOCKED, *BUFFERS, "slow", "cut", "open")
NAMED = '{ name: "hostile", transports: TRANSPORTS }'
# Where a portal answers, the client waits before it asks again.
SOON = build_clock(f"wait > 15_000 && wait < 16_001 ? 200 : {BUSY}")
QUICK = f'{{ name: "hostile", transports: TRANSPORTS, clock: {SOON} }}'
# With a clock that stands still: what has to wait waits until the test lets its time pass.
HELD = """{
  name: "hostile",
  transports: TRANSPORTS,
  WebSocket: class extends Socket {
    constructor(url, protocols) {
      super(url, protocols);
      this.addEventListener("open", () => (window.opened = true));
    }
  },
  clock: (() => {
    let now = Date.now();
    let last = 0;
    const timers = new Map();
    const isDue = ([, { at }]) => at <= now;
    window.waits = () => [...timers.values()].map(({ wait }) => wait);
    window.pass = (milliseconds) => {
      now += milliseconds;
      for (let due; (due = [...timers].filter(isDue).sort(([, a], [, b]) => a.at - b.at)[0]); ) {
        timers.delete(due[0]);
        due[1].act();
      }
    };
    return {
      now: () => now,
      setTimeout: (act, wait) => {
        timers.set((last += 1), { act, wait, at: now + wait });
        return last;
      },
      clearTimeout: (timer) => timers.delete(timer),
    };
  })(),
}"""
ALL = '["websocket", "sse", "longpoll"]'
NO_SOCKET = '["sse", "longpoll"]'


def enter(context: BrowserContext, demo: Demo, network: Hostile, transports: str = ALL, options: str = NAMED) -> Plain:
    return Plain.enter(context, Demo(network.url, demo.database), options.replace("TRANSPORTS", transports))


@pytest.fixture(scope="module")
def nets(demo: Demo) -> Iterator[dict[str, Hostile]]:
    with networks(demo.url, *MODES, *PORTALS) as found:
        yield found


def give_up_opening(plain: Plain) -> None:
    """Let the time pass in which the way over HTTP is loaded, and the rest of that in which a socket must open."""
    plain.until("waits().includes(500)")
    plain.run("pass(500)")
    plain.until("waits().includes(300)")
    plain.run("pass(300)")


def test_each_is_passed_over_http_in_its_time_and_left_for_a_socket_that_gets_through(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    pages = {mode: enter(context, demo, nets[mode], options=HELD) for mode in BLOCKED}
    for mode, wait in BLOCKED.items():
        plain, asked = pages[mode], nets[mode].asked
        if wait:
            plain.until("window.opened")
            give_up_opening(plain)
            plain.run(f"pass({wait - 801})")
            assert asked["connections"] == 0
            plain.run("pass(1)")
        plain.until("session.status === 'connected'")
        told = (plain.run("session.stats().transport"), asked["socket"], asked["connections"])
        assert told == ("sse", 1, 1), mode
        # The second event of a stream too, not only what came with the first.
        for n in (1, 2):
            plain.run(f"session.state.set('/n', {n})")
            plain.is_settled()
        nets[mode].mode = "open"
        plain.run("() => { statuses.length = 0; window.dispatchEvent(new Event('online')); }")
    for mode, plain in pages.items():
        plain.until("session.stats().transport === 'websocket'")
        plain.run("session.state.set('/n', 3)")
        plain.is_settled()
        assert (plain.on_the_server(), plain.run("statuses")) == ({"n": 3}, []), mode


def test_a_slow_socket_is_attached_once(context: BrowserContext, demo: Demo, nets: dict[str, Hostile]) -> None:
    slow = enter(context, demo, nets["slow"], options=HELD)
    give_up_opening(slow)
    slow.until("session.stats().transport === 'sse' && session.status === 'connected'")
    nets["slow"].let_sockets_through()
    slow.until("session.stats().transport === 'websocket'")
    # One socket, which HTTP went before: neither a second one, nor a second attach over HTTP.
    asked = nets["slow"].asked
    assert (asked["socket"], asked["connections"]) == (1, 1)
    told = "statuses.filter(([status]) => status !== 'connecting')"
    assert slow.run(f"[transports, {told}, session.stats().connections]") == [
        ["sse", "websocket"],
        [["connected", None]],
        2,
    ]
    slow.run("session.state.set('/n', 1)")
    slow.is_settled()
    assert slow.on_the_server() == {"n": 1}


def test_sockets_that_die_again_and_again_are_left_alone(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    dying = enter(context, demo, nets["cut"], options=HELD)
    for times in (1, 2, 3):
        # Each was attached, and the next one has its wait.
        dying.until(f"session.stats().connections === {times} && session.status === 'reconnecting'")
        dying.until("waits().some((wait) => wait <= 2_000)")
        dying.run("pass(2_000)")
    dying.until("session.stats().transport === 'sse' && session.status === 'connected'")
    assert nets["cut"].asked["socket"] == 3
    dying.run("session.state.inc('/n')")
    dying.is_settled()
    assert dying.on_the_server() == {"n": 1}


def test_streams_that_are_held_back_are_left_for_long_polls_also_by_the_next_page(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    pages = {mode: enter(context, demo, nets[mode], NO_SOCKET) for mode in BUFFERS}
    for mode, plain in pages.items():
        plain.until("session.stats().transport === 'longpoll'")
        assert nets[mode].asked["stream"] == 1
        # Nobody saw the change, and nothing waits for a stream.
        assert plain.run("statuses.map(([status]) => status).filter((status) => status !== 'connecting')") == [
            "connected"
        ]
        other = enter(context, demo, nets[mode], NO_SOCKET)
        other.until("session.status === 'connected'")
        plain.run("session.state.set('/text', 'heard')")
        other.until("session.state.get('/text') === 'heard'")
        assert (other.run("session.stats().transport"), nets[mode].asked["stream"]) == ("longpoll", 1)


def test_a_restart_of_the_server_leaves_no_page_on_http(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    pages = [enter(context, demo, nets["open"]) for _ in range(4)]
    for plain in pages:
        plain.until("session.stats().transport === 'websocket'")
    pages[0].control("kill")
    for n, plain in enumerate(pages):
        plain.run(f"void session.state.set('/{n}', true)")
    for plain in pages:
        plain.is_settled()
        plain.until("session.stats().transport === 'websocket' && Object.keys(session.state.get()).length === 4")
    enter(context, demo, nets["open"]).until("session.stats().transport === 'websocket'")


@pytest.mark.parametrize("portal", PORTALS)
def test_a_portal_is_no_failure_of_the_session_and_no_reason_to_forget_it(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile], portal: str
) -> None:
    network = nets[portal]
    network.mode = "open"
    plain = enter(context, demo, network, options=QUICK)
    plain.is_settled()
    session = plain.run("session.id")
    network.mode = portal
    network.reset_all()
    plain.until("statuses.some(([, name]) => name === 'not_our_server')")
    plain.run("void session.state.set('/text', 'typed behind a portal')")
    # A page that begins there waits as well, with the session and with what was typed.
    plain.reload()
    plain.until("statuses.some(([, name]) => name === 'not_our_server')")
    assert plain.run("[session.id, session.pending, session.status]") == [session, 1, "connecting"]
    network.mode = "open"
    plain.run("() => { window.dispatchEvent(new Event('online')); }")
    plain.is_settled()
    assert plain.run("[session.id, errors]") == [session, []]
    assert plain.on_the_server() == {"text": "typed behind a portal"}
