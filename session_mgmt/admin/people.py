"""Admin pages about the data of one person: download it as a file, or erase it after a page that lists what will be
deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import slugify
from django.utils.translation import gettext

from session_mgmt.actions import addresses, audit
from session_mgmt.actions.privacy.erasure import erase_user
from session_mgmt.actions.privacy.export import export_user
from session_mgmt.actions.sessions import hooks
from session_mgmt.admin.readonly import ReadOnlyAdmin
from session_mgmt.conf import settings

EXPORT, ERASE = "session_mgmt.export_clientsession", "session_mgmt.erase_clientsession"
_NAME = "session_mgmt_clientsession_"


class PeoplePages(ReadOnlyAdmin):
    """Pages of a person's data, only for staff who may see all tenants, because a person's sessions can belong to
    several.
    """

    def list_people_urls(self) -> list[URLPattern]:
        """Return the routes; place them before those of the sessions."""
        # Longer routes first, because the key of a user may contain any text.
        routes: tuple[tuple[str, str, Callable[..., HttpResponseBase]], ...] = (
            ("export/", "export", self.export_view),
            ("erase/", "erase", self.erase_view),
            ("", "person", self.person_view),
        )
        return [
            path(f"person/<path:key>/{end}", self.admin_site.admin_view(view), name=_NAME + name)
            for end, name, view in routes
        ]

    def may_export(self, request: HttpRequest) -> bool:
        return request.user.has_perm(EXPORT) and not hooks.find_tenant(request)

    def may_erase(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ERASE) and not hooks.find_tenant(request)

    def person_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Show which data of a person exists, and what an erasure would delete."""
        may_export, may_erase = self.may_export(request), self.may_erase(request)
        if request.method != "GET" or not (may_export or may_erase):
            raise PermissionDenied
        person = _find_person(key)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Data of %s") % person.get_username(),
            "media": self.media,
            "person": person,
            "counts": erase_user(person, dry_run=True),
            "may_export": may_export,
            "may_erase": may_erase,
        }
        return TemplateResponse(request, "admin/session_mgmt/clientsession/person.html", context)

    def export_view(self, request: HttpRequest, key: str) -> HttpResponseBase:
        """Send all data of a person as a file. POST only, because it writes an audit entry."""
        if request.method != "POST" or not self.may_export(request):
            raise PermissionDenied
        person = _find_person(key)
        self.note_action(request, audit.EXPORT_USER, None, user_id=str(person.pk))
        answer = StreamingHttpResponse(_write_file(person), content_type="application/json")
        name = slugify(str(person.pk)) or "unnamed"
        answer["Content-Disposition"] = f'attachment; filename="user-{name}.json"'
        return answer

    def erase_view(self, request: HttpRequest, key: str) -> HttpResponse:
        """Erase all data of a person, if the operator has typed the person's name."""
        if request.method != "POST" or not self.may_erase(request):
            raise PermissionDenied
        person = _find_person(key)
        # The name must be typed, because an erasure cannot be undone.
        if request.POST.get("name", "").strip() != person.get_username():
            self.message_user(request, gettext("Nothing was erased, because the name is different."), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:session_mgmt_clientsession_person", args=[key]))
        try:
            report = erase_user(person, by=request.user, ip=addresses.read_meta(request.META))
        except IntegrityError:
            text = gettext("Rows of the project protect a session of this person. Only earlier sessions were erased.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(reverse("admin:session_mgmt_clientsession_person", args=[key]))
        told = ", ".join(f"{kind} {rows}" for kind, rows in report.as_dict().items())
        self.message_user(request, gettext("Erased: %s.") % told, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:session_mgmt_clientsession_changelist"))


def _find_person(key: str) -> Any:
    people = get_user_model()._default_manager.using(settings().database)
    try:
        return people.get(pk=key)
    except (people.model.DoesNotExist, ValueError, OverflowError, ValidationError) as error:
        raise Http404 from error


def _write_file(person: Any) -> Iterator[str]:
    """Yield a JSON object record by record, because all records may not fit into memory."""
    yield f'{{"user": {json.dumps(str(person.pk))}, "records": [\n'
    between = ""
    for record in export_user(person):
        yield between + json.dumps(record)
        between = ",\n"
    yield "\n]}\n"
