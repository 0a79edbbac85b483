"""Publications about changed rows, made in the transaction that changes them.

A row is published as the database has it after the change. The object in memory is not used: it may hold expressions,
values of another type, or fields that were not saved. The topic that a row leaves is read before the change, under the
row's lock. So when two transactions move the same row, the second finds it where the first has put it.

Handlers of the project may change the same rows meanwhile, whenever Django calls them. So every change publishes its
rows after the handlers, as they are in the table, and the last publication about a row is true.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

from django.db import connections, transaction

from session_mgmt.conf import settings
from session_mgmt.models.isolation import read_committed
from session_mgmt.protocol.patterns import TopicPattern
from session_mgmt.publishing.publisher import Publisher, write_pk
from session_mgmt.writes.verbs import publish_all

# Rows of one query.
_MOST_ROWS = 500


class ChangingRow:
    """Row that is being saved or deleted, while handlers may change it too. Readers of ``topics`` may have it, and
    ``is_told`` is True if something was published about it meanwhile.

    A topic is never removed, because a publication in it may be rolled back with a part of the transaction.
    """

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.is_told = False


class _Thread(threading.local):
    """Rows that this thread is changing, by model and key, while something refers to their notes."""

    def __init__(self) -> None:
        self.changing: WeakValueDictionary[tuple[Any, Any], ChangingRow] = WeakValueDictionary()


_thread = _Thread()


def note_change(publisher: Publisher, pk: Any, topic: str | None) -> ChangingRow:
    """Note that a row is being changed, and its present topic; all callers get the same note of a row."""
    changing = _thread.changing.setdefault((publisher.model, pk), ChangingRow())
    if topic is not None:
        changing.topics.add(topic)
    return changing


def split_rows(pks: Iterable[Any], most: int = _MOST_ROWS) -> Iterator[tuple[Any, ...]]:
    """Split primary keys into parts for one query each."""
    left = iter(pks)
    while part := tuple(islice(left, most)):
        yield part


@contextmanager
def open_change(publisher: Publisher, using: str) -> Iterator[None]:
    """Commit the block's rows and publications together. Raises ``RuntimeError`` for another database."""
    ours = settings().database
    if using != ours:
        raise RuntimeError(
            f"{publisher.label} publishes its changes in the database {ours!r}, where the sessions are, and cannot be"
            f" changed in {using!r}: no transaction spans both."
        )
    # Without a savepoint, like Django's own saves: an error here must not leave a row without its publication.
    with read_committed(using), transaction.atomic(using=using, savepoint=False):
        yield


def lock_rows(publisher: Publisher, using: str, pks: Iterable[Any]) -> dict[Any, str | None]:
    """Lock the existing rows in the order of their keys, and return the topic of each."""
    found: dict[Any, str | None] = {}
    features = connections[using].features
    for part in split_rows(pks):
        rows = publisher.model._base_manager.using(using).filter(pk__in=part).order_by("pk")
        if features.has_select_for_update:
            rows = rows.select_for_update(no_key=features.has_select_for_no_key_update)
        if isinstance(publisher.topic, TopicPattern):
            rows = rows.only(*publisher.topic_fields.values())
        found.update((row.pk, publisher.left_by(row)) for row in rows)
    return found


def tell_rows(
    publisher: Publisher, using: str, pks: Iterable[Any], before: Mapping[Any, str | None] | None = None
) -> None:
    """Publish the present state of these rows. ``before`` maps rows that may have moved to the topics they were in."""
    left = before or {}
    publications: list[tuple[str, Any]] = []
    for part in split_rows(dict.fromkeys(map(publisher.read_pk, pks))):
        rows = _read_rows(publisher, using, part)
        shown = []
        for pk in part:
            row = rows.get(pk)
            topic = None if row is None else publisher.topic_of(row)
            for old in sorted(_list_left(publisher, pk, left.get(pk), topic)):
                publications.append(_say_gone(old, pk))
            if topic is not None:
                shown.append((topic, row))
        told = publisher.serialize([row for _, row in shown])
        for (topic, row), data in zip(shown, told, strict=True):
            body = {"op": "put", "pk": publisher.pk_of(row), "row": data, "key": publisher.key_of(row)}
            publications.append((topic, body))
    publish_all(publications)


def _list_left(publisher: Publisher, pk: Any, old: str | None, topic: str | None) -> set[str]:
    """Return the topics that a row has left, in which this must be published."""
    left = set() if old is None else {old}
    changing = _thread.changing.get((publisher.model, pk))
    if changing is not None:
        left |= changing.topics
        changing.is_told = True
        changing.topics.update(set() if topic is None else {topic})
    return left - {topic}


def tell_gone(publisher: Publisher, using: str, gone: Sequence[tuple[Any, ChangingRow]]) -> None:
    """Publish that rows are gone, by their keys. If others published a row meanwhile, look in the table first."""
    publish_all([_say_gone(topic, pk) for pk, row in gone if not row.is_told for topic in sorted(row.topics)])
    if changed := [pk for pk, row in gone if row.is_told]:
        tell_rows(publisher, using, changed)


def _say_gone(topic: str, pk: Any) -> tuple[str, Any]:
    return topic, {"op": "del", "pk": write_pk(pk)}


def _read_rows(publisher: Publisher, using: str, pks: Sequence[Any]) -> dict[Any, Any]:
    rows = publisher.model._base_manager.using(using).filter(pk__in=pks)
    if publisher.prefetch:
        rows = rows.prefetch_related(*publisher.prefetch)
    return {row.pk: row for row in rows}
