"""System check of views with live pages: find those that cannot work as promised."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, Warning
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import connections, router
from django.utils.module_loading import import_string
from rest_framework.generics import GenericAPIView

from session_mgmt.checks.values import register_check
from session_mgmt.conf import settings
from session_mgmt.pagination.ordering import find_orderable, is_hidden
from session_mgmt.pagination.paginator import LiveCursorPagination, list_shown
from session_mgmt.pagination.views import LivePages
from session_mgmt.publishing.publisher import get_publisher


@register_check(Tags.urls)
def check_live_pages(**_: Any) -> list[CheckMessage]:
    """Check views with live pages (W022): their class, database, transaction and ordering, and what hides
    their cursors.
    """
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
            yield "uses LivePages with another pagination class.", "Set pagination_class = LiveCursorPagination."
        return
    ours = settings().database
    model = getattr(view.queryset, "model", None)
    reads = ours if model is None else view.queryset._db or router.db_for_read(model)
    if model is not None and reads != ours:
        yield (
            f"reads {model._meta.label} from the database {reads!r}, but topics are in {ours!r}.",
            f"Add .using({ours!r}) to its query set. A replica may be behind the position of the page.",
        )
    opened = getattr(view.dispatch, "_non_atomic_requests", ())
    if is_exact and connections.settings.get(ours, {}).get("ATOMIC_REQUESTS") and ours not in opened:
        yield (
            "runs in a transaction of its request (ATOMIC_REQUESTS), so its pages are not exact.",
            "Decorate it: @method_decorator(transaction.non_atomic_requests, name='dispatch').",
        )
    for name in [] if model is None else _list_orderings(view, model):
        try:
            find_orderable(model, name)
        except ImproperlyConfigured as error:
            yield f"has an ordering that pages cannot use. {error}", "Name another field. The default is pk."
    if model is not None and find_spec("cryptography") is None and (hidden := _list_hidden(view, model)):
        yield (
            f"orders by {', '.join(hidden)}, which its rows do not contain, so its cursors must be encrypted.",
            "Install session-mgmt[crypto], add it to the serializer, or to keys of @publishes.",
        )


def _list_orderings(view: Any, model: Any) -> list[str]:
    """List the names by which the pages of a view may be ordered, without those that only a request shows."""
    given: list[Any] = [view.pagination_class.ordering or view.queryset.query.order_by or model._meta.ordering]
    if any(hasattr(backend, "get_ordering") for backend in view.filter_backends):
        allowed = getattr(view, "ordering_fields", None)
        # Pairs are names with their labels.
        named = [] if allowed in (None, "__all__") else [one if isinstance(one, str) else one[0] for one in allowed]
        given += [getattr(view, "ordering", None), named]
    names = [name for one in given for name in ([one] if isinstance(one, str) else one or ())]
    return [name for name in dict.fromkeys(names) if isinstance(name, str)]


def _list_hidden(view: Any, model: Any) -> list[str]:
    """List the declared orderings whose values only an encrypted cursor may contain."""
    allowed = getattr(view, "ordering_fields", None)
    given = [getattr(view, "ordering", None), view.pagination_class.ordering, view.queryset.query.order_by]
    given += [model._meta.ordering, None if allowed == "__all__" else allowed]
    names = {name for one in given for name in ([one] if isinstance(one, str) else one or ()) if isinstance(name, str)}
    shown = _list_shown(view)
    if shown is None:
        return []
    found = []
    for name in sorted({name.removeprefix("-") for name in names}):
        try:
            field = model._meta.pk if name == "pk" else model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        if is_hidden(name, field, get_publisher(model), shown):
            found.append(name)
    return found


def _list_shown(view: Any) -> set[str] | None:
    """Return the fields that rows show; None if they are known only with a request."""
    try:
        return list_shown(view.serializer_class())
    except Exception:
        # The project's code may need a request.
        return None
