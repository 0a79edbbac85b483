"""A page that is made on the server begins exactly where its live publications do, whatever is committed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import NotSupportedError, OperationalError, ProgrammingError, connection, transaction

from session_mgmt.actions.topics import snapshots
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import Busy, InvalidField
from session_mgmt.shortcuts import drain, history, open_snapshot, publish
from session_mgmt.testing import inline_bridge

ROOM = "topic:room:1"


def commit_elsewhere(name: str) -> None:
    """Commit a row with its publication, on another connection."""

    def commit() -> None:
        with transaction.atomic():
            Group.objects.create(name=name)
            publish("room:1", name)
        connection.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(commit).result()


def read_names() -> list[str]:
    return list(Group.objects.order_by("pk").values_list("name", flat=True))


def commit_before(monkeypatch: pytest.MonkeyPatch, step: str) -> Callable[..., Any]:
    """Commit a row each time before one step of a snapshot."""
    original, names = getattr(snapshots, step), iter("uvwxyz")

    def commit_first(*args: Any) -> Any:
        commit_elsewhere(next(names))
        return original(*args)

    monkeypatch.setattr(snapshots, step, commit_first)
    return commit_first


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["find_places", "_is_waited_for", "none"])
def test_a_page_has_what_is_published_up_to_its_place_and_nothing_more(
    step: str, declared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_elsewhere("a")
    if step == "find_places":
        commit_before(monkeypatch, step)
    elif step == "_is_waited_for":
        # Once: something that is committed before each look is refused, below.
        once = commit_before(monkeypatch, step)
        monkeypatch.setattr(snapshots, step, lambda *args: (monkeypatch.undo(), once(*args))[1])
    with open_snapshot("room:1") as positions:
        before = read_names()
        commit_elsewhere("b")
        assert read_names() == before, "the block has one moment"
    drain()
    _, offset, _ = positions["room:1"]
    assert before == [data for at, data, _ in history("room:1").entries if at.offset <= offset]
    assert read_names()[-1] == "b", "the moment is over"


@pytest.mark.django_db(transaction=True)
def test_a_topic_that_is_published_to_before_each_look_is_busy(declared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_before(monkeypatch, "_is_waited_for")
    monkeypatch.setattr(bridge(), "nudge", lambda: None)
    with pytest.raises(Busy), open_snapshot("room:1"):
        raise AssertionError("nothing may be read")
    assert len(read_names()) == 5
    with transaction.atomic():
        Group.objects.create(name="after")


@pytest.mark.django_db(transaction=True)
def test_nothing_can_be_written_while_a_page_is_read(declared: None) -> None:
    with pytest.raises(NotSupportedError, match=r"open_snapshot.*auth_group"), open_snapshot("room:1"):
        Group.objects.create(name="a")
    with pytest.raises(NotSupportedError), open_snapshot("room:1"):
        publish("room:1", "a")
    # What is wrong in another way keeps its own error.
    wrong = ProgrammingError if connection.vendor == "postgresql" else OperationalError
    with pytest.raises(wrong), open_snapshot("room:1"), connection.cursor() as cursor:
        cursor.execute("SELECT no_column FROM auth_group")
    assert read_names() == []
    Group.objects.create(name="b")
    publish("room:1", "b")
    assert [data for _, data, _ in history("room:1").entries] == ["b"]


@pytest.mark.django_db(transaction=True)
def test_a_page_cannot_be_made_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="non_atomic_requests"), open_snapshot("room:1"):
        raise AssertionError("nothing may be read")
    with pytest.raises(InvalidField), open_snapshot("room:1", "no\ttopic"):
        raise AssertionError("nothing may be read")


@pytest.mark.django_db
def test_inside_the_transaction_of_a_test_what_waits_is_applied_first(declared: None) -> None:
    with inline_bridge():
        with transaction.atomic():
            publish("room:1", "a")
        with open_snapshot("room:1") as positions:
            assert positions["room:1"][1] == 1


async def test_a_reader_goes_on_from_the_page_before_and_after_the_first_publication(
    peers: Any, created: Any, declared: None
) -> None:
    def read_page(name: str) -> list[Any]:
        with open_snapshot("room:1") as positions:
            page = positions["room:1"]
        publish("room:1", name)
        return page

    for name in ("a", "b"):
        page = await bridge().read(read_page, name)
        peer = peers()
        await peer.open(created.token.secret, logs={ROOM: page})
        assert [entry[2] for entry in await peer.entry(ROOM)] == [name]
