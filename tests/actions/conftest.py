"""Documents at hand: a session, writes from its own server, and writes of clients with numbers and bases."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from session_mgmt.actions import outbox
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.group_commit import Write
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.state import bodies, compaction, lookup
from session_mgmt.actions.state.updates import Terms, digest_request
from session_mgmt.bridge import bridge
from session_mgmt.models import Client, ClientSession, StateDocument, clock
from session_mgmt.shortcuts import create_session, state
from session_mgmt.writes import verbs
from session_mgmt.writes.attempts import Way

LIMIT = 10**8
OLD = ("2026-01", b64encode(b"o" * 32).decode())
NEW = ("2026-11", b64encode(b"n" * 32).decode())
SECRET = "a very telling word"


@dataclass(slots=True)
class Writer:
    """A client that numbers its writes."""

    client: Client
    document: int
    seq: int = 0
    said: list[tuple[int, Any]] = field(default_factory=list)

    def write(self, *ops: Any, seq: int | None = None, **terms: Any) -> Outcome:
        """Write without the document, under ``server_wins``; ``seq`` repeats an earlier number."""
        return self._send(Way.BLIND, ops, seq, {"strategy": "server_wins", **terms})

    def settle(self, *ops: Any, base: int, strategy: str = "merge", **terms: Any) -> Outcome:
        """Write what has to be merged with what others did since ``base``."""
        terms = {"base": base, "strategy": strategy, "client": self.client.pk, **terms}
        return self._send(Way.MERGE, ops, None, terms)

    def _send(self, way: Way, ops: tuple[Any, ...], seq: int | None, terms: dict[str, Any]) -> Outcome:
        if seq is None:
            self.seq += 1
        number = self.seq if seq is None else seq
        listed = [list(op) for op in ops]
        claim = digest_request("main", "ops", listed, terms["strategy"])
        fence = Fence(self.client.pk, self.client.client_id, 1, number, claim)
        update = verbs.prepare_update(way, self.document, "ops", listed, Terms(**terms))
        outcome = bridge().write(Write(update, fence))
        assert isinstance(outcome, Outcome)
        return outcome


class Desk:
    """One session and its document ``main``."""

    def __init__(self) -> None:
        self.session: ClientSession = create_session().session

    def put(self, *ops: Any) -> int:
        """Write total operations; gives the version."""
        written = state.update(self.session, ops=[list(op) for op in ops])
        return int(written.offset)  # type: ignore[union-attr]

    @property
    def row(self) -> StateDocument:
        return StateDocument.objects.get(session=self.session, name="main")

    def data(self) -> Any:
        return bodies.load_body("default", self.row.pk).data

    def writer(self) -> Writer:
        bodies.ensure_document("default", self.session.pk, "main", most=16, at=self.session.created_at)
        client = Client(session=self.session, generation=1, created_at=self.session.created_at)
        client.save(force_insert=True)
        return Writer(client, self.row.pk)


def wish(desk: Desk, change: Any) -> None:
    """An update from inside a transaction, which nobody drains yet."""
    with transaction.atomic():
        target = f"{desk.session.pk.hex}/main"
        outbox.put_entry("default", "update", target, {"kind": "merge", "change": change}, key=None)


@dataclass
class Case:
    """A document in which two clients have merged and disagreed, and whose every column is in use."""

    desk: Desk
    writers: tuple[Writer, Writer]
    answers: list[tuple[Writer, Any, str, int, Outcome]]

    @classmethod
    def made(cls) -> Case:
        desk = Desk()
        case = cls(desk, (desk.writer(), desk.writer()), [])
        desk.put(("set", "/diagnosis", SECRET))
        state.compress(desk.session)
        state.persist(desk.session, "kept")
        case.disagree("one")
        return case

    def disagree(self, name: str) -> None:
        """A merge that keeps what was asked for, and a conflict that waits."""
        first, second = self.writers
        self._say(first, ("set", f"/{name}", {"qty": 1, "note": SECRET}), strategy="server_wins")
        base = self.desk.row.version
        self._say(first, ("set", f"/{name}/qty", 2), strategy="server_wins")
        self._say(second, ("set", f"/{name}", {"qty": 1, "note": SECRET, "coupon": SECRET}), base=base)
        self._say(second, ("set", f"/{name}/qty", SECRET), base=base, strategy="manual")

    def _say(self, writer: Writer, op: Any, *, base: int | None = None, strategy: str = "merge") -> None:
        told = writer.write(op) if base is None else writer.settle(op, base=base, strategy=strategy)
        self.answers.append((writer, op, strategy, writer.seq, told))

    def wish(self, change: Any) -> None:
        wish(self.desk, change)

    def everything(self) -> dict[str, Any]:
        """All that can be read of the document."""
        session, last = self.desk.session, self.desk.row.version
        return {
            "now": state.get(session),
            "past": [state.read_at(session, version) for version in range(last + 1)],
            "kept": state.read_at(session, "kept"),
            "history": state.history(session)["results"],
            "diff": state.diff(session, 1, last),
            "conflicts": state.conflicts(session, include_resolved=True),
            "synced": orjson.dumps(lookup.sync_document(session.pk, "main", None)["data"]),
        }

    def check_retries(self) -> None:
        """Each number gets the answer that it got."""
        for writer, op, strategy, seq, told in self.answers:
            again = writer.write(op, seq=seq, strategy=strategy)
            assert again.replayed, again
            assert orjson.loads(again.body) == {**orjson.loads(told.body), "replayed": True}


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return Desk()


@pytest.fixture
def encrypted(settings: Any) -> Callable[..., None]:
    """Sets the keys, the first of which writes; at first there is one."""

    def use(*keys: tuple[str, str], **more: Any) -> None:
        settings.SESSION_MGMT = {"STATE_KEYS": list(keys), "ENCRYPT_STATE": True, **more}

    use(OLD)
    return use


@pytest.fixture
def case(encrypted: Any, transactional_db: None) -> Case:
    return Case.made()


class Killed(Exception):
    """The process is gone."""


@pytest.fixture
def kill_at() -> Iterator[Callable[[int], Any]]:
    """A context that lets so many statements pass and then kills whoever sends the next."""

    class KillAt:
        def __init__(self, statements: int) -> None:
            self.left = statements
            self._wrapper: Any = None

        def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if self.left <= 0:
                raise Killed
            self.left -= 1
            return execute(sql, params, many, context)

        def __enter__(self) -> KillAt:
            self._wrapper = connection.execute_wrapper(self)
            self._wrapper.__enter__()
            return self

        def __exit__(self, *error: Any) -> bool:
            self._wrapper.__exit__(*error)
            return error[0] is Killed

    yield KillAt


def compact_due(limit: int) -> int:
    """Compact what is due, as the sweep does, and return the number of deleted revisions."""
    return sum(map(compaction.compact_group, compaction.iter_due(limit, clock.read("default"))))
