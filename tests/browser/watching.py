"""The demo's page as a test uses it, what its clients' callbacks were told, and what the server's database holds."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame, Locator, Page, expect

CLIENTS = ("one", "two")

# Kept in the tab's storage at once, so that a reload loses nothing of what callbacks were told.
RECORDER = """
const found = /^\\/client\\/(\\w+)\\//.exec(location.pathname);
if (found) {
  const name = found[1];
  const keep = (type, detail) => {
    const at = Number(sessionStorage.getItem(`seen:${name}`) ?? 0);
    sessionStorage.setItem(`seen:${name}:${at}`, JSON.stringify({ type, ...detail }));
    sessionStorage.setItem(`seen:${name}`, at + 1);
  };
  keep("load", {});
  for (const type of ["number", "version"]) addEventListener(`demo:${type}`, ({ detail }) => keep(type, detail));
}
"""

READ_SEEN = """name => Array.from({ length: Number(sessionStorage.getItem(`seen:${name}`) ?? 0) },
  (_, at) => JSON.parse(sessionStorage.getItem(`seen:${name}:${at}`)))"""

READ_STORED = "store => Object.fromEntries(Object.entries(window[store]))"


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: its address and its database file."""

    url: str
    database: Path

    def publications(self, topic: str) -> list[tuple[int, Any]]:
        """Offset and data of every entry of a topic, read past the server."""
        query = """SELECT p."offset", p.data FROM session_mgmt_publication p
                   JOIN session_mgmt_stream s ON s.id = p.stream_id WHERE s.topic = ? ORDER BY p."offset" """
        connection = sqlite3.connect(self.database)
        try:
            return [(offset, json.loads(data)) for offset, data in connection.execute(query, [topic])]
        finally:
            connection.close()


class Client:
    """One frame of the page."""

    def __init__(self, page: Page, name: str) -> None:
        self.name = name
        self._page = page
        self.bar = page.locator(f"article[data-client={name}]")
        self.inside = self.bar.locator("iframe").content_frame

    def part(self, name: str) -> Locator:
        return self.inside.locator(f"#{name}")

    @property
    def frame(self) -> Frame:
        return next(frame for frame in self._page.frames if f"/client/{self.name}/" in frame.url)

    def cut_or_mend(self) -> None:
        self.bar.locator("[data-cut]").click()

    def reload(self) -> None:
        self.bar.locator("[data-reload]").click()

    def is_connected(self) -> None:
        expect(self.part("status")).to_have_text("connected")

    def has_unanswered(self, least: int) -> None:
        self._page.wait_for_function(
            "([name, least]) => Number(document.querySelector(`article[data-client=${name}] iframe`)"
            ".contentDocument.getElementById('pending')?.textContent) >= least",
            arg=[self.name, least],
        )

    def seen(self, type_: str) -> list[dict[str, Any]]:
        """What its callbacks of one kind were told, in order, over all its page loads."""
        return [fact for fact in self._page.evaluate(READ_SEEN, self.name) if fact["type"] == type_]

    def lives(self) -> list[list[dict[str, Any]]]:
        """All facts, by page load."""
        lives: list[list[dict[str, Any]]] = []
        for fact in self._page.evaluate(READ_SEEN, self.name):
            lives.append([]) if fact["type"] == "load" else lives[-1].append(fact)
        return lives


class Room:
    """The page with its two clients."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page, self.demo = page, demo
        self.one, self.two = (Client(page, name) for name in CLIENTS)
        self.clients = {client.name: client for client in (self.one, self.two)}

    @classmethod
    def enter(cls, page: Page, demo: Demo) -> Room:
        page.add_init_script(RECORDER)
        page.goto(demo.url)
        room = cls(page, demo)
        room.one.is_connected()
        room.two.is_connected()
        return room

    @property
    def session(self) -> dict[str, Any]:
        """What the browser keeps of its session: `session`, `token`, `endpoints`."""
        stored = self.page.evaluate(READ_STORED, "localStorage")
        return json.loads(next(value for key, value in stored.items() if key.endswith(":session")))

    def start_writing(self) -> None:
        self.page.locator("#write").click()
        for name in CLIENTS:
            self.has_written(name, 10)

    def has_written(self, name: str, least: int) -> None:
        self.page.wait_for_function(
            "([name, least]) => Object.entries(sessionStorage).some(([key, value]) =>"
            " key.startsWith(`demo:${name}:`) && key.endsWith(':numbers') && JSON.parse(value).sent >= least)",
            arg=[name, least],
        )

    def written(self) -> dict[str, dict[str, Any]]:
        """By client: the run and how many numbers it wrote."""
        session = self.session["session"]["session_id"]
        stored = self.page.evaluate(READ_STORED, "sessionStorage")
        return {name: json.loads(stored[f"demo:{name}:{session}:numbers"]) for name in CLIENTS}

    def stop_writing_and_settle(self) -> None:
        """Wait until no answer is awaited and the page says that all is there."""
        self.page.locator("#write").click()
        for client in self.clients.values():
            client.is_connected()
            expect(client.part("pending")).to_have_text("0")
        expect(self.page.locator("#verdict")).to_have_attribute("data-state", "good")

    def document(self) -> Any:
        """The state as the server tells it over HTTP."""
        kept = self.session
        answer = self.page.request.get(
            f"{self.demo.url}api/sessions/{kept['session']['session_id']}/state/main/",
            headers={"Authorization": f"Bearer {kept['token']}"},
        )
        assert answer.ok, answer.text()
        return answer.json()["data"]

    def check_nothing_lost_nothing_doubled(self) -> None:
        """Compare what was written, what callbacks were told, the topic in the database, and the state over HTTP."""
        written = self.written()
        (run,) = {facts["run"] for facts in written.values()}
        expected = {name: list(range(1, facts["sent"] + 1)) for name, facts in written.items()}
        log = self.demo.publications(f"demo:numbers:{self.session['session']['session_id']}")
        assert by_sender(data for _, data in log) == expected
        for client in self.clients.values():
            told = client.seen("number")
            assert by_sender(told) == expected, f"client {client.name}"
            assert [(fact["offset"], fact["from"], fact["n"]) for fact in told] == [
                (offset, data["from"], data["n"]) for offset, data in log
            ]
            for life in client.lives():
                versions = [fact["version"] for fact in life if fact["type"] == "version"]
                assert versions == sorted(versions), f"a version of client {client.name} went back"
        assert self.document()["written"][str(run)] == {name: facts["sent"] for name, facts in written.items()}


def by_sender(facts: Any) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for fact in facts:
        numbers[fact["from"]].append(fact["n"])
    return dict(numbers)
