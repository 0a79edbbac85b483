"""Admin of webhooks: endpoints, whose secret is shown only once, and deliveries, which can be replayed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from session_mgmt.actions import audit
from session_mgmt.actions.sessions import hooks
from session_mgmt.actions.webhooks import calling, endpoints, replaying
from session_mgmt.admin.large_tables import NewestValuesFilter
from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.admin.show import as_json, label_cell, link_session
from session_mgmt.conf import settings
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import WebhookCursor, WebhookDelivery, WebhookEndpoint, clock
from session_mgmt.protocol.events import EVENT_TYPES
from session_mgmt.user_code import find_hook

State = WebhookDelivery.State
_TONES = {State.WAITING: "reconnecting", State.SENT: "connected", State.DEAD: "terminated"}


class EndpointForm(forms.ModelForm):
    """Form of an endpoint. The secret is not a field: it is generated."""

    events = forms.MultipleChoiceField(
        label=_("Events"),
        choices=[(name, name) for name in EVENT_TYPES],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text=_("Choose none to send all."),
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("address", "events", "active")
        help_texts = {"address": _("It begins with https://. Private addresses are not called.")}
        widgets = {"address": forms.URLInput(attrs={"class": "vURLField"})}

    def clean_address(self) -> str:
        address: str = self.cleaned_data["address"]
        try:
            calling.check_address(address)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return address


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    """List of endpoints, and their forms."""

    tenant_path = "tenant"
    form = EndpointForm
    list_display = ("address", "state_badge", "events_text", "waiting_count", "dead_count")
    search_fields = ("address",)
    ordering = ("id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        counts = {
            state: Count("deliveries", filter=Q(deliveries__state=state)) for state in (State.WAITING, State.DEAD)
        }
        return super().get_queryset(request).annotate(**counts)

    # Unlike elsewhere, rows can be added and changed here, with Django's own permissions.
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description=_("state"), ordering="active")
    def state_badge(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.stopped:
            return _make_badge("terminated", gettext("stopped")) + _make_line(endpoint.stopped)
        if not endpoint.active:
            return _make_badge("disconnected", gettext("off"))
        badge, until = _make_badge("active", gettext("active")), endpoint.rests_until
        if until is None or until <= clock.read(settings().database):
            return badge
        return badge + _make_line(gettext("rests until %s") % _show_time(until))

    @admin.display(description=_("events"))
    def events_text(self, endpoint: WebhookEndpoint) -> str:
        return format_html('<span class="sm-wrap">{}</span>', ", ".join(endpoint.events) or gettext("all"))

    @admin.display(description=_("waiting"), ordering="waiting")
    def waiting_count(self, endpoint: Any) -> str:
        return label_cell(_("waiting"), endpoint.waiting)

    @admin.display(description=_("given up"), ordering="dead")
    def dead_count(self, endpoint: Any) -> str:
        return label_cell(_("given up"), endpoint.dead)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not settings().webhooks:
            text = gettext("Nothing is sent: webhooks are switched off in the settings (SESSION_MGMT['webhooks']).")
            self.message_user(request, text, messages.WARNING)
        return super().changelist_view(request, extra_context)

    def get_urls(self) -> list[URLPattern]:
        rotate = self.admin_site.admin_view(self.rotate_view)
        return [path("<str:pk>/rotate/", rotate, name="session_mgmt_webhookendpoint_rotate"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        given = form.cleaned_data
        if change:
            endpoints.change_endpoint(obj, given["address"], given["events"], active=given["active"])
            self.note_action(request, audit.CHANGE_WEBHOOK, None, endpoint=obj.pk)
            return
        tenant = hooks.find_tenant(request)
        made = endpoints.add_endpoint(given["address"], given["events"], tenant=tenant, active=given["active"])
        obj.pk, obj.new_secret = made.endpoint.pk, made.secret
        self.note_action(request, audit.ADD_WEBHOOK, None, endpoint=obj.pk)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        # Not as a message of django.contrib.messages, which could store the secret in a cookie.
        return self._show_secret(request, obj, obj.new_secret)

    def rotate_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Generate a new secret, and show it once."""
        endpoint = self.get_object(request, unquote(pk))
        if endpoint is None:
            raise Http404
        if request.method != "POST" or not self.has_change_permission(request, endpoint):
            raise PermissionDenied
        at_once = request.POST.get("at_once") == "yes"
        try:
            secret = endpoints.rotate_secret(endpoint.pk, at_once=at_once)
        except StateUnreadable as error:
            text = gettext("%s Make a new secret at once to discard the old one.") % error
            self.message_user(request, text, messages.ERROR)
            return self.response_post_save_change(request, endpoint)
        self.note_action(request, audit.ROTATE_WEBHOOK, None, endpoint=endpoint.pk, at_once=at_once)
        return self._show_secret(request, endpoint, secret)

    def _show_secret(self, request: HttpRequest, endpoint: Any, secret: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("The secret of this endpoint"),
            "endpoint": endpoint,
            "secret": secret,
        }
        response = TemplateResponse(request, "admin/session_mgmt/webhookendpoint/secret.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.note_action(request, audit.DELETE_WEBHOOK, None, endpoint=obj.pk)
        endpoints.delete_endpoint(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for endpoint in queryset:
            self.delete_model(request, endpoint)


class EndpointFilter(admin.RelatedFieldListFilter):
    """Filter by the endpoints of the person's own tenant; Django's own filter would list those of all tenants."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        tenant = None if find_hook("tenant_of") is None else hooks.find_tenant(request)
        return [(str(endpoint.pk), str(endpoint)) for endpoint in endpoints.list_endpoints(tenant)]


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """List of deliveries, newest first."""

    tenant_path = "endpoint__tenant"
    list_display = ("recorded_at", "event_told", "of_session", "outcome")
    fields = ("recorded_at", "event_told", "of_session", "outcome", "sequence", "settled_at", "payload_text")
    readonly_fields = ("event_told", "of_session", "outcome", "payload_text")
    list_filter = ("state", ("event", NewestValuesFilter), ("endpoint", EndpointFilter))
    list_select_related = ("endpoint", "session__user")
    ordering = ("-id",)
    actions = ("replay_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        mine = WebhookCursor.objects.filter(session=OuterRef("session"), endpoint=OuterRef("endpoint"))
        return super().get_queryset(request).annotate(next_at=Subquery(mine.values("next_at")))

    def has_replay_permission(self, request: HttpRequest) -> bool:
        # Django's own permission to change a delivery; nothing else of one can be changed.
        return admin.ModelAdmin.has_change_permission(self, request)

    @admin.display(description=_("session"), ordering="session")
    def of_session(self, delivery: WebhookDelivery) -> str:
        return link_session(delivery.session)

    @admin.display(description=_("event"), ordering="event")
    def event_told(self, delivery: WebhookDelivery) -> str:
        return format_html('{} <span class="sm-quiet sm-under sm-wrap">{}</span>', delivery.event, delivery.endpoint)

    @admin.display(description=_("outcome"), ordering="state")
    def outcome(self, delivery: Any) -> str:
        badge = _make_badge(_TONES[State(delivery.state)], delivery.get_state_display())
        rests_until = delivery.endpoint.rests_until
        told = [ngettext("%d attempt", "%d attempts", delivery.attempts) % delivery.attempts]
        if delivery.last_error or delivery.last_status:
            told.append(delivery.last_error or gettext("answer %d") % delivery.last_status)
        if delivery.state == State.WAITING and delivery.attempts:
            told.append(gettext("again at %s") % _show_time(max(delivery.next_at, rests_until or delivery.next_at)))
        return badge + format_html_join("", "{}", ((_make_line(text),) for text in told))

    @admin.display(description=_("payload"))
    def payload_text(self, delivery: WebhookDelivery) -> str:
        return format_html('<pre class="sm-json" tabindex="0">{}</pre>', as_json(orjson.loads(bytes(delivery.payload))))

    @admin.action(description=_("Send again"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        # Pass the query and not the keys: the keys of a whole list may exceed the parameters of a statement.
        chosen = queryset.order_by().values("pk")
        count = replaying.replay(replaying.find_settled(states=(State.DEAD, State.SENT)).filter(pk__in=chosen))
        self.note_action(request, audit.REPLAY_WEBHOOKS, None, deliveries=count)
        text = ngettext("%d delivery will be sent again.", "%d deliveries will be sent again.", count) % count
        self.message_user(request, text, messages.SUCCESS)


def _make_badge(tone: str, text: Any) -> str:
    return format_html('<span class="sm-badge sm-{}">{}</span>', tone, text)


def _make_line(text: Any) -> str:
    return format_html(' <span class="sm-under sm-wrap">{}</span>', text)


def _show_time(moment: datetime) -> str:
    return date_format(localtime(moment), "H:i:s")
