"""Session of a client: its tokens, its user, and the URL of its socket."""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from session_mgmt.client.clock import Clock
from session_mgmt.client.storage import Saved
from session_mgmt.client.writing import SESSION_LOG

WEBSOCKET_PATH = "/ws/session/"
# Part of its lifetime after which a token is exchanged. The spread makes it shorter at random, because tokens that
# were issued together must not all be exchanged together.
DUE_AFTER, SPREAD = 0.8, 0.1
# Seconds by which the clock of one machine may seem to go back.
JITTER = 5.0
LOGIN_GONE = "login_gone"


class Credentials:
    """Session in the storage. Except for `begin_request`, methods that change it leave the saving to their caller."""

    def __init__(
        self,
        saved: Saved,
        base: str,
        clock: Clock,
        save: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._saved, self._base, self._clock, self._save, self._chance = saved, base, clock, save, chance
        self._due_after = DUE_AFTER

    @property
    def token(self) -> str | None:
        return self._saved.token

    @property
    def refresh(self) -> str | None:
        """Token that is exchanged for the next pair; None if the access token stands alone."""
        return self._saved.refresh

    @property
    def session_id(self) -> str | None:
        return self._saved.session_id

    @property
    def user_id(self) -> str | None:
        return self._saved.user_id

    @property
    def previous(self) -> str | None:
        return self._saved.previous

    @property
    def websocket_url(self) -> str:
        """Address of the socket, built from the address of the REST API."""
        return build_websocket_url(self._base, self._saved.websocket or WEBSOCKET_PATH)

    def describe_kept(self) -> dict[str, str | None] | None:
        """Return the id of the kept session and the token that proves it; None if no session is known."""
        if self._saved.token is None or self._saved.session_id is None:
            return None
        return {"session": self._saved.session_id, "token": self._saved.refresh or self._saved.token}

    def describe_owner(self) -> dict[str, str | None]:
        """Return the user that a connection is for; nothing for a token that stands alone, whose user is unknown."""
        return {} if self._saved.refresh is None else {"user": self._saved.user_id}

    # Changes.

    def join(self, token: str) -> bool:
        """Take a token of a session that the server will name; return False if it is the present token."""
        if token == self._saved.token:
            return False
        self._drop_tokens()
        self._leave_places(is_same_person=True)
        self._saved.token, self._saved.session_id, self._saved.user_id = token, None, None
        return True

    def name_session(self, session: Mapping[str, Any]) -> None:
        """Keep the id and the user of the session that a connection belongs to."""
        self._saved.session_id, self._saved.user_id = session["session_id"], session.get("user_id")

    def enter(self, entered: Mapping[str, Any], *, is_same_person: bool) -> None:
        """Keep the session and the tokens of an answer."""
        saved, session = self._saved, entered["session"]
        if entered.get("reason") == LOGIN_GONE:
            saved.previous = saved.session_id
        elif session.get("user_id") is not None:
            saved.previous = None
        if session["session_id"] != saved.session_id:
            self._leave_places(is_same_person=is_same_person)
            self._drop_tokens()
        # Keep only this position: copies of documents are not stored, so a position in one would claim a missing copy.
        if place := (entered.get("positions") or {}).get(SESSION_LOG):
            saved.positions[SESSION_LOG] = place
        saved.session_id, saved.user_id = session["session_id"], session.get("user_id")
        saved.websocket = (entered.get("endpoints") or {}).get("websocket") or saved.websocket
        self.renew(entered)

    def renew(self, pair: Mapping[str, Any]) -> None:
        """Keep the tokens of an answer; if it has none, the present ones stay."""
        now, due_in = self._clock.now(), pair.get("login_due_in")
        self._saved.login_due = None if due_in is None else now + due_in
        self._saved.nonce = None
        if pair.get("access") is None:
            return
        self._saved.token, self._saved.refresh = pair["access"], pair["refresh"]
        self._saved.since, self._saved.life = now, float(pair["expires_in"])
        self._due_after = DUE_AFTER - SPREAD * self._chance()

    def succeed(self, body: Mapping[str, Any]) -> None:
        """Keep the successor of a session whose token stands alone."""
        self._leave_places(is_same_person=True)
        self._saved.positions |= {SESSION_LOG: (body.get("positions") or {}).get(SESSION_LOG)}
        session = body.get("session") or {}
        self._saved.token, self._saved.session_id = body["token"], session.get("session_id")
        self._saved.websocket = (body.get("endpoints") or {}).get("websocket") or self._saved.websocket

    def forget(self, *, is_logged_out: bool) -> None:
        """Forget everything about the session; after a logout also the earlier session that a login would restore."""
        self._drop_tokens()
        self._leave_places(is_same_person=False)
        self._saved.token = self._saved.session_id = self._saved.user_id = self._saved.websocket = None
        if is_logged_out:
            self._saved.previous = None

    def begin_request(self) -> str:
        """Return the nonce of the unanswered request, maybe of an earlier process; make one if there is none."""
        if self._saved.nonce is None:
            self._saved.nonce = secrets.token_urlsafe(32)
            # Save it before the request, because a lost answer can be asked for again only with the nonce.
            self._save()
        return self._saved.nonce

    def end_request(self) -> None:
        """Drop the nonce, because its request has its final answer."""
        self._saved.nonce = None

    # Times.

    def find_due_in(self) -> float:
        """Return the seconds until the tokens should be exchanged; infinity for a token that stands alone."""
        if self._saved.refresh is None:
            return math.inf
        passed = self._clock.now() - self._saved.since
        # If the clock was set back, the age of the token is unknown.
        return 0.0 if passed < -JITTER else max(0.0, self._due_after * self._saved.life - passed)

    def is_fresh(self) -> bool:
        """Return True if a connection may use the access token without an exchange; False for one that stands alone."""
        return 0.0 < self.find_due_in() < math.inf

    def is_login_due(self) -> bool:
        """Return True if the next exchange must carry the program's login."""
        return self._saved.login_due is not None and self._clock.now() >= self._saved.login_due - JITTER

    def _drop_tokens(self) -> None:
        self._saved.refresh = self._saved.login_due = self._saved.nonce = None
        self._saved.since = self._saved.life = 0.0

    def _leave_places(self, *, is_same_person: bool) -> None:
        if not is_same_person:
            self._saved.positions.clear()
        # Another session has its own log; positions in topics stay valid.
        self._saved.positions.pop(SESSION_LOG, None)


def build_websocket_url(base: str, path: str) -> str:
    """Return the URL of the socket for a REST API at `base`."""
    parts = urlsplit(urljoin(base, path))
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme))
