"""Find all rows that Django deletes together, so that a receiver of the first signal can act for all of them at once.

Django sends a separate signal for each row of a deletion, after it has collected all rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models, transaction
from django.db.models.deletion import Collector

M = TypeVar("M", bound=models.Model)

# For more rows Django needs several statements to collect the related rows and to delete them.
_ROWS = 100
_COLLECTOR, _TAKEN = "_session_mgmt_collector", "_session_mgmt_taken"


class DeletedInGroups(models.QuerySet[M]):
    """Query set that deletes its rows in groups, in one transaction; rows that match only later are left."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows with all related rows, and return the counts in Django's form."""
        rows: Any = self
        if rows.query.combinator or rows.query.is_sliced or rows.query.distinct_fields or rows._fields is not None:
            # Let Django explain why this query set cannot be deleted.
            return super().delete()
        self._for_write = True
        found = self.order_by("pk").values_list("pk", flat=True)
        # Django skips this step too while no transaction is open.
        found.query.select_for_update = False
        keys = list(found)
        # Before the transaction, as Django does it, so that no lock is held meanwhile.
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
    """Cascade as Django does, and remember which rows are deleted together."""
    # Evaluate the query now, so that the remembered rows are the collected ones.
    rows: Any = list(sub_objs)
    owners = (row for _, row in collector.instances_with_model() if isinstance(row, field.related_model))
    _note_collector([*owners, *rows], collector)
    models.CASCADE(collector, field, rows, using)


# Django also calls this for owners without related rows.
cascade_together.lazy_sub_objs = True  # type: ignore[attr-defined]


def _note_collector(rows: Iterable[models.Model], collector: Any) -> None:
    for row in rows:
        setattr(row, _COLLECTOR, collector)


def take_together(row: models.Model) -> list[models.Model]:
    """Return all rows that are deleted together with this one, whose deletion Django has just announced. Return none if
    one of them was announced before.
    """
    collector = getattr(row, _COLLECTOR, None)
    if collector is None:
        return [row]
    if getattr(collector, _TAKEN, False):
        return []
    setattr(collector, _TAKEN, True)
    return [other for _, other in collector.instances_with_model()]
