"""Admin list of the events of all sessions, newest first; the page of a session lists its own events."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.admin.show import event_line, link_session
from session_mgmt.models import HandlerRun, SessionEvent
from session_mgmt.protocol.events import EVENT_TYPES


class TypeFilter(admin.SimpleListFilter):
    """Filter by the type of the event."""

    title = _("type")
    parameter_name = "type"

    # A fixed list, because finding all values in the table would read the whole table.
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(type=self.value()) if self.value() in EVENT_TYPES else queryset


@admin.register(SessionEvent)
class SessionEventAdmin(ReadOnlyAdmin):
    """List of events. Messages are left out: they are content, and this list requires no permission for content."""

    tenant_path = "session__tenant"
    session_path = "session"

    list_display = ("at", "type", "of_session", "facts")
    fields = ("at", "type", "seq", "of_session", "facts")
    readonly_fields = ("of_session", "facts")
    list_filter = (TypeFilter, "at")
    list_select_related = ("session__user",)
    search_fields = ("session",)
    search_help_text = _("A session's id.")
    ordering = ("-id",)
    # Sorted by anything else the whole table would be read.
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(type__in=EVENT_TYPES)

    @admin.display(description=_("session"), ordering="session")
    def of_session(self, event: SessionEvent) -> str:
        return link_session(event.session)

    @admin.display(description=_("facts"))
    def facts(self, event: SessionEvent) -> str:
        return format_html('<span class="sm-wrap">{}</span>', event_line(event).facts)


@admin.register(HandlerRun)
class HandlerRunAdmin(ReadOnlyAdmin):
    """List of durable handlers that an event has still to be given to. Who deletes one gives it up."""

    tenant_path = "session__tenant"
    list_display = ("at", "type", "handler_named", "of_session", "outcome")
    fields = ("at", "type", "seq", "handler", "of_session", "attempts", "error", "next_at")
    readonly_fields = ("of_session",)
    list_filter = (TypeFilter,)
    list_select_related = ("session__user",)
    ordering = ("-id",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description=_("handler"), ordering="handler")
    def handler_named(self, run: HandlerRun) -> str:
        return format_html('<span class="sm-wrap">{}</span>', run.handler)

    @admin.display(description=_("session"), ordering="session")
    def of_session(self, run: HandlerRun) -> str:
        return link_session(run.session)

    @admin.display(description=_("outcome"), ordering="attempts")
    def outcome(self, run: HandlerRun) -> str:
        told = ngettext("%d attempt", "%d attempts", run.attempts) % run.attempts
        return format_html('{} <span class="sm-under sm-wrap">{}</span>', told, run.error)
