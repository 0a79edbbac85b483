"""Pages whose network lets no WebSocket through: everything goes on over HTTP, and back when one gets through."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.plain import Plain
from tests.browser.waiting import STREAM_CLOCK
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

NAMED = f'{{"name":"network",clock:{STREAM_CLOCK}}}'
# A proxy that refuses the upgrade, until `lets` is set.
REFUSING = """
const RealSocket = window.WebSocket;
window.WebSocket = function (...given) {
  if (window.lets) return new RealSocket(...given);
  const socket = { send() {}, close() {} };
  setTimeout(() => socket.onclose?.({ code: 1006, reason: "" }), 0);
  return socket;
};
"""


def test_a_page_without_a_socket_writes_and_hears_over_http_and_changes_when_one_gets_through(
    context: BrowserContext, demo: Demo
) -> None:
    context.add_init_script(REFUSING)
    plain = Plain.enter(context, demo, NAMED)
    plain.until("session.status === 'connected'")
    assert plain.run("session.stats().transport") == "sse"
    # The second event of a stream too, not only what came with the first.
    for n in (1, 2, 3):
        plain.run(f"session.state.set('/n', {n})")
        plain.is_settled()
        assert plain.on_the_server() == {"n": n}
    plain.run("() => { window.lets = true; window.seen = []; session.on('status', (s) => window.seen.push(s)); }")
    # The next try by itself may be minutes away.
    plain.run("() => { window.dispatchEvent(new Event('online')); }")
    plain.until("session.stats().transport === 'websocket'")
    plain.run("session.state.set('/n', 4)")
    plain.is_settled()
    assert plain.on_the_server() == {"n": 4}
    assert plain.run("window.seen") == []
