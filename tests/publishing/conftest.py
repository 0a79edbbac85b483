"""What the models of the shop have published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from session_mgmt.models import Outbox

Told = Callable[[], list[tuple[str, str, str]]]


def take_publications() -> list[tuple[str, dict[str, Any]]]:
    """Return topic and body of what waits in the outbox, and take it out."""
    rows = list(Outbox.objects.order_by("pk").values_list("target", "payload"))
    Outbox.objects.all().delete()
    return [(topic, orjson.loads(bytes(body))) for topic, body in rows]


@pytest.fixture
def told(db: None) -> Told:
    """Return a function that takes what was published since its last call: topic, op and key of each."""

    def take() -> list[tuple[str, str, str]]:
        return [(topic, body["op"], body["pk"]) for topic, body in take_publications()]

    return take
