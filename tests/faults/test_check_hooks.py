"""Tests of the checker on webhooks and durable handlers: an honest history passes, and each lie is caught."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.check import check
from tests.faults.check_hooks import HANDLED, HANDLERS, count
from tests.faults.final import Database
from tests.faults.stories import EPOCH, SESSION, Record, Story, honest
from tests.sqlite_files import copy_migrated

pytestmark = pytest.mark.sqlite


class Told(Story):
    """Honest history of which each event was delivered to one endpoint, one of them twice, and handled."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.__dict__.update(story.__dict__)
        self.add("nemesis", "endpoint", endpoint=1, path="/plain")
        self.add("nemesis", "serves", server="A")
        self.events = story.dump()["events"]
        self.sent = [self.deliver(number, "fail" if number == 2 else "ok") for number in (1, 2, 2, 3, 4)]
        self.sent[2]["done"] = "ok"
        self.rows = [self._store(event) for event in self.events]
        self.handled = [self._handle(event, name) for event in self.events for name in HANDLERS]
        self.runs: list[Any] = []
        self.end = self.add("nemesis", "told", waits=True)

    def deliver(self, number: int, done: str) -> Record:
        body = {"id": f"d{number}", "session_id": SESSION, "sequence": number, "seq": number}
        told = {"id": f"d{number}", "signed": True, "digest": f"of {number}", "body": body, "done": done}
        return self.add("receiver", "delivery", path="/plain", **told)

    def _store(self, event: Record) -> Record:
        place = {"session": SESSION, "seq": event["seq"], "endpoint": 1, "event": event["type"]}
        return {**place, "state": "sent", "id": f"d{event['seq']}"}

    def _handle(self, event: Record, handler: str) -> Record:
        return {"session": SESSION, "seq": event["seq"], "type": event["type"], "handler": handler}

    def dump(self) -> Record:
        found = super().dump()
        publications = [{"offset": number, "tag": "t", "data": data} for number, data in enumerate(self.handled, 1)]
        last = {"head": len(publications), "tag": "t"}
        stream = {"topic": HANDLED, "epoch": EPOCH, "oldest": 1, "publications": publications, **last}
        return {**found, "streams": [*found["streams"], stream], "deliveries": self.rows, "runs": self.runs}


@pytest.fixture
def story() -> Told:
    return Told(honest())


def promises(story: Told) -> set[str]:
    return {violation.promise for violation in check(story.records, story.dump()).violations}


def test_services_and_handlers_that_are_told_rightly_are_believed(story: Told) -> None:
    assert promises(story) == set()
    assert count(story.records) == {"deliveries": 5, "delivered_again": 1}


def lose_an_effect(story: Told) -> None:
    del story.handled[0]


def repeat_an_effect(story: Told) -> None:
    story.handled.append(story.handled[-1])


def handle_what_is_no_event(story: Told) -> None:
    story.handled.append({**story.handled[-1], "seq": 77})


def leave_a_run(story: Told) -> None:
    story.runs.append([SESSION, 3, f"app.{HANDLERS[0]}"])
    del story.handled[4]


def handle_backwards(story: Told) -> None:
    story.handled.reverse()


def never_confirm(story: Told) -> None:
    story.sent[-1]["done"] = "hang_up"


def leave_one_waiting(story: Told) -> None:
    story.rows[-1]["state"] = "waiting"
    never_confirm(story)


def record_no_delivery(story: Told) -> None:
    story.rows.pop()
    story.records.remove(story.sent[-1])


def record_a_delivery_twice(story: Told) -> None:
    story.rows.append(story.rows[-1])


def deliver_what_is_no_event(story: Told) -> None:
    story.deliver(5, "ok")


def deliver_past_one_that_waits(story: Told) -> None:
    story.sent[2]["done"] = "fail"
    story.deliver(2, "ok")


def deliver_another_body(story: Told) -> None:
    story.sent[2]["digest"] = "of another"


def give_another_id(story: Told) -> None:
    story.sent[2]["id"] = story.sent[2]["body"]["id"] = "d9"


def sign_wrongly(story: Told) -> None:
    story.sent[0]["signed"] = False


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        (lose_an_effect, "H1"),
        (repeat_an_effect, "H1"),
        (handle_what_is_no_event, "H1"),
        (leave_a_run, "H1"),
        (handle_backwards, "H2"),
        (never_confirm, "W1"),
        (leave_one_waiting, "W1"),
        (record_no_delivery, "W1"),
        (record_a_delivery_twice, "W1"),
        (deliver_what_is_no_event, "W1"),
        (deliver_past_one_that_waits, "W2"),
        (deliver_another_body, "W3"),
        (give_another_id, "W3"),
        (sign_wrongly, "W3"),
    ],
)
def test_a_lie_to_services_and_handlers_is_found(story: Told, lie: Callable[[Told], None], promise: str) -> None:
    lie(story)
    assert promise in promises(story)


def test_what_has_not_waited_in_vain_is_not_lost(story: Told) -> None:
    story.end["waits"] = False
    leave_a_run(story)
    leave_one_waiting(story)
    assert promises(story) == set()


def test_the_effect_of_a_handler_that_waits_in_the_outbox_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    copy_migrated(file)
    database = Database("", file)
    assert database.undelivered() == 0
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT INTO session_mgmt_outbox (kind, target, payload, refused, created_at)"
            " VALUES ('publish', 'hooks', x'00', '', '2026-01-01')"
        )
    assert database.undelivered() == 1
