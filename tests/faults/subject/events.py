"""Durable handlers that write each event down where the checker finds it: in a topic, so that each effect counts."""

from __future__ import annotations

from typing import Any

from session_mgmt.shortcuts import on, publish
from tests.faults.subject import Stumbled

TOPIC = "handled:all"
# Of so many events one fails at first.
FAILS = 7


def declare_handlers() -> None:
    """Declare two handlers of all events."""
    on("*", durable=True)(write_down)
    on("*", durable=True)(stumble)


def write_down(event: Any) -> None:
    _publish(event, "write_down")


_stumbled = set[int]()


def stumble(event: Any) -> None:
    """Fail after the effect, which must be undone; the next time succeed."""
    _publish(event, "stumble")
    if event.seq % FAILS == 0 and event.id not in _stumbled:
        _stumbled.add(event.id)
        raise Stumbled


def _publish(event: Any, handler: str) -> None:
    place = {"session": str(event.session_id), "seq": event.seq, "type": event.type}
    publish(TOPIC, {**place, "handler": handler})
