"""Deletions: Django collects what is deleted, by cascades too, and tells of each row inside its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from session_mgmt.publishing import changes
from session_mgmt.publishing.publisher import Publisher, get_publisher


@dataclass(slots=True)
class _Together:
    """Rows that are deleted together, with their topics; ``gone`` collects those that Django reports as deleted."""

    model: type[Any]
    topics: dict[Any, str | None]
    gone: list[tuple[str | None, Any]] = field(default_factory=list)


_together: ContextVar[_Together | None] = ContextVar("together", default=None)


@contextmanager
def delete_together(publisher: Publisher, using: str, pks: Iterable[Any]) -> Iterator[None]:
    """Lock these rows, and after the block publish in one write which of them it has deleted."""
    batch = _Together(publisher.model, changes.lock_rows(publisher, using, pks))
    token = _together.set(batch)
    try:
        yield
    finally:
        _together.reset(token)
    changes.tell_gone(batch.gone)


def expect_deletion(sender: Any, instance: Any, using: str, **_: Any) -> None:
    """Remember the topic of a row before it is deleted; a receiver of ``pre_delete``."""
    publisher = get_publisher(sender)
    if publisher is not None and not _is_together(publisher, instance):
        with changes.open_change(publisher, using):
            instance._state.published_in = changes.lock_rows(publisher, using, [instance.pk]).get(instance.pk)


def hear_deletion(sender: Any, instance: Any, using: str, **_: Any) -> None:
    """Publish that a row was deleted; a receiver of ``post_delete``."""
    publisher, batch = get_publisher(sender), _together.get()
    if publisher is None:
        return
    if batch is not None and _is_together(publisher, instance):
        batch.gone.append((batch.topics[instance.pk], instance.pk))
    else:
        with changes.open_change(publisher, using):
            changes.tell_gone([(instance._state.__dict__.pop("published_in", None), instance.pk)])


def _is_together(publisher: Publisher, instance: Any) -> bool:
    batch = _together.get()
    return batch is not None and batch.model is publisher.model and instance.pk in batch.topics
