"""The REST side: ``path("api/", include("session_mgmt.urls"))``."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path, re_path

from session_mgmt.api.conflicts import urlpatterns as conflict_urlpatterns
from session_mgmt.api.connections import ConnectionsView, FramesView, LeaveView, PollView
from session_mgmt.api.devices import DevicesView, DeviceView
from session_mgmt.api.documents import DocumentViewSet
from session_mgmt.api.entering import EnterView, LoginView
from session_mgmt.api.history import urlpatterns as history_urlpatterns
from session_mgmt.api.operations import HealthView, NothingView, SchemaView
from session_mgmt.api.page import SchemaPageView
from session_mgmt.api.sessions import SessionViewSet
from session_mgmt.api.tokens import NarrowView, RefreshView
from session_mgmt.api.topics import MembersView, PublicationView, ValueView
from session_mgmt.consumers.http_calls import serve_attach, serve_frames, serve_leave, serve_poll
from session_mgmt.consumers.http_requests import Request, most_bytes
from session_mgmt.consumers.origins import build_answer_headers

# Connect the views with the event loop here, because no edge may import another one.
_CALL: dict[str, Any] = {"wrap": Request, "most_bytes": most_bytes, "build_headers": build_answer_headers}
app_name = "session_mgmt"
_ONE = {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
# Ids are matched as plain text, so that an address with a malformed id is answered in JSON too.
urlpatterns: list[URLPattern | URLResolver] = [
    # First, because these are the most frequent calls, and Django tries every pattern before the one that matches.
    path("connections/", ConnectionsView.as_view(serve=serve_attach, **_CALL), name="connections"),
    path("connections/poll/", PollView.as_view(serve=serve_poll, **_CALL), name="connection-poll"),
    path("connections/frames/", FramesView.as_view(serve=serve_frames, **_CALL), name="connection-frames"),
    path("connections/leave/", LeaveView.as_view(serve=serve_leave, **_CALL), name="connection-leave"),
    path("sessions/", SessionViewSet.as_view({"get": "list", "post": "create"}), name="session-list"),
    path("sessions/enter/", EnterView.as_view(), name="session-enter"),
    path("login/", LoginView.as_view(), name="login"),
    path("devices/", DevicesView.as_view(), name="device-list"),
    path("devices/<str:pk>/", DeviceView.as_view(), name="device-detail"),
    path("sessions/<str:pk>/", SessionViewSet.as_view(_ONE), name="session-detail"),
    path("sessions/<str:pk>/validate/", SessionViewSet.as_view({"post": "validate"}), name="session-validate"),
    path("sessions/<str:pk>/recover/", SessionViewSet.as_view({"post": "recover"}), name="session-recover"),
    path("sessions/<str:pk>/metrics/", SessionViewSet.as_view({"get": "metrics"}), name="session-metrics"),
    path("sessions/<str:pk>/events/", SessionViewSet.as_view({"get": "events"}), name="session-events"),
    path("sessions/<str:pk>/connections/", SessionViewSet.as_view({"get": "connections"}), name="session-connections"),
    path("sessions/<str:pk>/disconnect/", SessionViewSet.as_view({"post": "disconnect"}), name="session-disconnect"),
    path("sessions/<str:pk>/reconnect/", SessionViewSet.as_view({"post": "reconnect"}), name="session-reconnect"),
    path("sessions/<str:pk>/messages/", SessionViewSet.as_view({"post": "messages"}), name="session-messages"),
    path("sessions/<str:pk>/state/", DocumentViewSet.as_view({"get": "list"}), name="document-list"),
    path(
        "sessions/<str:pk>/state/<str:name>/",
        DocumentViewSet.as_view({**_ONE, "put": "update"}),
        name="document-detail",
    ),
    path("sessions/<str:pk>/state/<str:name>/sync/", DocumentViewSet.as_view({"post": "sync"}), name="document-sync"),
    path("sessions/<str:pk>/state/<str:name>/size/", DocumentViewSet.as_view({"get": "size"}), name="document-size"),
    path(
        "sessions/<str:pk>/state/<str:name>/compress/",
        DocumentViewSet.as_view({"post": "compress"}),
        name="document-compress",
    ),
    *history_urlpatterns,
    *conflict_urlpatterns,
    path("topics/<path:topic>/publications/", PublicationView.as_view(), name="topic-publications"),
    path("topics/<path:topic>/value/", ValueView.as_view(), name="topic-value"),
    path("topics/<path:topic>/members/", MembersView.as_view(), name="topic-members"),
    path("tokens/refresh/", RefreshView.as_view(), name="token-refresh"),
    path("tokens/narrow/", NarrowView.as_view(), name="token-narrow"),
    path("health/", HealthView.as_view(), name="health"),
    path("schema/", SchemaView.as_view(), name="schema"),
    path("schema/page/", SchemaPageView.as_view(), name="schema-page"),
    re_path(r"^(?:connections|devices|sessions|tokens|topics)/", NothingView.as_view(), name="nothing"),
]
