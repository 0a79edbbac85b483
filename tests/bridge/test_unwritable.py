"""A database that takes no writes, for a full disk or because it is for reading only: told as temporary, none lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import Error, connection, connections
from django.test import Client as Http

from session_mgmt.actions import group_commit
from session_mgmt.actions.sessions import resume
from session_mgmt.api.errors import translate_error
from session_mgmt.bridge import bridge, connecting, lane
from session_mgmt.exceptions import Unavailable
from session_mgmt.shortcuts import create_session, publish, state

pytestmark = pytest.mark.django_db(transaction=True)

FULL, READ_ONLY = "full", "for reading only"
BREAKING = {
    ("sqlite", FULL): "PRAGMA max_page_count = 1",
    ("sqlite", READ_ONLY): "PRAGMA query_only = ON",
    ("postgresql", READ_ONLY): "SET default_transaction_read_only = on",
}
MENDING = {
    ("sqlite", FULL): "PRAGMA max_page_count = 1073741823",
    ("sqlite", READ_ONLY): "PRAGMA query_only = OFF",
    ("postgresql", READ_ONLY): "SET default_transaction_read_only = off",
}


class Disk:
    """Breaks and mends the connection of whichever thread writes."""

    def __init__(self, fault: str) -> None:
        self._fault = (connection.vendor, fault)
        self.is_broken = False

    def set_state(self, using: str = "default") -> None:
        with connections[using].cursor() as cursor:
            cursor.execute((BREAKING if self.is_broken else MENDING)[self._fault])


@pytest.fixture(params=[fault for vendor, fault in BREAKING if vendor == connection.vendor])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(request.param)
    if request.param == FULL:
        # Rows that earlier tests have deleted leave room in the file.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")

    def stand_before(module: Any, name: str) -> None:
        real = getattr(module, name)

        def write(*args: Any, **kwargs: Any) -> Any:
            disk.set_state()
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, write)

    stand_before(group_commit, "write_group")
    stand_before(resume, "attach_group")
    monkeypatch.setattr(lane, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(connecting, "PAUSES", (0.0, 0.0))
    yield disk
    disk.is_broken = False
    disk.set_state()


def test_writes_are_refused_for_now_and_reads_go_on(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    session = create_session().session
    state.update(session, {"a": 1})
    disk.is_broken = True
    for write in (lambda: state.update(session, {"b": "x" * 200_000}), lambda: publish("room:1", "x" * 60_000)):
        with pytest.raises(Exception) as refused:
            write()
        assert refused.value.temporary and refused.value.retry_after  # type: ignore[attr-defined]
    assert state.get(session) == {"a": 1}
    assert bridge().lane.is_failing
    assert Http().get("/api/health/").json() == {"status": "degraded"}
    assert not [record for record in caplog.records if record.exc_info]
    disk.is_broken = False
    assert state.update(session, {"c": 3}).offset == 2
    assert publish("room:1", 1).offset == 1
    assert Http().get("/api/health/").json() == {"status": "ok"}


@pytest.mark.parametrize("disk", [READ_ONLY], indirect=True)
def test_an_api_call_that_cannot_write_is_told_as_temporary(disk: Disk) -> None:
    disk.is_broken = True
    disk.set_state()
    with pytest.raises(Error) as failed:
        create_session()
    told = translate_error(failed.value)
    assert isinstance(told, Unavailable) and told.temporary and told.retry_after
