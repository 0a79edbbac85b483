"""Addresses of django-eventstream, and a view that says something on a channel, as its documentation sets it up."""

from __future__ import annotations

import json
from typing import Any

import django_eventstream.urls
from django.http import HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django_eventstream import send_event

from project import urls


@csrf_exempt
def say(request: Any) -> HttpResponse:
    """Keep and send each message of a list."""
    for message in json.loads(request.body):
        send_event(message["room"], "message", message["data"])
    return HttpResponse(status=204)


urlpatterns = [
    path("events/say/", say),
    path("events/", include(django_eventstream.urls)),
    *urls.urlpatterns,
]
