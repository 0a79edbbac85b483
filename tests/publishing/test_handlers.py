"""Handlers of the project that change rows while Django saves or deletes them: the last word about a row is true.

A model of a reader takes every publication in its order, and afterwards has what the table has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from session_mgmt.publishing.declaring import _hear_deletions
from session_mgmt.publishing.deletions import expect_deletion, hear_deletion
from tests.publishing.conftest import take_publications
from tests.shop.models import Customer, Note, Order

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]

Handle = Callable[..., None]
SIGNALS = (pre_save, post_save, pre_delete, post_delete)
KEYS, FOLDERS = ("k1", "k2", "k3"), ("a", "b")
SEEDS = range(11, 17)


class Readers:
    """One reader of each topic, who has seen all of its publications."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def read_on(self) -> None:
        for topic, body in take_publications():
            rows = self.rows.setdefault(topic, {})
            if body["op"] == "put":
                rows[body["pk"]] = body["row"]["text"]
            else:
                rows.pop(body["pk"], None)

    def list_rows(self) -> set[tuple[str, str, Any]]:
        return {(topic, pk, text) for topic, rows in self.rows.items() for pk, text in rows.items()}


def list_stored() -> set[tuple[str, str, Any]]:
    rows = Note.objects.filter(draft=False)
    return {(f"notes:{folder}", key, text) for folder, key, text in rows.values_list("folder", "key", "text")}


@pytest.fixture(params=["before ours", "after ours"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[Any, Handle], None]]:
    """Connect a handler of notes; Django calls the handlers of a signal in the order in which they were connected."""
    made: list[tuple[Any, Handle]] = []

    def connect_handler(signal: Any, handle: Handle) -> None:
        if request.param == "before ours":
            pre_delete.disconnect(expect_deletion, sender=Note)
            post_delete.disconnect(hear_deletion, sender=Note)
        signal.connect(handle, sender=Note, weak=False)
        _hear_deletions(Note)
        made.append((signal, handle))

    yield connect_handler
    for signal, handle in made:
        signal.disconnect(handle, sender=Note)


WAYS: dict[str, Callable[[], Any]] = {
    "row": lambda: Note.objects.get(key="k1").delete(),
    "query": lambda: Note.objects.filter(key="k1").delete(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_row_that_a_handler_makes_again_is_there_for_readers(connect: Any, way: str, folder: str) -> None:
    readers = Readers()
    Note.objects.create(key="k1", folder="a", text="old")
    connect(post_delete, lambda **_: Note.objects.create(key="k1", folder=folder, text="new"))
    WAYS[way]()
    readers.read_on()
    assert readers.list_rows() == {(f"notes:{folder}", "k1", "new")} == list_stored()


@pytest.mark.parametrize("way", WAYS)
def test_a_row_that_a_handler_moves_before_it_goes_is_gone_for_all_readers(connect: Any, way: str) -> None:
    readers = Readers()
    Note.objects.create(key="k1", folder="a")
    connect(pre_delete, lambda **_: Note.objects.filter(key="k1").update(folder="b"))
    WAYS[way]()
    readers.read_on()
    assert readers.list_rows() == list_stored() == set()


def test_a_row_that_a_handler_moves_before_it_is_saved_is_in_one_topic(connect: Any) -> None:
    readers = Readers()
    note = Note.objects.create(key="k1", folder="a")
    connect(pre_save, lambda **_: Note.objects.filter(key="k1").update(folder="b"))
    note.save()
    readers.read_on()
    assert readers.list_rows() == list_stored() == {("notes:a", "k1", "")}


def test_a_row_whose_key_is_given_in_another_type_is_told() -> None:
    order = Order.objects.create(customer=Customer.objects.create(name="Ann"))
    take_publications()
    text: Any = str(order.pk)
    Order(pk=text, customer=order.customer).save()
    Order(pk=text).delete()
    assert [body["op"] for _, body in take_publications()] == ["put", "del"]


class Chance:
    """Handlers that change any notes by any way, to a depth of three."""

    def __init__(self, seed: int) -> None:
        self._random, self._depth, self._number = random.Random(seed), 0, 0

    def handle(self, **_: Any) -> None:
        if self._depth < 3 and self._random.random() < 0.6:
            self._depth += 1
            try:
                self.change()
            finally:
                self._depth -= 1

    def change(self) -> None:
        pick = self._random.choice
        ways = [self._save, self._make, self._update, self._bulk, self._delete, self._delete_query, self._undo]
        # Handlers may have made the row already that Django is about to insert.
        with suppress(IntegrityError), transaction.atomic():
            pick(ways)(pick(KEYS), pick(FOLDERS), pick((False, False, True)))

    def _name(self) -> str:
        self._number += 1
        return f"text {self._number}"

    def _save(self, key: str, folder: str, draft: bool) -> None:
        Note(key=key, folder=folder, draft=draft, text=self._name()).save()

    def _make(self, key: str, folder: str, draft: bool) -> None:
        Note.objects.get_or_create(key=key, defaults={"folder": folder, "draft": draft, "text": self._name()})

    def _update(self, key: str, folder: str, draft: bool) -> None:
        Note.objects.exclude(key=key).update(folder=folder, draft=draft, text=self._name())

    def _bulk(self, key: str, folder: str, draft: bool) -> None:
        if not Note.objects.filter(key=key).exists():
            Note.objects.bulk_create([Note(key=key, folder=folder, draft=draft, text=self._name())])

    def _delete(self, key: str, folder: str, draft: bool) -> None:
        for note in Note.objects.filter(key=key):
            note.delete()

    def _delete_query(self, key: str, folder: str, draft: bool) -> None:
        Note.objects.exclude(key=key).delete()

    def _undo(self, key: str, folder: str, draft: bool) -> None:
        """Do something in a block that is rolled back."""

        class Undone(Exception):
            pass

        try:
            with transaction.atomic():
                self._save(key, folder, draft)
                raise Undone
        except Undone:
            pass


def test_whatever_handlers_do_readers_have_in_the_end_what_the_table_has(connect: Any) -> None:
    readers = Readers()
    for seed in SEEDS:
        chance = Chance(seed)
        for signal in SIGNALS:
            connect(signal, chance.handle)
        for _ in range(10):
            chance.change()
            readers.read_on()
            assert readers.list_rows() == list_stored(), seed
        for signal in SIGNALS:
            signal.disconnect(chance.handle, sender=Note)
