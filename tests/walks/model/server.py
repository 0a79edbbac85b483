"""The server's side: what the project's own code does to the documents, what time does, and a look at the rows."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connection, connections, transaction

from session_mgmt.actions.keys import rotation, verification
from session_mgmt.actions.state import entries
from session_mgmt.backends.doorbell import doorbell
from session_mgmt.bridge import bridge, crossing
from session_mgmt.conf import settings as now
from session_mgmt.exceptions import NotFound, SessionMgmtError
from session_mgmt.models import StateDocument
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.position import Position
from session_mgmt.shortcuts import create_session, state
from tests.walks.model.ledger import Book, Ledger, same, text

LIMIT = 10**7
PATIENCE = 60.0
COUNTER = "/n/server"
NEVER = "/never"


class Server:
    """`added` counts what must stand at `COUNTER` in the end."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._stop = bridge().lane.listen(ledger.hear)
        created = create_session()
        self.session, self.token = created.session, created.token.secret
        self.added = 0
        self.labels: dict[tuple[str, str], int] = {}
        self._keys = 0

    def stop(self) -> None:
        self._stop()

    def restart(self) -> None:
        """Everything that the process remembered is gone: caches, lane, doorbell, and the hub with its loop."""
        give_connections_back()
        bridge().close()
        self._stop()
        crossing.replace_bridge(None)
        doorbell.cache_clear()
        self._stop = bridge().lane.listen(self._ledger.hear)

    # What the project writes.

    def write(self, doc: str, kind: str, change: Any, *, twice: bool) -> None:
        """Outside a transaction, and twice under one key."""
        self.add(twice=twice)
        try:
            if kind == "data":
                state.replace(self.session, change, name=doc)
            else:
                state.update(self.session, name=doc, **{kind: change})
        except SessionMgmtError as error:
            assert error.name in ("patch_failed", "invalid_patch"), error

    def add(self, *, twice: bool) -> None:
        self._keys += 1
        key = f"once {self._keys}"
        places = [self._add(key) for _ in range(2 if twice else 1)]
        self.added += 1
        assert isinstance(places[0], Position) and isinstance(places[-1], Position)
        if places[0] != places[-1]:
            # A key is known for as long as its revision.
            assert self.row("main").oldest_revision > places[0].offset
            self.added += 1

    def _add(self, key: str) -> Any:
        return state.update(self.session, ops=[["inc", COUNTER, 1], ["inc", "/total", 1]], key=key)

    def write_inside(self, changes: list[tuple[str, tuple[str, Any]]], *, commit: bool) -> None:
        """In a transaction: told if and only if it commits, and a key counts once there too."""
        self._keys += 1
        try:
            with transaction.atomic():
                for doc, (kind, change) in changes:
                    self._wish(doc, kind, change)
                for _ in range(2):
                    self._add(f"wish {self._keys}")
                if not commit:
                    state.update(self.session, ops=[["set", NEVER, True]])
                    raise RolledBack
            self.added += 1
        except RolledBack:
            pass

    def _wish(self, doc: str, kind: str, change: Any) -> None:
        if kind == "data":
            state.replace(self.session, change, name=doc)
        else:
            state.update(self.session, name=doc, **{kind: change})

    # The past.

    def clear(self) -> None:
        state.clear(self.session, name="side")

    def persist(self, doc: str) -> None:
        row = self.find(doc)
        if row is None:
            return
        label = f"label {len(self.labels)}"
        self.labels[doc, label] = state.persist(self.session, label, name=doc)

    def restore(self, back: int, *, inside: bool) -> None:
        """Side as it was some versions ago, or under the newest label."""
        row = self.find("side")
        if row is None:
            return
        labels = [label for doc, label in self.labels if doc == "side"]
        to: int | str = labels[-1] if labels and back == 0 else max(0, row.version - back)
        try:
            if inside:
                with transaction.atomic():
                    state.restore(self.session, to, name="side")
            else:
                state.restore(self.session, to, name="side")
        except NotFound:
            assert isinstance(to, int) and to < self.row("side").oldest_revision - 1

    def resolve(self, doc: str, keep: str) -> None:
        """Decide the newest conflict that waits."""
        waiting = state.conflicts(self.session, name=doc)
        if waiting:
            value = {"value": 7} if keep == "value" else {}
            try:
                state.resolve(self.session, waiting[0]["id"], keep, name=doc, **value)
            except SessionMgmtError as error:
                assert error.name == "conflict", error
            else:
                assert waiting[0]["id"] not in {one["id"] for one in state.conflicts(self.session, name=doc)}

    def compact(self, doc: str) -> None:
        if self.find(doc) is not None:
            state.compress(self.session, name=doc)

    def seal_anew(self, doc: str) -> None:
        """Put a document under the newest key, encrypted or not so far."""
        if (row := self.find(doc)) is not None:
            with transaction.atomic():
                rotation.rotate_document(now().database, row.pk)

    # The rows.

    def find(self, doc: str) -> StateDocument | None:
        return StateDocument.objects.filter(session=self.session, name=doc).first()

    def row(self, doc: str) -> StateDocument:
        return StateDocument.objects.get(session=self.session, name=doc)

    def book(self, doc: str) -> Book:
        row = self.find(doc)
        return Book() if row is None else self._ledger.book(row.pk)

    def look_back(self, doc: str) -> None:
        """`check` while others write: again where they did so in the middle."""
        while True:
            before = self._mark(doc)
            try:
                return self.check(doc)
            except (AssertionError, NotFound):
                # The lane commits first and tells then.
                if self._mark(doc) == before and before[0] == self.book(doc).head:
                    raise

    def _mark(self, doc: str) -> Any:
        columns = ("version", "oldest_revision", "snapshot_version")
        return StateDocument.objects.filter(session=self.session, name=doc).values_list(*columns).first()

    def check(self, doc: str) -> None:
        """The rows are the book from `oldest_revision` on: each version, its sum, the head, labels, size and chain."""
        row, book = self.find(doc), self.book(doc)
        if row is None:
            return
        assert row.version == book.head
        kept = entries.read_entries(Statements(connection), row.pk, 0, LIMIT, most_bytes=LIMIT)
        assert [entry.offset for entry in kept] == list(range(row.oldest_revision, row.version + 1))
        for version in range(row.oldest_revision - 1, row.version + 1):
            assert same(state.read_at(self.session, version, name=doc), book.value(version)), f"{doc} at {version}"
        for (name, label), version in self.labels.items():
            if name == doc:
                assert same(state.read_at(self.session, label, name=doc), book.value(version)), f"{doc} at {label}"
        assert same(state.get(self.session, doc), book.value(row.version))
        assert verification.verify_document(row.pk) == []

    def check_size(self, doc: str) -> None:
        if self.find(doc) is not None:
            compact = len(text(self.book(doc).value(-1)))
            assert state.size(self.session, doc) == compact


def give_connections_back() -> None:
    """A process that ends takes its connections along; its threads alone leave them to the garbage collector."""
    pool, threads = bridge()._reads, now().read_threads
    together = threading.Barrier(threads)

    def close() -> None:
        together.wait(PATIENCE)
        connections.close_all()

    for closing in [*(pool.submit(close) for _ in range(threads)), bridge()._control.submit(connections.close_all)]:
        closing.result(PATIENCE)


class RolledBack(Exception):
    """The project changed its mind."""
