"""List of rows that publish their changes, page by page, and what changes them."""

from __future__ import annotations

from typing import Any

from rest_framework import filters, generics

from session_mgmt.api.authentication import SessionTokenAuthentication
from session_mgmt.pagination import LiveCursorPagination, LivePages
from tests.faults.subject.models import Row, serialize_row

# With fewer rows one is made rather than deleted.
FEW = 20


def change_row(kind: str, place: str, label: str) -> None:
    """Make, rename or delete a row near a place in the order of names."""
    found = Row.objects.order_by("name").filter(name__gte=place).values_list("pk", flat=True).first()
    if found is None or kind == "make" or (kind == "delete" and Row.objects.count() < FEW):
        Row.objects.create(name=f"{place}{label}")
    elif kind == "rename":
        Row.objects.filter(pk=found).update(name=f"{label[-1]}{label}")
    else:
        Row.objects.filter(pk=found).delete()


class Pages(LiveCursorPagination):
    """Small pages, so that clients turn many."""

    page_size = 5
    max_page_size = 20
    topic = "rows:all"


class RowList(LivePages, generics.ListAPIView):
    """Rows by name, forwards or backwards."""

    authentication_classes = [SessionTokenAuthentication]
    pagination_class = Pages
    filter_backends = [filters.OrderingFilter]
    ordering_fields = ["name"]
    queryset = Row.objects.all()

    def get_serializer(self, rows: Any, **_: Any) -> Any:
        """Serialize as the publications do."""

        class Rows:
            data = [serialize_row(row) for row in rows]

        return Rows()
