"""The demo's two pages: the one around, and the client that it shows twice."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.clickjacking import xframe_options_sameorigin

from project.demo.heads import CLIENTS


def page(request: HttpRequest) -> HttpResponse:
    """Two clients side by side, with the network's and the server's switches."""
    return render(request, "demo/page.html", {"clients": CLIENTS})


@xframe_options_sameorigin
def client(request: HttpRequest, name: str) -> HttpResponse:
    """One client, in a frame or on its own."""
    if name not in CLIENTS:
        raise Http404
    return render(request, "demo/client.html", {"name": name})
