"""Admin of conflicts that the strategy ``manual`` has kept: list them, compare the values of one, and resolve it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from session_mgmt.actions import access, audit
from session_mgmt.actions.state import conflicts, inspection
from session_mgmt.admin import show
from session_mgmt.admin.content import ContentAdmin
from session_mgmt.bridge import bridge
from session_mgmt.documents import legible
from session_mgmt.documents.legible import Shown
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import StateConflict
from session_mgmt.writes import conflicts as deciding

OPEN, RESOLVED = "open", "resolved"
_REMOVE = "remove"
_PATH = 2000


class StateFilter(admin.SimpleListFilter):
    """Filter by open and resolved conflicts."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(OPEN, _("open")), (RESOLVED, _("resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in (OPEN, RESOLVED):
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() == OPEN)


@admin.register(StateConflict)
class StateConflictAdmin(ContentAdmin):
    """List and pages of kept conflicts.

    The list shows no content: paths and values are on the page of each conflict, which needs the permission to see
    documents.
    """

    tenant_path = "document__session__tenant"
    session_path = "document__session"
    folder = "stateconflict"
    list_display = ("short_id", "state_badge", "of_document", "of_session", "at", "lost_by")
    list_filter = (StateFilter, "at")
    list_select_related = ("document__session__user", "client")
    list_per_page = 50
    ordering = ("-id",)
    search_fields = ("document__name",)
    search_help_text = _("A document's name or a session's id.")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms([access.SEE, access.SEE_CONFLICTS])

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Without this, a list of fifty conflicts could load three large values for each of them.
        values = ("path", "base", "server", "client_value", "document__secret")
        rows = super().get_queryset(request).select_related("document__session__user", "client")
        return rows.defer(*values)

    def get_shared_context(self, request: HttpRequest, row: StateConflict) -> dict[str, Any]:
        return {"owner": show.name_owner(row.document.session)}

    # -- the list

    @admin.display(description=_("conflict"))
    def short_id(self, row: StateConflict) -> str:
        return format_html('<span class="sm-line">…{}</span>', str(row.pk)[-12:])

    @admin.display(description=_("document"), ordering="document__name")
    def of_document(self, row: StateConflict) -> str:
        address = reverse("admin:session_mgmt_statedocument_change", args=[row.document_id])
        return format_html('<a href="{}">{}</a>', address, row.document.name)

    @admin.display(description=_("session"))
    def of_session(self, row: StateConflict) -> str:
        return show.link_session(row.document.session)

    @admin.display(description=_("lost by"))
    def lost_by(self, row: StateConflict) -> str:
        return row.client.client_id if row.client else gettext("server")

    @admin.display(description=_("state"), ordering="resolved_at")
    def state_badge(self, row: StateConflict) -> str:
        if row.resolved_at is None:
            return format_html('<span class="sm-badge sm-reconnecting">{}</span>', gettext("open"))
        return format_html('<span class="sm-badge">{}</span>', row.get_resolution_display())

    # -- one conflict

    def get_urls(self) -> list[URLPattern]:
        return [self.view_url("resolve", "resolve", self.resolve_conflict), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self.render_about(request, object_id, self.look_page)

    def look_page(self, request: HttpRequest, row: StateConflict) -> HttpResponse:
        """Show the three values of the conflict, and the current value of the document at its path."""
        self._check_may_see(request)
        # Audit before the values are read, so that there is an entry even if the page fails afterwards.
        self.note_action(
            request, audit.READ_CONFLICT, row.document.session_id, document=row.document.name, conflict=str(row.pk)
        )
        return self._render_conflict(request, row)

    def _check_may_see(self, request: HttpRequest) -> None:
        if not request.user.has_perm(access.SEE_STATE):
            raise PermissionDenied

    def _render_conflict(self, request: HttpRequest, row: StateConflict, **more: Any) -> HttpResponse:
        record = conflicts.read_conflict(row.document_id, row.pk, run=bridge().run_in_worker)
        now = inspection.describe_value(row.document_id, record["path"], run=bridge().run_in_worker)
        names = (
            ("base", gettext("Before")),
            ("server", gettext("Kept: the server's")),
            ("client", gettext("Lost: the client's")),
        )
        values = [
            (name, label, legible.show_indented(record[name], inspection.VALUE_TEXT) if name in record else None)
            for name, label in names
        ]
        context = {
            "title": gettext("Conflict …%s") % str(row.pk)[-12:],
            "path": show.format_place(record["path"], _PATH),
            "values": values,
            "now": None if now.text is None else Shown(now.text, now.is_cut),
            "seen": now.digest,
            "is_open": row.resolved_at is None,
            "may_resolve": row.resolved_at is None and request.user.has_perm(access.RESOLVE_CONFLICTS),
            "keep": "server",
            "typed": "",
        }
        status = more.pop("status", 200)
        return self.render_page(request, "page", {**context, **more}, row, status=status)

    def resolve_conflict(self, request: HttpRequest, row: StateConflict) -> HttpResponse:
        """Resolve a conflict. ``keep`` is server, client, value (as typed) or remove; ``seen`` is the digest of the
        current value that the page showed.
        """
        self.check_allowed(request, access.RESOLVE_CONFLICTS)
        self._check_may_see(request)
        keep, typed = request.POST.get("keep", ""), request.POST.get("value", "")
        try:
            version = _decide_conflict(row, keep, typed, request.POST.get("seen", ""))
        except SessionMgmtError as error:
            told = {"error": error, "keep": keep, "typed": typed}
            # Show the page again with the value as typed, so that a refusal does not cost the operator the work.
            return self._render_conflict(request, row, **told, status=min(error.status, 499))
        facts = {"document": row.document.name, "conflict": str(row.pk), "keep": keep}
        made = {} if version is None else {"version": version}
        self.note_action(request, audit.RESOLVE_CONFLICT, row.document.session_id, **facts, **made)
        text = gettext("Resolved.") if version is None else gettext("Resolved, as version %d.") % version
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.build_url("change", row))


def _decide_conflict(row: StateConflict, keep: str, typed: str, seen: str) -> int | None:
    """Write the decision. Return the new version, or ``None`` if the document did not change."""
    value = conflicts.parse_value(typed) if keep == "value" else MISSING
    wanted = "value" if keep == _REMOVE else keep
    document = row.document
    outcome = deciding.resolve(
        document.session_id, document.name, row.pk, wanted, value, seen=seen, run=bridge().run_in_worker
    )
    position = outcome.require()
    return None if outcome.unchanged else position.offset
