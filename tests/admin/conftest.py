"""Who looks: a superuser, and staff with just the permissions that a test names."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions.state.updates import Terms
from session_mgmt.models import AuditEntry, StateDocument
from session_mgmt.shortcuts import create_session, state
from session_mgmt.writes import verbs

SEEING = ("view_clientsession", "view_statedocument")


@pytest.fixture
def alice() -> Any:
    return get_user_model().objects.create_user("alice")


@pytest.fixture
def operator() -> Client:
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("operator"))
    return http


def staff(*codenames: str) -> Client:
    """Somebody of the staff with just these permissions."""
    user = get_user_model().objects.create_user("clerk" + uuid.uuid4().hex[:6], is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    http = Client()
    http.force_login(user)
    return http


def queries(work: Callable[[], Any]) -> int:
    """How many queries a page costs."""
    with CaptureQueriesContext(connection) as caught:
        assert work().status_code == 200
    return len(caught)


class Paper:
    """One document of a session, and the addresses of its pages."""

    def __init__(self, user: Any = None, name: str = "main") -> None:
        self.session = create_session(user=user).session
        self.name = name

    def put(self, change: Any, *, kind: str = "merge", **terms: Any) -> int:
        """Write; gives the version."""
        written = verbs.update(self.session.pk, self.name, kind, change, Terms(**terms))
        return int(written.offset)  # type: ignore[union-attr]

    @property
    def row(self) -> StateDocument:
        return StateDocument.objects.get(session=self.session, name=self.name)

    @property
    def data(self) -> Any:
        return state.get(self.session, self.name)

    def at(self, page: str = "change") -> str:
        return f"/admin/session_mgmt/statedocument/{self.row.pk}/{page}/"


@pytest.fixture
def paper(alice: Any) -> Paper:
    """A cart with a coupon, in two versions."""
    paper = Paper(alice)
    paper.put({"cart": {"coupon": "WELCOME", "items": [1, 2]}})
    paper.put({"cart": {"coupon": "GOODBYE"}})
    return paper


def seen_on(html: str) -> str:
    """The position that the form of a page carries."""
    found = re.search(r'name="seen" value="([^"]*)"', html)
    assert found is not None
    return unescape(found[1])


def told(answer: Any) -> list[str]:
    """The messages on the page that an action led to."""
    return [str(message) for message in answer.context["messages"]]


def deeds() -> list[str]:
    """What the audit trail holds, oldest first."""
    return list(AuditEntry.objects.order_by("id").values_list("action", flat=True))


class _Reader(HTMLParser):
    """What a browser would run, load from elsewhere, or style: an inline script, a handler, a foreign address."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.found.append(f"{tag} {given}")
        for name, value in attrs:
            foreign = name in ("src", "href", "action") and re.match(r"(\w+:)?//|javascript:", value or "")
            if name.startswith("on") or name == "style" or foreign:
                self.found.append(f"{tag} {name}={value}")


def live_parts(html: str) -> list[str]:
    """Parts of a page that a content security policy would have to forbid."""
    reader = _Reader()
    reader.feed(html)
    return reader.found
