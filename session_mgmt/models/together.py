"""Rows that Django deletes together: whoever hears that one of them goes can act for all of them at once.

Django announces each row of a deletion by a signal of its own, after it has found all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models, transaction
from django.db.models.deletion import Collector

M = TypeVar("M", bound=models.Model)

# Django looks for what hangs on more rows, and deletes more of them, by several statements.
_ROWS = 100
_COLLECTOR, _TAKEN = "_session_mgmt_collector", "_session_mgmt_taken"


class DeletedInGroups(models.QuerySet[M]):
    """Query set that is deleted in groups and in one transaction; it deletes the rows that it has at the beginning."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows with all that hangs on them, and return their numbers as Django does."""
        rows: Any = self
        if rows.query.combinator or rows.query.is_sliced or rows.query.distinct_fields or rows._fields is not None:
            # Django says why it cannot.
            return super().delete()
        self._for_write = True
        found = self.order_by("pk").values_list("pk", flat=True)
        # As Django leaves it out: this is no part of a transaction yet.
        found.query.select_for_update = False
        keys = list(found)
        # Before the transaction, as Django does it: nobody has to wait for this.
        groups = [self._collect_rows(keys[start : start + _ROWS]) for start in range(0, len(keys), _ROWS)]
        deleted: Counter[str] = Counter()
        with transaction.atomic(using=self.db):
            for collector in groups:
                deleted.update(collector.delete()[1])
        self._result_cache = None
        return sum(deleted.values()), dict(deleted)

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _collect_rows(self, keys: list[Any]) -> Collector:
        rows = list(self.model._base_manager.using(self.db).filter(pk__in=keys))
        collector = Collector(using=self.db, origin=self)
        _note_collector(rows, collector)
        collector.collect(rows)
        return collector


def cascade_together(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Cascade as Django does, and let the rows on both sides know what goes with them."""
    # Now, so that those which are told are those which are collected.
    rows: Any = list(sub_objs)
    owners = (row for _, row in collector.instances_with_model() if isinstance(row, field.related_model))
    _note_collector([*owners, *rows], collector)
    models.CASCADE(collector, field, rows, using)


# Django calls it also for owners without rows.
cascade_together.lazy_sub_objs = True  # type: ignore[attr-defined]


def _note_collector(rows: Iterable[models.Model], collector: Any) -> None:
    for row in rows:
        setattr(row, _COLLECTOR, collector)


def take_together(row: models.Model) -> list[models.Model]:
    """Return all rows that are deleted together with one of which Django has told before its deletion; none if it has
    told of one of them before.
    """
    collector = getattr(row, _COLLECTOR, None)
    if collector is None:
        return [row]
    if getattr(collector, _TAKEN, False):
        return []
    setattr(collector, _TAKEN, True)
    return [other for _, other in collector.instances_with_model()]
