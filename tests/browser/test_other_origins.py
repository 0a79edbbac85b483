"""Pages whose API has another origin, and compresses its answers: every transport works, and only for those listed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Response

from tests.browser.plain import Plain
from tests.browser.serving import serve
from tests.browser.watching import Demo
from tests.ports import take_port

pytestmark = pytest.mark.browser

TRANSPORTS = ("websocket", "sse", "longpoll")
LISTEN = """() => {
  window.topic = `demo:numbers:${session.id}`;
  window.numbers = [];
  return session.topics.subscribe(topic, (n) => numbers.push(n)).subscribed;
}"""
ASK_AGAIN = """() => {
  window.told = [];
  session.on("error", ({ message }) => told.push(message));
  return session.connection.connect().catch(() => undefined);
}"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, demo: Demo) -> Iterator[str]:
    """A server that lets the demo's pages use it."""
    port = take_port()
    environment = {"PAGES_ORIGIN": demo.url.rstrip("/")}
    with serve(tmp_path_factory.mktemp("api"), port, "tests.browser.other_origin_settings", **environment):
        yield f"http://127.0.0.1:{port}/api/"


def enter(context: BrowserContext, demo: Demo, api: str, transport: str) -> Plain:
    return Plain.enter(context, demo, f'{{ url: "{api}", name: "other", transports: ["{transport}"] }}')


def test_a_page_of_a_listed_origin_has_every_transport_and_streams_that_nobody_compresses(
    context: BrowserContext, demo: Demo, api: str
) -> None:
    answers: list[Response] = []
    context.on("response", lambda answer: answers.append(answer))
    pages = [enter(context, demo, api, transport) for transport in TRANSPORTS]
    for page in pages:
        page.until("session.status === 'connected'")
        page.run(LISTEN)
    for n in (1, 2, 3):
        pages[0].run(f"session.topics.publish(topic, {n})")
        for page in pages:
            page.page.bring_to_front()
            page.until(f"numbers.length === {n}")
    assert [page.run("[numbers, errors]") for page in pages] == [[[1, 2, 3], []]] * len(TRANSPORTS)
    streams = [answer for answer in answers if answer.headers.get("content-type", "").startswith("text/event-stream")]
    assert streams and not any("content-encoding" in stream.headers for stream in streams)
    assert any(answer.headers.get("content-encoding") == "gzip" for answer in answers)
    pages[1].run("session.state.set('/cart', ['tea'])")
    for page in pages:
        page.page.bring_to_front()
        page.until("session.state.get('/cart')?.[0] === 'tea'")


@pytest.mark.parametrize("transport", ["websocket", "longpoll"])
def test_a_page_of_an_origin_that_is_not_listed_fails_at_once_and_is_told_why(
    context: BrowserContext, demo: Demo, api: str, transport: str
) -> None:
    elsewhere = Demo(demo.url.replace("127.0.0.1", "localhost"), demo.database)
    page = enter(context, elsewhere, api, transport)
    page.until("session.status === 'failed'")
    assert page.run("statuses.at(-1)") == ["failed", "origin_denied"]
    if transport == "websocket":
        # Its frame says more than the status of an answer.
        page.run(ASK_AGAIN)
        assert "allowed_origins" in page.run("told[0]")
