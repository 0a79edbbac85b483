"""A page of nothing but one client, at the demo's address: it loads while its calls to the server are cut off."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.browser.waiting import BUSY, build_clock
from tests.browser.watching import Demo

# The proxy knows a client by `via` or by the referring page: so a cut is for sockets and API calls only, and not for
# the page or the bundle.
CLIENT = """
class Socket extends WebSocket {
  constructor(url, protocols) { super(`${url}?via=one`, protocols); }
}
window.errors = [];
window.heard = [];
window.statuses = [];
window.transports = [];
(async () => {
  // A frame has an empty document first, whose window its own document may take over.
  while (location.href === "about:blank") await new Promise((resolve) => { setTimeout(resolve, 10); });
  const { SessionClient } = await import("/static/session_mgmt/session-client.js");
  const client = await SessionClient.start({
    url: "/api/", WebSocket: Socket, clock: CLOCK, ...OPTIONS,
    fetch: (url, init) => fetch(url, { ...init, referrer: "/client/one/" }),
  });
  window.first = { data: client.state.get(), fromCache: client.state.fromCache, status: client.status };
  client.on("error", (error) => errors.push(error.name));
  client.on("transport", (name) => transports.push(name));
  client.on("status", (status, reason) => statuses.push([status, reason?.name ?? null]));
  client.state.on("", (value, { origin }) => heard.push([origin, value]));
  window.session = client;
})().catch(({ name }) => { window.refused = name; });
""".replace("CLOCK", build_clock(f"wait === 8_000 && localStorage.getItem('is cut') ? 200 : {BUSY}"))
# A page that begins while the network is cut need not wait long for an answer that cannot come.
NOTES = {"cut": "localStorage.setItem('is cut', 'yes')", "mend": "localStorage.removeItem('is cut')"}
# Any document of the demo's will do: a page that a test itself serves may not open sockets to this machine.
DOCUMENT = "static/demo/style.css"

RECORDS = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("session-mgmt");
  opening.onerror = reject;
  opening.onsuccess = () => {
    const keys = opening.result.transaction("copies").objectStore("copies").getAllKeys();
    keys.onsuccess = () => { opening.result.close(); resolve(keys.result); };
  };
})"""


class Plain:
    """One tab with one client."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page, self._demo = page, demo
        self._proof: tuple[str, dict[str, str]] | None = None

    @classmethod
    def enter(cls, context: BrowserContext, demo: Demo, options: str) -> Plain:
        """``options`` is JSON, those of ``SessionClient.start``."""
        page = context.new_page()
        page.add_init_script(CLIENT.replace("OPTIONS", options))
        page.goto(demo.url + DOCUMENT)
        plain = cls(page, demo)
        plain.has_started()
        return plain

    def has_started(self) -> None:
        self.page.wait_for_function("window.session !== undefined")

    def reload(self) -> None:
        self.page.reload()
        self.has_started()

    def run(self, script: str) -> Any:
        """The value of an expression, in which ``session`` is the client."""
        return self.page.evaluate(script)

    def until(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def is_settled(self) -> None:
        self.until("session.status === 'connected' && session.pending === 0 && !session.state.fromCache")
        # Kept, for a page that begins without a network gives no token away before the server has confirmed it.
        self._proof = self._read_proof()

    def control(self, verb: str) -> None:
        """``cut`` and ``mend`` this client's network, or ``kill`` the server."""
        answer = self.page.request.post(f"{self._demo.url}demo-control/{verb}", data={"clients": ["one"]})
        assert answer.ok, answer.text()
        if verb in NOTES:
            self.run(NOTES[verb])

    def on_the_server(self) -> Any:
        """The document, past this client."""
        session, headers = self._proof or self._read_proof()
        answer = self.page.request.get(f"{self._demo.url}api/sessions/{session}/state/main/", headers=headers)
        assert answer.ok, answer.text()
        return answer.json()["data"]

    def _read_proof(self) -> tuple[str, dict[str, str]]:
        return self.run("session.id"), self.run("session.auth.headers()")

    def records(self) -> list[list[Any]]:
        """Keys of the local copies that this browser keeps."""
        found: list[list[Any]] = self.page.evaluate(RECORDS)
        return found
