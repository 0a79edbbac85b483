"""Read-only admin: only functions of ``actions`` and ``writes`` change rows."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import Error
from django.db.models import BinaryField, JSONField, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from session_mgmt.actions import addresses, audit
from session_mgmt.actions.sessions import hooks
from session_mgmt.admin.large_tables import IndexedChangeList, NewestPaginator
from session_mgmt.conf import settings
from session_mgmt.models.outages import OutageLog, is_outage, keep_from_log
from session_mgmt.user_code import find_hook

logger = logging.getLogger(__name__)
_CONTENTS = (BinaryField, JSONField)
outages = OutageLog(logger, "The database did not answer a page of the admin")


class ReadOnlyAdmin(admin.ModelAdmin):
    """List and page without add, change and delete, whatever permissions the user has."""

    paginator = NewestPaginator
    # Counting millions of rows for the heading would take longer than the list itself.
    show_full_result_count = False
    actions_on_bottom = False
    # Lookup of a row's tenant. Rows without a tenant are only for staff without a tenant.
    tenant_path: str | None = None
    # Path to the session of a row. A search for an id uses its index, where Django's would read all rows as texts.
    session_path: str | None = None

    class Media:
        css = {"all": ["session_mgmt/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        """Return the URLs of the pages; each view answers with one line while the database is away."""
        return [
            URLPattern(page.pattern, _answer_outages(page.callback), page.default_args, page.name)
            for page in self.get_urls()
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).using(settings().database)
        if find_hook("tenant_of") is None:
            return rows
        return self.keep_tenant(rows, hooks.find_tenant(request))

    def keep_tenant(self, rows: QuerySet[Any], tenant: str) -> QuerySet[Any]:
        """Return the rows that staff of this tenant may see."""
        if self.tenant_path is None:
            return rows.none() if tenant else rows
        return rows.filter(**{self.tenant_path: tenant})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if self.session_path is None or not search_term.strip():
            return super().get_search_results(request, queryset, search_term)
        try:
            return queryset.filter(**{self.session_path: uuid.UUID(search_term.strip())}), False
        except ValueError:
            if tuple(self.search_fields) == (self.session_path,):
                return queryset.none(), False
            return super().get_search_results(request, queryset, search_term)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse to filter by contents and secrets.

        Django's own check allows each column of the table. Staff who may see a list, but not a column, could find its
        value from the rows that match.
        """
        name = lookup.split("__", 1)[0]
        is_hidden = any(field.name == name and isinstance(field, _CONTENTS) for field in self.opts.concrete_fields)
        return not is_hidden and super().lookup_allowed(lookup, value, request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[IndexedChangeList]:
        return IndexedChangeList

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        found.result_list = list(found.result_list)
        self.complete_rows(found.result_list)
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            self.complete_rows([row])
        return row

    def complete_rows(self, rows: list[Any]) -> None:
        """Set what the columns show from other tables.

        In the list's own query, PostgreSQL would plan it for all rows of the table, and read the whole other table.
        """

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # Superusers may not either: Django's deletion page would skip our functions, and leave no audit entry.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def note_action(self, request: HttpRequest, action: str, session: uuid.UUID | None, **data: Any) -> None:
        """Write an audit entry: actor, action and address, never any content."""
        audit.add_entry(action, user=request.user, session=session, ip=addresses.read_meta(request.META), **data)


def _answer_outages(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Make a view answer 503 if the database is away, locked or full; a 500 would suggest a fault of the site."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        try:
            return view(request, *args, **named)
        except Error as error:
            if not is_outage(error):
                raise
            outages.tell(error)
            text = _("The database did not answer. Check whether the change was made before you try again.")
            headers = {"Retry-After": "1", "Cache-Control": "no-store"}
            response = HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers=headers)
            keep_from_log(response)
            return response

    return answer
