"""Pages of the demo: one client, and the page that shows two of them."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.clickjacking import xframe_options_sameorigin

from project.demo.heads import CLIENTS


def show_page(request: HttpRequest) -> HttpResponse:
    """Show two clients side by side, with the switches of network and server."""
    return render(request, "demo/page.html", {"clients": CLIENTS})


@xframe_options_sameorigin
def show_client(request: HttpRequest, name: str) -> HttpResponse:
    """Show one client, in a frame or on its own."""
    if name not in CLIENTS:
        raise Http404
    return render(request, "demo/client.html", {"name": name})
