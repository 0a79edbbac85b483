"""Browser with the cookies of the project and what its pages keep of our sessions; one page calls at a time."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.models import ClientSession
from tests.api.calls import Caller
from tests.identity.conftest import new_nonce


class Browser:
    def __init__(self) -> None:
        self.http = Client()
        self.kept: dict[str, str] | None = None
        self.previous: str | None = None

    def log_in(self, name: str) -> None:
        """Log in as the admin's form does; whoever was logged in before is not logged out first."""
        user, _ = get_user_model().objects.get_or_create(
            username=name, defaults={"is_staff": True, "is_superuser": True}
        )
        if not user.has_usable_password() or not user.password:
            user.set_password("a password")
            user.save()
        answer = self.http.post("/admin/login/", {"username": name, "password": "a password"})
        assert answer.status_code == 302, answer.content[:500]

    def log_out(self) -> None:
        assert self.http.post("/admin/logout/").status_code == 200

    def enter(self, nonce: str | None = None, **more: Any) -> Any:
        """Enter with what the page kept, and keep what it gets."""
        body = {"nonce": nonce or new_nonce(), "kept": self.kept, "previous": self.previous, **more}
        answer = Caller(self.http).post("sessions/enter/", body)
        found = answer.json()
        if answer.status_code == 200:
            self.keep(found)
        return found

    def keep(self, found: dict[str, Any]) -> None:
        if found["refresh"] is not None:
            self.kept = {"session": found["session"]["session_id"], "token": found["refresh"]}

    def refresh(self, **more: Any) -> Any:
        assert self.kept is not None
        body = {"token": self.kept["token"], "nonce": new_nonce(), **more}
        return Caller(self.http).post("tokens/refresh/", body)

    def row(self) -> ClientSession:
        assert self.kept is not None
        return ClientSession.objects.get(pk=self.kept["session"])

    def other_tab(self) -> Browser:
        """Return a page of the same browser: the same cookies, and the same storage as it is now."""
        tab = Browser()
        tab.http, tab.kept, tab.previous = self.http, self.kept, self.previous
        return tab
