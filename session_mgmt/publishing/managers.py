"""Manager of publishing models: it publishes the rows that bulk operations change, because these send no signals."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError
from django.db.models import Manager, Q, QuerySet

from session_mgmt.publishing import changes
from session_mgmt.publishing.deletions import delete_together
from session_mgmt.publishing.publisher import Publisher, get_publisher

if TYPE_CHECKING:
    _QuerySet = QuerySet[Any]
    _Manager = Manager[Any]
else:
    _QuerySet = QuerySet


# Rows of one UPDATE, and alternatives in one condition: databases accept no more parameters and no deeper conditions.
_MOST_UPDATED, _MOST_ALTERNATIVES = 30_000, 200


class PublishingQuerySet(_QuerySet):
    """Query set whose ``update``, ``delete``, ``bulk_create`` and ``bulk_update`` publish the rows that they change."""

    def update(self, **kwargs: Any) -> int:
        publisher = self._find_publisher()
        if publisher is None:
            return super().update(**kwargs)
        if "pk" in kwargs or publisher.pk.name in kwargs:
            raise NotSupportedError(f"{publisher.label} publishes its rows by their primary key, which cannot change.")
        self._for_write = True
        with changes.open_change(publisher, self.db):
            # Change exactly these rows, because another transaction may add rows that match.
            found = self.order_by("pk").values_list("pk", flat=True)
            before: dict[Any, str | None] = dict.fromkeys(found)
            if publisher.can_move(kwargs):
                before = changes.lock_rows(publisher, self.db, before)
            # In one statement, because its conditions and values may look at other rows, which an earlier part would
            # have changed. Run it also without rows, because it checks the names of the fields.
            parts = list(changes.split_rows(before, _MOST_UPDATED)) or [()]
            count = sum(super(PublishingQuerySet, self.filter(pk__in=part)).update(**kwargs) for part in parts)
            changes.tell_rows(publisher, self.db, before, before)
        return count

    def delete(self) -> tuple[int, dict[str, int]]:
        publisher = self._find_publisher()
        has_values: bool = self._fields is not None  # type: ignore[attr-defined]
        if publisher is None or has_values or self.query.distinct:
            return super().delete()
        self._for_write = True
        with changes.open_change(publisher, self.db):
            pks = list(self.order_by("pk").values_list("pk", flat=True))
            with delete_together(publisher, self.db, pks):
                return super().delete()

    def bulk_create(
        self,
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[Any]:
        publisher = get_publisher(self.model)
        objs = list(objs)
        options = (batch_size, ignore_conflicts, update_conflicts, update_fields, unique_fields)
        if publisher is None:
            return super().bulk_create(objs, *options)
        if update_conflicts and publisher.can_move(update_fields):
            raise NotSupportedError(
                f"update_conflicts may move a row of {publisher.label} to another topic, and nobody would learn that"
                " it is gone from the old one. Leave the topic's fields out of update_fields, or use"
                " update_or_create()."
            )
        if ignore_conflicts and any(obj.pk is None for obj in objs):
            raise NotSupportedError(
                f"With ignore_conflicts the database does not say which rows of {publisher.label} it has made. Give "
                "each its primary key, or look for those that exist first."
            )
        self._for_write = True
        with changes.open_change(publisher, self.db):
            made = super().bulk_create(objs, *options)
            # An object that was given a key keeps it, although the row that it changed may have another one.
            changed = self._find_by_values(made, unique_fields or ()) if update_conflicts else []
            changes.tell_rows(publisher, self.db, [*(obj.pk for obj in made), *changed])
        return made

    # Django's marks: templates must not call these, and a manager has no `delete`, which would empty the table.
    update.alters_data = delete.alters_data = bulk_create.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _find_by_values(self, objs: Collection[Any], unique_fields: Collection[str]) -> list[Any]:
        """Return the keys of the stored rows that have the same values in their unique fields as these objects."""
        options = self.model._meta
        fields = [options.pk if name == "pk" else options.get_field(name) for name in unique_fields]
        if options.pk in fields:
            return []
        # A null does not equal other nulls and so changes no row, unless a constraint says otherwise.
        has_equal_nulls = any(getattr(one, "nulls_distinct", None) is False for one in options.constraints)
        values = [{field.attname: getattr(obj, field.attname) for field in fields} for obj in objs]
        wanted = [one for one in values if has_equal_nulls or None not in one.values()]
        found: list[Any] = []
        for at in range(0, len(wanted), _MOST_ALTERNATIVES):
            same = reduce(or_, (Q(**one) for one in wanted[at : at + _MOST_ALTERNATIVES]))
            found += self.model._base_manager.using(self.db).filter(same).values_list("pk", flat=True)
        return found

    def _find_publisher(self) -> Publisher | None:
        """Return the model's publisher; also None for a query that Django refuses, so that Django explains why."""
        query = self.query
        if query.is_sliced or query.distinct_fields or query.combinator:
            return None
        return get_publisher(self.model)


if not TYPE_CHECKING:
    _Manager = Manager.from_queryset(PublishingQuerySet)


class PublishingManager(_Manager):
    """Manager whose bulk operations publish the rows that they change; base class for managers of publishing models."""
