"""Admin of sessions: owner, device, connections, and the actions of an operator."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from session_mgmt.actions import access, addresses, audit, cleanup, monitoring
from session_mgmt.actions.sessions import connections, devices, hooks, stopping
from session_mgmt.admin import panels, show
from session_mgmt.admin.people import PeoplePages
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, Connection, clock
from session_mgmt.protocol.codes import Close

_QUESTIONS = {
    "terminate": _("End these sessions for good?"),
    "disconnect": _("Disconnect these sessions?"),
}
# Below Django's limit for the fields of a form (1000), and few enough to act on within seconds.
MOST_CHOSEN = 500
CONNECTED, RECONNECTING, DISCONNECTED = "connected", "reconnecting", "disconnected"


class ConnectionFilter(admin.SimpleListFilter):
    """Filter by the state of the connections: open, just lost, or none."""

    title = _("connection")
    parameter_name = "connection"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(CONNECTED, _("connected")), (RECONNECTING, _("reconnecting")), (DISCONNECTED, _("disconnected"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        leased = Connection.objects.filter(session=OuterRef("pk"), lease_expires_at__gt=clock.read(queryset.db))
        has_open = Exists(leased.filter(closed_at__isnull=True))
        has_lost = Exists(leased.filter(closed_at__isnull=False).exclude(close_code=1000))
        wanted = {CONNECTED: has_open, RECONNECTING: ~has_open & has_lost, DISCONNECTED: ~has_open & ~has_lost}
        chosen = wanted.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)


@admin.register(ClientSession)
class ClientSessionAdmin(PeoplePages):
    """List of sessions, page of one session, and its actions."""

    tenant_path = "tenant"
    session_path = "pk"

    list_display = ("short_id", "owner_name", "status_badges", "device_name", "last_active")
    list_filter = ("state", ConnectionFilter, "created_at")
    list_select_related = ("user", "activity")
    list_per_page = 50
    ordering = ("-created_at",)
    search_help_text = _("A user's name, a session's id, a device's label or an IP address.")
    actions = ("terminate_selected", "disconnect_selected", "reconnect_selected")

    def complete_rows(self, rows: list[Any]) -> None:
        # Read the database's clock once for the whole page, or badges of one list could contradict each other.
        now = clock.read(settings().database)
        states = connections.read_states((session.pk for session in rows), now=now)
        for session in rows:
            session.asked_at, session.connection_state = now, states[session.pk]

    # -- the list

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return (f"user__{get_user_model().USERNAME_FIELD}", "label", "ip")

    @admin.display(description=_("session"), ordering="id")
    def short_id(self, session: ClientSession) -> str:
        # Show the end, because UUIDs of version 7 from the same moment have the same beginning.
        return format_html('<span class="sm-line" title="{}">…{}</span>', session.pk, str(session.pk)[-12:])

    @admin.display(description=_("user"), ordering="user")
    def owner_name(self, session: ClientSession) -> str:
        return show.name_owner(session)

    @admin.display(description=_("status"), ordering="state")
    def status_badges(self, session: Any) -> str:
        state = _make_badge(session.state, session.get_state_display())
        if session.state != ClientSession.State.ACTIVE:
            return state
        connection = session.connection_state
        return format_html("{} {}", state, _make_badge(connection, gettext(connection)))

    @admin.display(description=_("device"), ordering="label")
    def device_name(self, session: ClientSession) -> str:
        text = show.name_device(session.label, session.user_agent, session.ip)
        return format_html('<span title="{}">{}</span>', session.ip or "", text)

    @admin.display(description=_("last active"), ordering="activity__last_active_at")
    def last_active(self, session: Any) -> str:
        at = session.activity.last_active_at
        return format_html('<time class="sm-line" title="{}">{}</time>', at, show.format_age(session.asked_at - at))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        # The figures cover all tenants, so staff of one tenant must not see them.
        overview = None if hooks.find_tenant(request) else monitoring.read_health()
        context = {"overview": overview, "may_clean": self.has_clean_permission(request)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    # -- one session

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        session = self._find_session(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Session …%s") % str(session.pk)[-12:],
            "media": self.media,
            "connection_state": session.connection_state,
            "owner": self.owner_name(session),
            "is_live": session.state == ClientSession.State.ACTIVE,
            "may_terminate": self.has_terminate_permission(request),
            "may_disconnect": self.has_disconnect_permission(request),
            "may_open_person": session.user_id is not None and (self.may_export(request) or self.may_erase(request)),
            **panels.build_panels(request, session),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/session_mgmt/clientsession/page.html", context)

    def _find_session(self, request: HttpRequest, object_id: str) -> Any:
        if not self.has_view_permission(request):
            raise PermissionDenied
        session = self.get_object(request, unquote(object_id))
        if session is None:
            raise Http404
        return session

    # -- doing

    def get_urls(self) -> list[URLPattern]:
        def wrap_view(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
            return self.admin_site.admin_view(view)

        return [
            *self.list_people_urls(),
            path("clean/", wrap_view(self.clean_view), name="session_mgmt_clientsession_clean"),
            path("<path:object_id>/act/", wrap_view(self.act_view), name="session_mgmt_clientsession_act"),
            *super().get_urls(),
        ]

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Handle the buttons of a session's page: ``do`` is terminate, disconnect or reconnect."""
        session = self._find_session(request, object_id)
        do = request.POST.get("do", "")
        allowed = {
            "terminate": self.has_terminate_permission,
            "disconnect": self.has_disconnect_permission,
            "reconnect": self.has_disconnect_permission,
        }
        if request.method != "POST" or do not in allowed or not allowed[do](request):
            raise PermissionDenied
        # Ask for a confirmation, because disconnected clients do not reconnect by themselves.
        if do == "disconnect" and request.POST.get("confirmed") != "yes":
            return self._ask(request, do, [session])
        if self._act(request, do, [session.pk], request.POST.get("reason", "")):
            self.message_user(request, gettext("Done."), messages.SUCCESS)
        else:
            self.message_user(request, gettext("The session had already ended."), messages.WARNING)
        return HttpResponseRedirect(reverse("admin:session_mgmt_clientsession_change", args=[session.pk]))

    def clean_view(self, request: HttpRequest) -> HttpResponse:
        """Run the cleanup now."""
        if request.method != "POST" or not self.has_clean_permission(request):
            raise PermissionDenied
        report = cleanup.run_cleanup().as_dict()
        self.note_action(request, "cleanup", None, **report)
        done = ", ".join(f"{step} {rows}" for step, rows in report.items() if rows) or gettext("nothing to do")
        self.message_user(request, gettext("Cleaned up: %s.") % done, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:session_mgmt_clientsession_changelist"))

    @admin.action(description=_("End selected sessions for good"), permissions=["terminate"])
    def terminate_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """End the selected sessions, after a confirmation page: an ended session does not come back."""
        return self._confirm_or_act(request, "terminate", queryset)

    @admin.action(description=_("Disconnect selected sessions"), permissions=["disconnect"])
    def disconnect_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Disconnect the selected sessions, after a confirmation page: their clients do not reconnect by themselves."""
        return self._confirm_or_act(request, "disconnect", queryset)

    @admin.action(description=_("Let selected sessions reconnect"), permissions=["disconnect"])
    def reconnect_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Make the clients of the selected sessions reconnect. They come back at once, so no confirmation is needed."""
        self._act_on_all(request, "reconnect", self._read_chosen(request, queryset))

    def _read_chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[ClientSession]:
        """Return the chosen sessions. If they are too many for one request, explain it and return none."""
        chosen = list(queryset[: MOST_CHOSEN + 1])
        if len(chosen) <= MOST_CHOSEN:
            return chosen
        text = gettext("Nothing was done. Choose at most %d sessions, with a filter or a search.") % MOST_CHOSEN
        self.message_user(request, text, messages.WARNING)
        return []

    def _confirm_or_act(self, request: HttpRequest, do: str, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = self._read_chosen(request, queryset)
        if chosen and request.POST.get("confirmed") != "yes":
            return self._ask(request, do, chosen)
        self._act_on_all(request, do, chosen)
        return None

    def _ask(self, request: HttpRequest, do: str, found: list[ClientSession]) -> HttpResponse:
        """Show a confirmation page, whose form repeats the action of the list."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _QUESTIONS[do],
            "do": do,
            "sessions": found,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/session_mgmt/clientsession/confirm.html", context)

    def _act_on_all(self, request: HttpRequest, do: str, chosen: list[ClientSession]) -> None:
        if not chosen:
            return
        done = self._act(request, do, [session.pk for session in chosen], request.POST.get("reason", ""))
        told = ngettext("Done for %d session.", "Done for %d sessions.", done) % done
        self.message_user(request, told, messages.SUCCESS)

    def _act(self, request: HttpRequest, do: str, sessions: list[uuid.UUID], reason: str) -> int:
        """Run the action on each session, write an audit entry for each, and return how many sessions it changed."""
        facts = {"reason": reason[:60]} if do == "terminate" else {}

        def note(group: list[uuid.UUID]) -> None:
            audit.add_entries(do, group, user=request.user, ip=addresses.read_meta(request.META), **facts)

        # Act as the server: the staff permission was checked above, and an owner's permission is not needed.
        if do == "terminate":
            return sum(map(len, devices.end_devices(sessions, (reason or "administrator")[:60], note)))
        code = Close.NORMAL if do == "disconnect" else Close.DETACHED
        return sum(map(len, stopping.stop_sessions(sessions, code, note)))

    def has_terminate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(access.TERMINATE)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(access.DISCONNECT)

    def has_clean_permission(self, request: HttpRequest) -> bool:
        # The cleanup deletes rows of all tenants.
        return request.user.has_perm("session_mgmt.clean_clientsession") and not hooks.find_tenant(request)


def _make_badge(kind: str, text: str) -> str:
    return format_html('<span class="sm-badge sm-{}">{}</span>', kind, text)
