"""Lists of tables that may have millions of rows: no page reads one of them as a whole."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.admin import AllValuesFieldListFilter
from django.core.paginator import Paginator
from django.utils.functional import cached_property

# Nobody turns so many pages: a filter or a search finds what is older.
MOST_ROWS: Final = 10_000


class NewestPaginator(Paginator):
    """Pages of the first rows of a list; what comes after them is neither counted nor shown."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_ROWS].count())


class NewestValuesFilter(AllValuesFieldListFilter):
    """Filter by the values that the newest rows have; all values of a column are known by reading all rows only."""

    def __init__(self, field: Any, request: Any, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        newest = model_admin.get_queryset(request).order_by("-pk").values_list(field_path, flat=True)[:MOST_ROWS]
        # One that was chosen stays in the list.
        self.lookup_choices: Any = sorted({*newest, *(self.lookup_val or ())})
