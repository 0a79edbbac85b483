"""Base classes of pages that show content: they check permissions, write audit entries, and show refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionMgmtError, StateUnreadable


class ContentAdmin(ReadOnlyAdmin):
    """Base class of pages about one row.

    A view receives the row; if it raises a ``SessionMgmtError``, a page explains it.
    """

    folder = ""

    class Media:
        css = {"all": ["session_mgmt/admin-state.css"]}

    def view_url(self, route: str, name: str, view: Callable[[HttpRequest, Any], HttpResponse]) -> URLPattern:
        """Return a URL below the row's.

        Its view is exempt from ``ATOMIC_REQUESTS``, because writes run on another thread, in a transaction of their
        own.
        """
        guarded = self.admin_site.admin_view(lambda request, pk: self.render_about(request, str(pk), view))
        plain = transaction.non_atomic_requests(using=settings().database)(guarded)
        return path(f"<str:pk>/{route}/", plain, name=f"{self.opts.app_label}_{self.opts.model_name}_{name}")

    def render_about(
        self, request: HttpRequest, pk: str, view: Callable[[HttpRequest, Any], HttpResponse]
    ) -> HttpResponse:
        """Find the row, check the permission and call the view."""
        request.current_app = self.admin_site.name
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(pk))
        if row is None:
            raise Http404
        try:
            return view(request, row)
        except SessionMgmtError as error:
            return self.render_page(request, "problem", describe_problem(error), row, status=_choose_status(error))

    def render_page(
        self, request: HttpRequest, name: str, context: dict[str, Any], row: Any, *, status: int = 200
    ) -> HttpResponse:
        """Render a template of this app's admin folder, and forbid browsers and proxies to store the page."""
        shared = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "row": row,
            **self.get_shared_context(request, row),
        }
        response = TemplateResponse(
            request, f"admin/session_mgmt/{self.folder}/{name}.html", {**shared, **context}, status=status
        )
        # Content of documents must not stay in the cache of a browser that others use too.
        response["Cache-Control"] = "no-store"
        return response

    def get_shared_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the context that every page of a row needs."""
        return {}

    def check_allowed(self, request: HttpRequest, permission: str) -> None:
        """Check that the request is a POST and its user has this permission."""
        if request.method != "POST" or not request.user.has_perm(permission):
            raise PermissionDenied

    def redirect_back(self, request: HttpRequest, row: Any, text: str, level: int = messages.SUCCESS) -> HttpResponse:
        """Redirect to the row's own page, with a message."""
        self.message_user(request, text, level)
        return HttpResponseRedirect(self.build_url("change", row))

    def build_url(self, name: str, row: Any, query: str = "") -> str:
        found = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}",
            args=[row.pk],
            current_app=self.admin_site.name,
        )
        return f"{found}?{query}" if query else found


def describe_problem(error: SessionMgmtError) -> dict[str, Any]:
    """Return a refusal as a sentence for an operator."""
    help_ = ""
    if isinstance(error, StateUnreadable):
        help_ = _(
            "Its key is missing, or its stored bytes are damaged. Nothing was changed. "
            "Add the key to state_keys, or verify the document to find the damaged rows."
        )
    return {"title": _("This cannot be shown"), "problem": {"name": error.name, "text": str(error), "help": help_}}


def _choose_status(error: SessionMgmtError) -> int:
    # A 5xx status would be reported as a fault of the site, and mailed to its administrators.
    return error.status if error.status < 500 else 200


def parse_number(text: str | None) -> int | None:
    """Parse a number in a URL; return ``None`` for any other text."""
    # At most 15 digits, which fit into every database's integers: anybody can type a URL.
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None
