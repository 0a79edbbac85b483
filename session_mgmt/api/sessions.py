"""Sessions over HTTP (PROTOCOL section 13)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions import access, monitoring
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.sessions import (
    connections,
    devices,
    hooks,
    info,
    lifecycle,
    linking,
    recovery,
    repeating,
    stamps,
    stopping,
)
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.actions.sessions.pairs import Pair
from session_mgmt.actions.sessions.stamps import Evidence
from session_mgmt.actions.timeline import reading
from session_mgmt.api import rights
from session_mgmt.api.authentication import read_address, read_bearer
from session_mgmt.api.cookies import is_from_page
from session_mgmt.api.endpoints import endpoint
from session_mgmt.api.forms import CreationForm, MessageForm, NothingForm, RecoveryForm, SessionForm, ValidationForm
from session_mgmt.api.queries import Identifier, Number
from session_mgmt.api.refusals import PUBLICATION_ERRORS, VALUE_ERRORS
from session_mgmt.api.views import ApiViewSet, parse_session_id, proven_session
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    AuthRequired,
    InvalidField,
    LoginEnded,
    NotRecoverable,
    PermissionDenied,
    ReauthRequired,
    ScopeMissing,
    SessionLimit,
    SessionNotFound,
)
from session_mgmt.models import ClientSession, clock
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.events import AUTH_SUCCESS
from session_mgmt.writes import verbs

EVENTS_AFTER = Number("after", "Only entries after this number.", default=0)
EVENTS_LIMIT = Number("limit", "Entries on a page.", most=500, default=100)
LIST_BEFORE = Identifier("before", "Only sessions older than this one.")
LIST_LIMIT = Number("limit", "Sessions on a page.", least=1, most=500, default=500)


class SessionViewSet(ApiViewSet):
    """Views of ``sessions/`` and below one session, except its documents."""

    def is_open(self) -> bool:
        return self.action == "create" and settings().anonymous_sessions

    def takes_ended_sessions(self) -> bool:
        return self.action in ("validate", "recover")

    @endpoint(
        "List the caller's active sessions",
        description="`results`: a list of SessionInfo, newest first; only the caller's own session has"
        " `metadata`. `next`: the `before` of the next page.",
        query=(LIST_BEFORE, LIST_LIMIT),
        answer="SessionList",
        errors=(SessionNotFound,),
    )
    def list(self, request: Request) -> Response:
        before, limit = LIST_BEFORE.read(request), LIST_LIMIT.read_or_default(request)
        # Read one more than a page, to know without a count whether there is a next page.
        found = list(lifecycle.list_active(self.actor, before=before)[: limit + 1])
        page, more = found[:limit], len(found) > limit
        states = connections.read_states(session.pk for session in page)
        results = [info.describe_listed(session, states[session.pk], own=self.actor.session) for session in page]
        return Response({"results": results, "next": str(page[-1].pk) if more else None})

    @endpoint(
        "Create a session",
        status=201,
        description="`session` (SessionInfo), `token` (or with a `nonce` the pair `access`, `refresh` and"
        " `expires_in`), `positions` (where its log begins), `endpoints`.",
        body="SessionBody",
        answer="CreatedSession",
        errors=(SessionLimit, LoginEnded, ScopeMissing, *VALUE_ERRORS),
    )
    def create(self, request: Request) -> Response:
        if is_from_page(request):
            raise PermissionDenied("Here a page keeps its session in a cookie: enter.")
        if proven_session(request) is not None:
            # If a token could create sessions, its holder would keep access after its own session has ended.
            raise PermissionDenied("A session is created with the project's own authentication.")
        wanted = self.read_form(CreationForm)
        user = request.user if request.user and request.user.is_authenticated else None
        nonce = wanted.get("nonce")
        create = partial(
            linking.create_linked,
            read_entering(request, user),
            wanted=wanted.get("scopes"),
            metadata=wanted.get("metadata"),
            config=wanted.get("config"),
            device=read_device(request, wanted.get("label", "")),
            nonce=nonce,
        )
        created = create() if nonce is None else repeating.create_once(nonce, user, create)
        if user is not None:
            verbs.record(created.session.pk, AUTH_SUCCESS, {"user_id": str(user.pk)})
        return _answer_created(request, created)

    @endpoint(
        "Read a session",
        description="SessionInfo.",
        right=rights.READ_SESSION,
        answer="SessionInfo",
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._answer_session(self.find_session(pk))

    @endpoint(
        "Change metadata, config or label",
        description="SessionInfo.",
        right=rights.UPDATE_SESSION,
        body="SessionChange",
        answer="SessionInfo",
        errors=VALUE_ERRORS,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        found = self.find_live_session(pk)
        wanted = self.read_form(SessionForm)
        if not wanted:
            raise InvalidField("At least one of metadata, config and label.", field="metadata")
        return self._answer_session(lifecycle.update_session(self.actor, found.pk, **wanted))

    @endpoint(
        "End a session for good",
        status=204,
        description="None. Another session of the same user needs `sessions:end` and a login in the last 15 minutes.",
        right=rights.TERMINATE,
        is_for_sisters=True,
        errors=(ReauthRequired,),
    )
    def destroy(self, request: Request, pk: str) -> Response:
        devices.end_device(self.actor, self.find_session(pk).pk)
        return Response(status=204)

    @endpoint(
        "Check whether a session is valid",
        description="`valid`, `reason` (the name of an error, or null).",
        right=rights.READ_SESSION,
        body="ValidationBody",
        answer="Validity",
    )
    def validate(self, request: Request, pk: str) -> Response:
        found = self.find_session(pk)
        reason = lifecycle.find_refusal(
            self.actor, found.pk, permission=self.read_form(ValidationForm).get("permission")
        )
        return Response({"valid": reason is None, "reason": reason})

    @endpoint(
        "Create a successor of an expired session, with its old token",
        status=201,
        description="`session`, `token`, `positions`, `endpoints` as after creation, and `receipt`.",
        body="RecoveryBody",
        answer="RecoveredSession",
        errors=(NotRecoverable, SessionLimit),
    )
    def recover(self, request: Request, pk: str) -> Response:
        proven = proven_session(request)
        if proven is None:
            raise AuthRequired("A session is recovered with its own token.")
        # Answer as for an unknown session: a token must not reveal sessions of other users.
        if proven.pk != parse_session_id(pk):
            raise SessionNotFound()
        wanted = self.read_form(RecoveryForm)
        restored = recovery.recover_session(
            read_bearer(request) or "",
            state=wanted.get("state", True),
            subscriptions=wanted.get("subscriptions", True),
            maximum_age=_limit_age(wanted.get("maximum_age")),
            device=read_device(request, proven.label),
        )
        return _answer_created(request, restored.created, receipt=restored.receipt)

    @endpoint(
        "Read the figures of a session",
        description="See `docs/reference/rest.md`.",
        right=rights.READ_SESSION,
        answer="SessionMetrics",
    )
    def metrics(self, request: Request, pk: str) -> Response:
        return Response(monitoring.read_session_metrics(self.find_session(pk).pk))

    @endpoint(
        "Read the log of a session in pages",
        description="`results`, `epoch`, `oldest`, `head`, `next`.",
        query=(EVENTS_AFTER, EVENTS_LIMIT),
        right=rights.READ_SESSION,
        answer="EventPage",
    )
    def events(self, request: Request, pk: str) -> Response:
        found = self.find_session(pk)
        after, limit = EVENTS_AFTER.read_or_default(request), EVENTS_LIMIT.read_or_default(request)
        return Response(_read_page(found, after, limit))

    @endpoint(
        "List the newest hundred connections of a session",
        description="`results`: client, times, close code, latency, beats and traffic at the last flush.",
        right=rights.READ_SESSION,
        answer="ConnectionList",
    )
    def connections(self, request: Request, pk: str) -> Response:
        return Response({"results": monitoring.list_connections(self.find_session(pk).pk)})

    @endpoint(
        "Close the connections of a session; its clients do not reconnect",
        description="`connections`: number of closed connections.",
        right=rights.DISCONNECT,
        body="NothingBody",
        answer="Stopped",
    )
    def disconnect(self, request: Request, pk: str) -> Response:
        return self._stop_connections(pk, Close.NORMAL)

    @endpoint(
        "Close the connections of a session; its clients reconnect at once",
        description="`connections`: number of closed connections.",
        right=rights.RECONNECT,
        body="NothingBody",
        answer="Stopped",
    )
    def reconnect(self, request: Request, pk: str) -> Response:
        return self._stop_connections(pk, Close.DETACHED)

    def _stop_connections(self, pk: str, code: Close) -> Response:
        found = self.find_session(pk)
        self.read_form(NothingForm)
        # Not with a session's own token: a page may close its own connection, but not those of other tabs.
        if not self.actor.may(access.DISCONNECT):
            raise PermissionDenied()
        return Response({"connections": stopping.stop_session(found.pk, code)})

    @endpoint(
        "Send a message to a session",
        status=201,
        description="`position`.",
        right=rights.MESSAGE,
        body="MessageBody",
        answer="Placed",
        errors=PUBLICATION_ERRORS,
    )
    def messages(self, request: Request, pk: str) -> Response:
        found = self.find_session(pk)
        if not self.actor.may(access.MESSAGE):
            raise PermissionDenied()
        wanted = self.read_form(MessageForm)
        self._check_live(found)
        position = verbs.send(found.pk, wanted["data"], key=wanted.get("key"))
        return Response({"position": None if isinstance(position, Ticket) else position.as_json()}, status=201)

    def _answer_session(self, session: ClientSession) -> Response:
        return Response(info.describe_session(session, connections.read_states([session.pk])[session.pk]))


def _answer_created(request: Request, created: Created, **more: Any) -> Response:
    session = created.session
    where = info.list_endpoints(session.pk, request.META.get("SCRIPT_NAME", ""))
    answer = {
        "session": info.describe_session(session, "disconnected"),
        **_describe_tokens(created),
        "positions": {"session": created.position.as_json()},
        "endpoints": where,
        **more,
    }
    return Response(answer, status=201, headers={"Location": where["session"]})


def _describe_tokens(created: Created) -> dict[str, Any]:
    return {"token": created.token.secret} if created.pair is None else describe_pair(created.pair)


def describe_pair(pair: Pair | None) -> dict[str, Any]:
    """Return a pair of tokens in the form that clients get; all values are null if there is none."""
    if pair is None:
        return {"access": None, "refresh": None, "expires_in": None}
    left = (pair.access.expires_at - clock.read(settings().database)).total_seconds()
    return {
        "access": pair.access.secret,
        "refresh": pair.refresh.secret,
        "expires_in": max(round(left, 3), 0.0),
    }


def read_entering(request: Request, user: Any) -> Evidence:
    """Return the evidence about a request that creates a session, with the scopes that the project grants it."""
    evidence = stamps.read_evidence(request._request, user)
    return replace(evidence, scopes=hooks.find_scopes(request._request, evidence.user))


def read_device(request: Request, label: str) -> Device:
    """Return the device that the request describes."""
    # Control characters could break the lines of a log or a terminal.
    agent = "".join(character for character in request.META.get("HTTP_USER_AGENT", "")[:400] if character.isprintable())
    return Device(label=label, ip=read_address(request), user_agent=agent)


def _limit_age(value: int | None) -> timedelta | None:
    most = settings().retention
    return None if value is None else min(timedelta(seconds=min(value, most.total_seconds())), most)


def _read_page(session: ClientSession, after: int, limit: int) -> dict[str, Any]:
    """Return one page of the log. If ``oldest`` is above ``after`` + 1, the entries between them are gone."""
    using = settings().database
    window = reading.read_window(using, session.pk, None)
    if window is None:
        raise SessionNotFound()
    # Begin with the oldest retained entry. An older one, which the trimming has left only for its tag, is not shown.
    found = reading.read_page(using, session.pk, max(after, window.oldest - 1), limit)
    last = found[-1].offset if found else after
    return {
        "results": [orjson.Fragment(entry.as_json()) for entry in found],
        "epoch": window.head.epoch,
        "oldest": window.oldest,
        "head": window.head.as_json(),
        "next": last if last < window.head.offset and found else None,
    }
