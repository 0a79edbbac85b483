"""Paginator and filter for tables with millions of rows: no page reads a whole table."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import AllValuesFieldListFilter
from django.core.paginator import Paginator
from django.utils.functional import cached_property

# Nobody turns this many pages; filters and the search find older rows.
MOST_ROWS: Final = 10_000


class NewestPaginator(Paginator):
    """Paginate only the first rows of a list; later rows are neither counted nor shown."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_ROWS].count())


class NewestValuesFilter(AllValuesFieldListFilter):
    """Filter by the values in the newest rows, because finding all values of a column would read all rows."""

    def __init__(self, field: Any, request: Any, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        newest = model_admin.get_queryset(request).order_by("-pk").values_list(field_path, flat=True)[:MOST_ROWS]
        # Keep the chosen value in the list, even if the newest rows no longer have it.
        self.lookup_choices: Any = sorted({*newest, *(self.lookup_val or ())})
