"""Lists of the audit trail, of topics, and of outbox entries that wait or were refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.db.models import Exists, F, OuterRef
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.admin.show import as_json
from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, ClientSession, Outbox, Stream


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """List of the audit trail."""

    list_display = ("at", "action", "actor", "of_session", "of_document", "ip", "facts_text")
    list_filter = ("action", "at")
    list_select_related = ("actor",)
    search_fields = ("session",)
    ordering = ("-at",)

    def get_queryset(self, request: Any) -> Any:
        kept = ClientSession.objects.using(settings().database).filter(pk=OuterRef("session"))
        return super().get_queryset(request).annotate(session_exists=Exists(kept))

    @admin.display(description=_("session"), ordering="session")
    def of_session(self, entry: Any) -> str:
        if entry.session is None:
            return ""
        name = format_html('<span title="{}">…{}</span>', entry.session, str(entry.session)[-12:])
        if not entry.session_exists:
            return name
        address = reverse("admin:session_mgmt_clientsession_change", args=[entry.session])
        return format_html('<a href="{}">{}</a>', address, name)

    @admin.display(description=_("document"))
    def of_document(self, entry: Any) -> str:
        name = entry.data.get("document")
        if not isinstance(name, str) or not entry.session_exists:
            return name if isinstance(name, str) else ""
        address = reverse("admin:session_mgmt_statedocument_changelist")
        return format_html('<a href="{}?q={}&amp;name={}">{}</a>', address, entry.session, quote(name, safe=""), name)

    @admin.display(description=_("facts"))
    def facts_text(self, entry: AuditEntry) -> str:
        return format_html('<code class="sm-wrap">{}</code>', as_json(entry.data, indent=None)) if entry.data else ""


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
