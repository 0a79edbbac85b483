"""Networks that stand in the way of WebSockets or streams, each in its own manner, between Chromium and a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.hostile import PORTALS, Hostile, networks
from tests.browser.plain import Plain
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

# By mode: what carries in the end, the milliseconds of the waits that the client has planned before it was ready at
# most, and how many sockets were opened until then.
BLOCKED = {"refuse": ("sse", 0, 1), "drop": ("sse", 0, 1), "swallow": ("sse", 1_500, 1)}
BUFFERS = ("buffer all", "buffer small")
MODES = (*BLOCKED, *BUFFERS, "slow", "cut", "open")
# The client's own clock, which notes the waits that were over before the client was first connected.
OPTIONS = """{
  name: "hostile",
  transports: TRANSPORTS,
  clock: {
    now: () => Date.now(),
    clearTimeout: (timer) => clearTimeout(timer),
    setTimeout: (act, wait) => setTimeout(() => {
      if (window.session?.status !== "connected") (window.waits ??= []).push(wait);
      act();
    }, wait),
  },
}"""
ALL = '["websocket", "sse", "longpoll"]'
NO_SOCKET = '["sse", "longpoll"]'


def enter(context: BrowserContext, demo: Demo, network: Hostile, transports: str = ALL) -> Plain:
    return Plain.enter(context, Demo(network.url, demo.database), OPTIONS.replace("TRANSPORTS", transports))


@pytest.fixture(scope="module")
def nets(demo: Demo) -> Iterator[dict[str, Hostile]]:
    with networks(demo.url, *MODES, *PORTALS) as found:
        yield found


def test_each_is_passed_over_http_in_its_time_and_left_for_a_socket_that_gets_through(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    pages = {mode: enter(context, demo, nets[mode]) for mode in BLOCKED}
    for mode, (transport, most, sockets) in BLOCKED.items():
        plain = pages[mode]
        plain.until("session.status === 'connected'")
        # What loads the other way early, beside an attach, keeps nobody waiting.
        waits = [wait for wait in plain.run("window.waits ?? []") if wait != 500]
        asked = nets[mode].asked
        told = (plain.run("session.stats().transport"), sum(waits) <= most, asked["socket"], asked["connections"])
        assert told == (transport, True, sockets, 1), (mode, waits)
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


def test_a_slow_socket_is_attached_once_and_one_that_dies_again_and_again_is_left_alone(
    context: BrowserContext, demo: Demo, nets: dict[str, Hostile]
) -> None:
    slow, dying = (enter(context, demo, nets[mode]) for mode in ("slow", "cut"))
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
    dying.until("session.stats().transport === 'sse' && session.status === 'connected'")
    # Three that were of no use, beside those that were cut before they were attached; nothing but HTTP since.
    assert 3 <= nets["cut"].asked["socket"] <= 6
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
    plain = enter(context, demo, network)
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
