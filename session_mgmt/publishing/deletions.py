"""Deletions: Django collects all rows to delete, also by cascades, and sends a signal for each in its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from session_mgmt.publishing import changes
from session_mgmt.publishing.changes import ChangingRow
from session_mgmt.publishing.publisher import Publisher, get_publisher


@dataclass(slots=True)
class _Together:
    """Rows that are deleted together. ``gone`` collects those that Django reports as deleted."""

    model: type[Any]
    rows: dict[Any, ChangingRow]
    gone: list[tuple[Any, ChangingRow]] = field(default_factory=list)


_together: ContextVar[_Together | None] = ContextVar("together", default=None)


@contextmanager
def delete_together(publisher: Publisher, using: str, pks: Iterable[Any]) -> Iterator[None]:
    """Lock these rows, and after the block publish in one write which of them were deleted."""
    locked = changes.lock_rows(publisher, using, pks)
    rows = {pk: changes.note_change(publisher, pk, topic) for pk, topic in locked.items()}
    batch = _Together(publisher.model, rows)
    token = _together.set(batch)
    try:
        yield
    finally:
        _together.reset(token)
    changes.tell_gone(publisher, using, batch.gone)


def expect_deletion(sender: Any, instance: Any, using: str, **_: Any) -> None:
    """Remember the topic of a row before it is deleted; a receiver of ``pre_delete``."""
    publisher = get_publisher(sender)
    if publisher is not None and _find_together(publisher, instance) is None:
        with changes.open_change(publisher, using):
            pk = publisher.read_pk(instance.pk)
            topic = changes.lock_rows(publisher, using, [pk]).get(pk)
            instance._state.changing = changes.note_change(publisher, pk, topic)


def hear_deletion(sender: Any, instance: Any, using: str, **_: Any) -> None:
    """Publish that a row was deleted; a receiver of ``post_delete``."""
    publisher = get_publisher(sender)
    if publisher is None:
        return
    if (batch := _find_together(publisher, instance)) is not None:
        batch.gone.append((instance.pk, batch.rows[instance.pk]))
    elif (changing := instance._state.__dict__.pop("changing", None)) is not None:
        with changes.open_change(publisher, using):
            changes.tell_gone(publisher, using, [(publisher.read_pk(instance.pk), changing)])


def _find_together(publisher: Publisher, instance: Any) -> _Together | None:
    """Return the joint deletion that a row is part of, if there is one."""
    batch = _together.get()
    return batch if batch is not None and batch.model is publisher.model and instance.pk in batch.rows else None
