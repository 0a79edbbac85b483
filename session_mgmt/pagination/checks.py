"""System check of views with live pages: find those that cannot keep their promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, Warning
from django.db import connections, router
from django.utils.module_loading import import_string
from rest_framework.generics import GenericAPIView

from session_mgmt.checks.values import register_check
from session_mgmt.conf import settings
from session_mgmt.pagination.paginator import LiveCursorPagination
from session_mgmt.pagination.views import LivePages


@register_check(Tags.urls)
def check_live_pages(**_: Any) -> list[CheckMessage]:
    """Check views with live pages (W022): their class, their database and their transaction."""
    _load_views()
    return [
        Warning(f"{view.__qualname__} {fault}", hint=hint, obj=view, id="session_mgmt.W022")
        for view in _iter_subclasses(GenericAPIView)
        for fault, hint in _list_faults(view)
    ]


def _load_views() -> None:
    """Import the views. If that fails, Django's own check of URLs reports it."""
    try:
        import_string(f"{django_settings.ROOT_URLCONF}.urlpatterns")
    except Exception:
        return


def _iter_subclasses(class_: Any) -> Iterator[Any]:
    for subclass in class_.__subclasses__():
        yield subclass
        yield from _iter_subclasses(subclass)


def _list_faults(view: Any) -> Iterator[tuple[str, str]]:
    is_exact, pages = issubclass(view, LivePages), view.pagination_class
    if not (isinstance(pages, type) and issubclass(pages, LiveCursorPagination)):
        if is_exact and pages is not None:
            yield "has LivePages, and its pages are of another class.", "Set pagination_class = LiveCursorPagination."
        return
    ours = settings().database
    model = getattr(view.queryset, "model", None)
    reads = ours if model is None else view.queryset._db or router.db_for_read(model)
    if model is not None and reads != ours:
        yield (
            f"reads {model._meta.label} from the database {reads!r}, and places of topics are in {ours!r}.",
            f"Add .using({ours!r}) to its query set: a replica may be behind the place that the page tells.",
        )
    opened = getattr(view.dispatch, "_non_atomic_requests", ())
    if is_exact and connections.settings.get(ours, {}).get("ATOMIC_REQUESTS") and ours not in opened:
        yield (
            "runs in a transaction of its request (ATOMIC_REQUESTS), so that its pages are not exact.",
            "Decorate it: @method_decorator(transaction.non_atomic_requests, name='dispatch').",
        )
