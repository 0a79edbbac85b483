"""Read-only admin: every change belongs to a verb."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from session_mgmt.actions import addresses, audit
from session_mgmt.conf import settings


class ReadOnlyAdmin(admin.ModelAdmin):
    """List and page without add, change and delete, whatever permissions the user has."""

    # Counting a table of millions for the head of a list would take longer than the list.
    show_full_result_count = False
    actions_on_bottom = False

    class Media:
        css = {"all": ["session_mgmt/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(settings().database)

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
