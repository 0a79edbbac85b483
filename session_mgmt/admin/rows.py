"""Lists of the audit trail, of topics, and of outbox entries that wait or were refused."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.admin.show import as_json
from session_mgmt.models import AuditEntry, Outbox, Stream


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """List of the audit trail."""

    list_display = ("at", "action", "actor", "session", "ip", "facts_text")
    list_filter = ("action", "at")
    list_select_related = ("actor",)
    search_fields = ("session",)
    ordering = ("-at",)

    @admin.display(description=_("facts"))
    def facts_text(self, entry: AuditEntry) -> str:
        return as_json(entry.data, indent=None)


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    """List of topics."""

    list_display = ("topic", "head", "entries_held", "epoch", "created_at")
    search_fields = ("topic",)
    ordering = ("topic",)

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).annotate(entries=F("head") - F("oldest") + 1)

    @admin.display(description=_("entries held"), ordering="entries")
    def entries_held(self, stream: Any) -> int:
        return int(stream.entries)


@admin.register(Outbox)
class OutboxAdmin(ReadOnlyAdmin):
    """List of outbox entries.

    An entry that waits is normally gone within a second; a refused one stays with its reason.
    """

    list_display = ("id", "kind", "target", "refused", "created_at")
    list_filter = ("kind", "refused")
    search_fields = ("target",)
    exclude = ("payload",)
    ordering = ("-id",)
