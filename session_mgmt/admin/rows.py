"""Admin lists without pages of their own: the audit trail, topics, members of topics, and the outbox."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from session_mgmt.admin.large_tables import NewestValuesFilter
from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.admin.show import format_fact, label_cell
from session_mgmt.conf import settings
from session_mgmt.models import AuditEntry, ClientSession, Member, Outbox, Stream
from session_mgmt.protocol.logs import PRESENCE


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """List of the audit trail."""

    list_display = ("at", "action", "actor_name", "about", "facts_text")
    fields = ("at", "action", "actor", "ip", "whole_session", "of_document", "facts_text")
    readonly_fields = ("whole_session", "of_document", "facts_text")
    list_filter = (("action", NewestValuesFilter), "at")
    list_select_related = ("actor",)
    session_path = "session"
    search_fields = ("session",)
    search_help_text = _("A session's id.")
    ordering = ("-at",)
    # Sorted by anything else the whole table would be read.
    sortable_by = ("at",)

    def keep_tenant(self, rows: QuerySet[Any], tenant: str) -> QuerySet[Any]:
        # An entry only names its session, which may be deleted; then its tenant is unknown.
        mine = ClientSession.objects.using(settings().database).filter(tenant=tenant)
        return rows.filter(session__in=mine.values("pk"))

    def complete_rows(self, rows: list[Any]) -> None:
        named = {entry.session for entry in rows} - {None}
        kept = set(ClientSession.objects.using(settings().database).filter(pk__in=named).values_list("pk", flat=True))
        for entry in rows:
            entry.session_exists = entry.session in kept

    @admin.display(description=_("actor"), ordering="actor")
    def actor_name(self, entry: AuditEntry) -> str:
        name = entry.actor.get_username() if entry.actor else _("a command")
        return format_html('{} <span class="sm-quiet sm-under">{}</span>', name, entry.ip or "")

    @admin.display(description=_("about"), ordering="session")
    def about(self, entry: Any) -> str:
        return format_html('{} <span class="sm-under">{}</span>', self.of_session(entry), self.of_document(entry))

    def of_session(self, entry: Any) -> str:
        if entry.session is None:
            return ""
        name = format_html('<span class="sm-line" title="{}">…{}</span>', entry.session, str(entry.session)[-12:])
        return self._link_session(entry, name)

    @admin.display(description=_("session"))
    def whole_session(self, entry: Any) -> str:
        return self._link_session(entry, str(entry.session)) if entry.session else ""

    def _link_session(self, entry: Any, name: str) -> str:
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
        facts = [(name, format_fact(value)) for name, value in entry.data.items() if name != "document"]
        return format_html_join(", ", '{}: <span class="sm-wrap">{}</span>', facts)


@admin.register(Stream)
class StreamAdmin(ReadOnlyAdmin):
    """List of topics."""

    list_display = ("topic", "newest", "entries_held", "epoch", "created_at")
    search_fields = ("topic",)
    ordering = ("topic",)

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).annotate(entries=F("head") - F("oldest") + 1)

    @admin.display(description=_("head"), ordering="head")
    def newest(self, stream: Stream) -> str:
        return label_cell(_("head"), stream.head)

    @admin.display(description=_("entries held"), ordering="entries")
    def entries_held(self, stream: Any) -> str:
        return label_cell(_("entries held"), stream.entries)


@admin.register(Member)
class MemberAdmin(ReadOnlyAdmin):
    """List of the present members of topics that are declared with presence."""

    list_display = ("member", "topic", "since", "is_told")
    # Members publish this data only for those who may follow the topic.
    exclude = ("data", "told", "waiting")
    readonly_fields = ("topic", "is_told")
    list_select_related = ("stream",)
    search_fields = ("member", "stream__topic")
    ordering = ("-pk",)

    @admin.display(description=_("topic"), ordering="stream__topic")
    def topic(self, member: Member) -> str:
        return member.stream.topic.removeprefix(PRESENCE)

    @admin.display(description=_("told"), boolean=True)
    def is_told(self, member: Member) -> bool:
        return member.told is not None


@admin.register(Outbox)
class OutboxAdmin(ReadOnlyAdmin):
    """List of outbox entries.

    An entry that waits is normally gone within a second; a refused one stays with its reason.
    """

    list_display = ("id", "kind", "target", "refused", "created_at")
    list_filter = ("kind", ("refused", NewestValuesFilter))
    search_fields = ("target",)
    # The payload holds content of documents, which needs another permission.
    exclude = ("payload",)
    ordering = ("-id",)
