"""Tabs as a browser has them without Playwright, which keeps each of its own pages visible and thus never frozen."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser.waiting import PATIENCE

# How the browser says that the page which was asked is not there any more.
LOST = ("context was destroyed", "target navigated")
LOADED = "document.readyState === 'complete' && location.href !== 'about:blank'"


class ContextLost(Exception):
    """Page that was asked has gone before it answered: the tab has another one."""


class Profile:
    """Browser profile of its own, whose tabs are asked over the protocol of the developer tools."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = self.ask("Target.createBrowserContext")["browserContextId"]
        # By tab: the frames that its sockets have sent, and how often it has come to another page.
        self.sent: dict[str, list[str]] = {}
        self.moves: Counter[str] = Counter()

    def open_tab(self, url: str) -> Tab:
        """Open a tab in front of the others."""
        target = self.ask("Target.createTarget", {"url": url, "browserContextId": self._context})["targetId"]
        tab = Tab(self, self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
        tab.call("Network.enable")
        tab.call("Page.enable")
        tab.call("Page.bringToFront")
        tab.has_loaded()
        return tab

    def close(self) -> None:
        self.ask("Target.disposeBrowserContext", {"browserContextId": self._context})

    def ask(self, method: str, params: dict[str, Any] | None = None, tab: str | None = None) -> Any:
        """Return the answer of the browser, or of a tab."""
        id_ = next(self._ids)
        to_tab = {} if tab is None else {"sessionId": tab}
        self._socket.send(json.dumps({"id": id_, "method": method, "params": params or {}, **to_tab}))
        while (message := self.take()).get("id") != id_:
            pass
        if any(lost in message.get("error", {}).get("message", "") for lost in LOST):
            raise ContextLost
        assert "error" not in message, message
        return message["result"]

    def take(self) -> Any:
        """Take the next message of the browser, and note what it tells."""
        message = json.loads(self._socket.recv(PATIENCE))
        method, params = message.get("method"), message.get("params")
        if method == "Network.webSocketFrameSent":
            self.sent[message["sessionId"]].append(params["response"]["payloadData"])
        elif method == "Page.frameNavigated" and "parentId" not in params["frame"]:
            self.moves[message["sessionId"]] += 1
        return message


class Tab:
    """One tab of such a profile."""

    def __init__(self, profile: Profile, id_: str) -> None:
        self._profile, self._id = profile, id_
        self.sent = profile.sent.setdefault(id_, [])

    def call(self, method: str, **params: Any) -> Any:
        return self._profile.ask(method, params, self._id)

    def run(self, script: str, *values: object) -> Any:
        """Return what an expression gives, or a function called with these values; also if it is a promise's."""
        called = f"({script})({', '.join(json.dumps(value) for value in values)})" if values else script
        found = self.call("Runtime.evaluate", expression=called, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a condition holds; the tab must not be frozen."""
        look = f"const look = () => ({condition}) ? resolve() : setTimeout(look, 10); look();"
        self.run(f"new Promise((resolve) => {{ {look} }})")

    def go(self, script: str) -> None:
        """Let the page go to another one, and wait until that is there."""
        before = self._profile.moves[self._id]
        self.run(f"void setTimeout(() => {{ {script} }})")
        while self._profile.moves[self._id] == before:
            self._profile.take()
        self.has_loaded()

    def has_loaded(self) -> None:
        try:
            self.until(LOADED)
        except ContextLost:
            # The page before it was asked; each tab begins with an empty one.
            self.until(LOADED)

    def freeze(self) -> None:
        """Stop everything that the tab does, as browsers do with tabs in the background; it must be behind another."""
        self.call("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.call("Page.setWebLifecycleState", state="active")


@contextmanager
def open_profile(port: int) -> Iterator[Profile]:
    """Open a profile in the browser that listens on a port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version") as answer:
        address = json.load(answer)["webSocketDebuggerUrl"]
    # A browser that is busy answers no ping of ours.
    with connect(address, max_size=None, open_timeout=PATIENCE, ping_interval=None) as socket:
        profile = Profile(socket)
        yield profile
        profile.close()
