"""Addresses of the host project: a login without a form, a logout, and a change of the password."""

from __future__ import annotations

from django.contrib.auth import login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from tests.plain_users.people.models import Member


def log_in(request: HttpRequest, slug: str) -> HttpResponse:
    login(request, Member.objects.get(pk=slug), backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def change_password(request: HttpRequest) -> HttpResponse:
    request.user.set_password("another")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse()


urlpatterns = [
    path("in/<path:slug>/", log_in),
    path("out/", log_out),
    path("password/", change_password),
    path("api/", include("session_mgmt.urls")),
]
