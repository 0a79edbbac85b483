"""Costs of a change and of a return: as much for 5 MB as for 5 KB, in rows, bytes and statements; no clock is read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.sessions import attachments, lifecycle
from session_mgmt.actions.state import bodies, lookup
from session_mgmt.bridge import bridge
from session_mgmt.documents.size import measure_extent
from session_mgmt.models import StateSnapshot
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import STATE
from session_mgmt.shortcuts import state
from session_mgmt.testing import inline_bridge
from session_mgmt.writes import verbs
from session_mgmt.writes.attempts import Way
from tests import rows
from tests.api.calls import Caller, caller
from tests.attaching import attach_client
from tests.rows import Counter, Written

MAIN = "state:main"
SMALL, LARGE = 5_000, 5_000_000
KILOBYTE = 1000
# Numbers of rows and sizes have more digits in one than in the other.
DIGITS = 16


def document(size: int) -> dict[str, Any]:
    """So many bytes, in lines of a hundred."""
    return {"lines": ["x" * 97] * (size // 100), "field": 0}


def filled(created: lifecycle.Created, size: int, name: str = "main") -> None:
    """Fill the session's document as it is long after it was made: a snapshot, and a log that is short."""
    state.replace(created.session, document(size), name=name)
    state.compress(created.session, name=name)


@pytest.fixture
def counter(transactional_db: None) -> Iterator[Counter]:
    with rows.counted(connection) as counting:
        yield counting


async def patched(peers: Any, counter: Counter, size: int) -> tuple[Written, Written, bytes, bytes]:
    """Count the rows that a second update and its repetition write; give the receipt and the frames of another."""
    created = await bridge().call(lifecycle.create_session)
    await bridge().read(filled, created, size)
    one, other = peers(), peers()
    await one.open(created.token.secret)
    await other.open(created.token.secret)
    await other.until_following(MAIN)
    for seq in (1, 2):
        await bridge().read(counter.take)
        await one.say(type="update", seq=seq, doc="main", ops=[["set", "/field", seq]])
        receipt = await one.receipt(seq)
        entries = await other.until_type("entries")
        once = await bridge().read(counter.take)
    await one.say(type="update", seq=2, doc="main", ops=[["set", "/field", 2]])
    assert await one.receipt(2) == {**receipt, "replayed": True}
    again = await bridge().read(counter.take)
    return once, again, orjson.dumps(receipt), orjson.dumps(entries)


async def test_an_update_of_five_megabytes_writes_and_tells_what_one_of_five_kilobytes_does(
    peers: Any, counter: Counter
) -> None:
    small, _, small_receipt, small_entries = await patched(peers, counter, SMALL)
    large, _, large_receipt, large_entries = await patched(peers, counter, LARGE)
    assert large.rows == small.rows
    assert large.rows == {
        "session_mgmt_client UPDATE": 1,
        "session_mgmt_receipt INSERT": 1,
        "session_mgmt_statedocument UPDATE": 1,
        "session_mgmt_staterevision INSERT": 1,
    }
    assert large.bytes < 2 * KILOBYTE and abs(large.bytes - small.bytes) <= DIGITS
    assert len(large_receipt) < KILOBYTE and abs(len(large_receipt) - len(small_receipt)) <= DIGITS
    assert len(large_entries) < KILOBYTE and abs(len(large_entries) - len(small_entries)) <= DIGITS


async def test_an_update_that_is_repeated_writes_nothing(peers: Any, counter: Counter) -> None:
    once, again, _, _ = await patched(peers, counter, SMALL)
    assert (once.count, again.count) == (4, 0)


WAYS: dict[str, Callable[[Caller, int], Any]] = {
    "Python, merge": lambda mine, n: state.update(session_of(mine), {"field": n}),
    "Python, ops": lambda mine, n: state.update(session_of(mine), ops=[["set", "/field", n]]),
    "Python, patch": lambda mine, n: state.update(session_of(mine), patch=[replacing(n)]),
    "REST, merge": lambda mine, n: mine.patch("sessions/{id}/state/main/", {"merge": {"field": n}}),
    "REST, ops": lambda mine, n: mine.patch("sessions/{id}/state/main/", {"ops": [["set", "/field", n]]}),
    "REST, patch": lambda mine, n: mine.patch("sessions/{id}/state/main/", {"patch": [replacing(n)]}),
}


def session_of(mine: Caller) -> uuid.UUID:
    return uuid.UUID(mine.session)


def replacing(value: int) -> dict[str, Any]:
    return {"op": "replace", "path": "/field", "value": value}


def statements(act: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[str], Any]:
    """Collect the statements of a call on this thread, and give its result."""
    with CaptureQueriesContext(connection) as caught:
        answer = act(*args, **kwargs)
    return [query["sql"] for query in caught.captured_queries], answer


def of_documents(said: list[str]) -> list[str]:
    return [sql for sql in said if "session_mgmt_state" in sql]


def reads_a_body(said: list[str]) -> bool:
    return any(StateSnapshot._meta.db_table in sql and "body" in sql for sql in said)


@pytest.fixture
def inline(transactional_db: None) -> Iterator[None]:
    with inline_bridge():
        yield


def test_no_way_to_change_one_field_reads_the_document(inline: None) -> None:
    said: dict[int, dict[str, int]] = {}
    for size in (SMALL, LARGE):
        created = lifecycle.create_session()
        filled(created, size)
        mine = caller(created)
        counts = said[size] = {}
        for number, (name, way) in enumerate(WAYS.items()):
            # An RFC 6902 patch is tested against the document: decoded once, it is kept up to date from the log.
            way(mine, 2 * number + 1)
            asked, _ = statements(way, mine, 2 * number + 2)
            assert not reads_a_body(asked), name
            counts[name] = len(asked)
        assert state.get(created.session)["field"] == 2 * len(WAYS)
    assert said[SMALL] == said[LARGE]


def test_a_json_patch_that_has_room_is_not_measured_against_the_limit(inline: None, settings: Any) -> None:
    created = lifecycle.create_session()
    filled(created, SMALL)
    row = bodies.find_document("default", created.session.pk, "main")
    assert row is not None
    assert verbs.prepare_update(Way.HEAD, row, "patch", [replacing(1)]).exact_size is None
    settings.SESSION_MGMT = {"MAX_DOCUMENT_BYTES": len(orjson.dumps(document(SMALL))) + 5}
    changed = document(SMALL) | {"field": 1}
    assert verbs.prepare_update(Way.HEAD, row, "patch", [replacing(1)]).exact_size == measure_extent(changed)


def returning(created: lifecycle.Created, names: list[str]) -> Callable[[], attachments.Attachment]:
    """Make a function that reconnects a client which has seen all of these documents."""

    def connect(client_id: str | None, logs: dict[str, Any]) -> attachments.Attachment:
        return attach_client(Connect(created.token.secret, client_id, 0, logs, ""), server="test")

    first = connect(None, {STATE + name: None for name in names})
    return lambda: connect(first.client_id, {name: log.head.as_json() for name, log in first.logs.items()})


@pytest.mark.parametrize("count", [0, 1, 16])
def test_a_return_with_nothing_missed_is_one_query_whatever_the_number_of_documents(inline: None, count: int) -> None:
    created = lifecycle.create_session()
    names = [f"d{number}" for number in range(count)]
    for name in names:
        filled(created, LARGE if name == "d0" else SMALL, name)
    asked = of_documents(statements(returning(created, names))[0])
    assert len(asked) == (1 if count else 0)
    assert not reads_a_body(asked)


async def returned(peers: Any, size: int, missed: int) -> tuple[int, int]:
    """Bytes that are sent to a client which comes back so many versions later, and the queries of the receipt."""
    created = await bridge().call(lifecycle.create_session)
    await bridge().read(filled, created, size)
    one = peers()
    connected = await one.open(created.token.secret, logs={MAIN: None})
    assert (await one.until_type("snapshot"))["log"] == MAIN
    await one.drop()
    for number in range(missed):
        await bridge().read(verbs.update, created.session.pk, "main", "ops", [["set", "/field", number]])
    two = peers()
    position = connected["logs"][MAIN]["position"]
    await two.open(created.token.secret, client_id=connected["client_id"], logs={MAIN: position})
    receipt = (await two.until_type("recovery"))["receipt"]
    assert receipt["replayed"] == ({MAIN: [position[1] + 1, position[1] + missed]} if missed else {})
    return sum(len(orjson.dumps(frame)) for frame in two.seen), receipt["queries"]


@pytest.mark.parametrize(("missed", "most"), [(0, 2 * KILOBYTE), (1, 2 * KILOBYTE), (100, 12 * KILOBYTE)])
async def test_who_comes_back_gets_what_was_missed_and_never_the_document(peers: Any, missed: int, most: int) -> None:
    small, large = await returned(peers, SMALL, missed), await returned(peers, LARGE, missed)
    assert large[0] < most and abs(large[0] - small[0]) <= DIGITS
    assert large[1] == small[1]


def test_a_document_that_is_known_is_not_read_again(inline: None) -> None:
    counts = set()
    for size in (SMALL, LARGE):
        created = lifecycle.create_session()
        filled(created, size)
        mine = caller(created)
        etag = mine.get("sessions/{id}/state/main/").headers["ETag"]
        asked, answer = statements(mine.get, "sessions/{id}/state/main/", If_None_Match=etag)
        assert (answer.status_code, answer.content) == (304, b"")
        assert not reads_a_body(asked)
        counts.add(len(asked))
        assert len(mine.get("sessions/{id}/state/main/").content) > size
    assert len(counts) == 1


def test_a_synchronisation_costs_what_was_missed(inline: None) -> None:
    told: dict[int, list[tuple[int, int]]] = {}
    for size in (SMALL, LARGE):
        created = lifecycle.create_session()
        filled(created, size)
        start = lookup.sync_document(created.session.pk, "main", None)["position"]
        for number in range(100):
            state.update(created.session, {"field": number})
        positions = [lookup.sync_document(created.session.pk, "main", None)["position"], start]
        found = told[size] = []
        for position in positions:
            asked, answer = statements(lookup.sync_document, created.session.pk, "main", position)
            assert not reads_a_body(asked)
            found.append((len(asked), len(orjson.dumps(answer))))
    assert [count for count, _ in told[SMALL]] == [count for count, _ in told[LARGE]]
    assert told[LARGE][0][1] < KILOBYTE and told[LARGE][1][1] < 12 * KILOBYTE
