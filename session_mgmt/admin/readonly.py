"""Read-only admin: every change belongs to a verb."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import Error
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _

from session_mgmt.actions import addresses, audit
from session_mgmt.actions.sessions import hooks
from session_mgmt.conf import settings
from session_mgmt.models.outages import OutageLog, is_outage
from session_mgmt.user_code import find_hook

logger = logging.getLogger(__name__)
outages = OutageLog(logger, "The database did not answer a page of the admin")


class ReadOnlyAdmin(admin.ModelAdmin):
    """List and page without add, change and delete, whatever permissions the user has."""

    # Counting a table of millions for the head of a list would take longer than the list.
    show_full_result_count = False
    actions_on_bottom = False
    # Path to the tenant of a row. Rows without one are for people without a tenant only.
    tenant_path: str | None = None

    class Media:
        css = {"all": ["session_mgmt/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        """Return the pages, each of which says in a line that the database is away."""
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
        """Return the rows that the people of a tenant may see."""
        if self.tenant_path is None:
            return rows.none() if tenant else rows
        return rows.filter(**{self.tenant_path: tenant})

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # Also against a superuser: Django's deletion page would bypass the verbs, and leave no audit entry.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def note_action(self, request: HttpRequest, action: str, session: uuid.UUID | None, **data: Any) -> None:
        """Write an audit entry: actor, action and address, never any content."""
        audit.add_entry(action, user=request.user, session=session, ip=addresses.read_meta(request.META), **data)


def _answer_outages(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let a view answer 503 where the database is away, locked or full: an error page would tell of a fault."""

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **named: Any) -> HttpResponse:
        try:
            return view(request, *args, **named)
        except Error as error:
            if not is_outage(error):
                raise
            outages.tell(error)
            text = _("The database did not answer. Try again in a moment, and look first whether this was done.")
            headers = {"Retry-After": "1", "Cache-Control": "no-store"}
            return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers=headers)

    return answer
