"""Paginator, filter and order for tables with millions of rows: no page reads a whole table."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.contrib.admin import AllValuesFieldListFilter
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext

# Nobody turns this many pages; filters and the search find older rows.
MOST_ROWS: Final = 10_000


class NewestPaginator(Paginator):
    """Paginate only the first rows of a list; later rows are neither counted nor shown."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_ROWS].count())


def is_large(rows: QuerySet[Any]) -> bool:
    """Return whether there are more rows than a list shows; at most one more is read."""
    return rows.order_by()[MOST_ROWS:].exists()


class IndexedChangeList(ChangeList):
    """List of more than ``MOST_ROWS`` rows that is sorted only by columns with an index of their own; a sort by any
    other column would read the whole table.
    """

    is_large = False

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        usual = super().get_ordering(request, queryset)
        if not self.params.get(ORDER_VAR) or not is_large(queryset):
            return usual
        self.is_large = True
        allowed = super().get_ordering(request, queryset)
        if allowed != usual:
            text = gettext("There are too many rows to sort by this column. Reduce them with a filter or a search.")
            messages.warning(request, text)
        return allowed

    def get_ordering_field(self, field_name: Any) -> Any:
        # Also where somebody types the order into the address, for which Django does not look at `sortable_by`.
        found = super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None
        return None if self.is_large and found not in self._indexed else found

    @cached_property
    def _indexed(self) -> set[str]:
        columns: list[Any] = list(self.lookup_opts.concrete_fields)
        fields = {field.name for field in columns if field.unique or field.db_index}
        return fields | {index.fields[0] for index in self.lookup_opts.indexes if index.fields and not index.condition}


class NewestValuesFilter(AllValuesFieldListFilter):
    """Filter by the values in the newest rows, because finding all values of a column would read all rows."""

    def __init__(self, field: Any, request: Any, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        newest = model_admin.get_queryset(request).order_by("-pk").values_list(field_path, flat=True)[:MOST_ROWS]
        # Keep the chosen value in the list, even if the newest rows no longer have it.
        self.lookup_choices: Any = sorted({*newest, *(self.lookup_val or ())})
