"""Authenticate calls of clients that are connected over HTTP, and give verdicts on their logs, for many calls together.

Nothing is locked and nothing is written, except to count topics for which the application was asked. The number of
statements is fixed, however many calls and logs there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from django.db import connections

from session_mgmt.actions.sessions import controls, following, looking, permits, proving, stopping, tokens
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.looking import LogWish, Looked
from session_mgmt.actions.sessions.permits import Holder
from session_mgmt.actions.sessions.proving import Standing, StoredToken
from session_mgmt.actions.sessions.stopping import Fenced
from session_mgmt.actions.topics import subscriptions
from session_mgmt.conf import settings
from session_mgmt.exceptions import (
    ClientForgotten,
    Detached,
    Disconnected,
    DocumentNotFound,
    HeartbeatLost,
    InvalidToken,
    Replaced,
    SessionMgmtError,
    SubscriptionLimit,
)
from session_mgmt.models import clock
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import CLIENT, CONNECTION
from session_mgmt.protocol.calls import NONE, Claim
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.logs import SESSION, TOPIC


@dataclass(frozen=True, slots=True)
class Call:
    """Call of a client with its token. By log: ``logs`` are positions, ``permits`` are permits for topics, ``slow`` is
    how to serve a slow reader, and ``filters`` are the requested filters.
    """

    token: str = field(repr=False)
    claim: Claim
    logs: Mapping[str, Any] = field(default_factory=dict)
    permits: Mapping[str, str] = field(default_factory=dict)
    slow: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proved:
    """Call of a valid attachment. ``attachment`` has the logs that the call names.

    ``unpermitted`` are the topics without a valid permit, which were not read. ``receipt`` is the receipt of the
    recovery, as it is stored.
    """

    attachment: Attachment
    transport: str
    unpermitted: list[str]
    receipt: str = ""


Result: TypeAlias = Proved | SessionMgmtError


@dataclass(frozen=True, slots=True)
class _Outdated:
    """Claim with a generation that is not the current one of the client."""

    client: int
    generation: int


def prove_calls(calls: Sequence[Call], *, now: datetime | None = None) -> list[Result]:
    """Return for each call its attachment with its logs, or the error that refuses it."""
    using = settings().database
    statements, now = Statements(connections[using]), now or clock.read(using)
    digests = [tokens.hash_token(call.token) for call in calls]
    proofs = proving.find_proofs(statements, digests)
    standings = proving.load_standings(statements, {proof.session for proof in proofs.values()})
    found = [
        _prove_token(call, proofs.get(digest), standings, now) for call, digest in zip(calls, digests, strict=True)
    ]
    names = {
        (one[1].session.pk, call.claim.client_id)
        for call, one in zip(calls, found, strict=True)
        if not isinstance(one, SessionMgmtError)
    }
    clients = _load_clients(statements, names)
    judged = [
        one if isinstance(one, SessionMgmtError) else _judge_client(call, *one, clients, now)
        for call, one in zip(calls, found, strict=True)
    ]
    results = _look(statements, calls, _explain_ends(judged), now)
    return _put_ends_first(calls, found, results, now)


def _put_ends_first(
    calls: Sequence[Call],
    found: Sequence[tuple[StoredToken, Standing] | SessionMgmtError],
    results: Sequence[Result],
    now: datetime,
) -> list[Result]:
    """Replace errors about missing rows by the end of the session, which may have happened between two statements."""
    asked = {
        index: one[1].session.pk
        for index, (call, one, result) in enumerate(zip(calls, found, results, strict=True))
        if not isinstance(one, SessionMgmtError) and _misses_rows(call, result)
    }
    ends = controls.find_ends(set(asked.values()), now=now) if asked else {}
    return [ends.get(asked[index], result) if index in asked else result for index, result in enumerate(results)]


def _misses_rows(call: Call, result: Result) -> bool:
    """Return whether a row was missing for a call, or its client was fenced."""
    if isinstance(result, SessionMgmtError):
        return True
    logs, denied = result.attachment.logs, result.attachment.denied
    is_cut = SESSION in call.logs and SESSION not in logs
    return is_cut or any(isinstance(error, DocumentNotFound) for error in denied.values())


def look_at_permitted(
    proved: Proved,
    logs: Mapping[str, Any],
    slow: Mapping[str, Any],
    filters: Mapping[str, Any],
    *,
    gate: AbstractContextManager[Any],
    now: datetime | None = None,
) -> Proved:
    """Return the call with verdicts on topics that the application has allowed in the meantime.

    Topics to which the session is not subscribed become subscriptions, up to its limit; otherwise no transaction is
    opened. ``gate`` is held around the transaction. Raises ``SessionEnded`` or ``Replaced``.
    """
    using = settings().database
    now = now or clock.read(using)
    attachment = proved.attachment
    session, granted = attachment.session.pk, frozenset(name.removeprefix(TOPIC) for name in logs)
    ways: dict[str, Any] = {"attached": attachment.claim, "slow": slow, "filters": filters}
    wish = LogWish(session, dict(logs), granted, attachment.restriction, **ways)
    if subscriptions.are_subscribed(using, session, granted):
        (looked,) = looking.look_again(Statements(connections[using]), [wish], now)
    else:
        with gate:
            looked = following.follow_topics(wish, now=now)
    return replace(proved, attachment=_add_logs(attachment, looked))


def _prove_token(
    call: Call, proof: StoredToken | None, standings: Mapping[uuid.UUID, Standing], now: datetime
) -> tuple[StoredToken, Standing] | SessionMgmtError:
    standing = None if proof is None else standings.get(proof.session)
    error = proving.judge_proof(call.token, proof, standing, now)
    if error is not None:
        return error
    return InvalidToken() if proof is None or standing is None else (proof, standing)


@dataclass(frozen=True, slots=True)
class _ClientRow:
    """Client as it is stored, with the connection of its generation; ``connection`` is 0 for a client that only
    writes.
    """

    id: int
    generation: int
    last_seq: int
    connection: int
    is_open: bool
    transport: str
    receipt: str


def _load_clients(
    statements: Statements, names: Iterable[tuple[uuid.UUID, str]]
) -> dict[tuple[uuid.UUID, str], _ClientRow]:
    rows: list[Row] = statements.select_wanted(
        "SELECT t.session_id, t.client_id, t.id, t.generation, t.last_seq, n.id, n.closed_at IS NULL, n.transport,"
        f" n.receipt FROM wanted CROSS JOIN {CLIENT} t"
        f" LEFT JOIN {CONNECTION} n ON n.client_id = t.id AND n.generation = t.generation"
        " WHERE t.session_id = wanted.session AND t.client_id = wanted.name",
        {"session": "uuid", "name": "text"},
        [(statements.uuid(session), name) for session, name in names],
    )
    return {
        (statements.as_uuid(session), name): _ClientRow(
            *(key, generation, seq, connection or 0), bool(is_open), transport or NONE, receipt or ""
        )
        for session, name, key, generation, seq, connection, is_open, transport, receipt in rows
    }


def _judge_client(
    call: Call,
    proof: StoredToken,
    standing: Standing,
    clients: Mapping[tuple[uuid.UUID, str], _ClientRow],
    now: datetime,
) -> Result | _Outdated:
    client = clients.get((standing.session.pk, call.claim.client_id))
    if client is None:
        return ClientForgotten()
    # A higher generation is refused too: after a backup was restored, it is unknown what the client has done since.
    if client.generation != call.claim.generation:
        return _Outdated(client.id, call.claim.generation)
    if client.connection and not client.is_open:
        return HeartbeatLost()
    attachment = Attachment(
        session=standing.session,
        client=client.id,
        client_id=call.claim.client_id,
        generation=client.generation,
        connection=client.connection,
        last_seq=client.last_seq,
        went_back=False,
        # The client has attached before; the call itself names what must be recovered.
        is_new=True,
        logs={},
        denied={},
        at=now,
        auth_version=proof.auth_version,
        mark=standing.mark,
        token_expires_at=proof.expires_at,
        restriction=proving.find_restriction(proof, standing),
    )
    return Proved(attachment, client.transport, [], client.receipt)


def _explain_ends(results: Sequence[Result | _Outdated]) -> list[Result]:
    """Distinguish attachments that were closed by order from those that were replaced by another one."""
    known = {one.client: one.generation for one in results if isinstance(one, _Outdated)}
    fenced = stopping.find_fenced(known) if known else {}
    return [_explain_end(one, fenced.get(one.client)) if isinstance(one, _Outdated) else one for one in results]


def _explain_end(outdated: _Outdated, fenced: Fenced | None) -> SessionMgmtError:
    # Without a higher generation in the database, a restored backup has lost the claim's generation.
    return Replaced() if fenced is None else build_end(fenced.code)


def build_end(code: Close) -> SessionMgmtError:
    """Return the error for a call whose attachment was closed with this code."""
    return {Close.DETACHED: Detached, Close.NORMAL: Disconnected}.get(code, Replaced)()


def _look(statements: Statements, calls: Sequence[Call], proved: Sequence[Result], now: datetime) -> list[Result]:
    most = settings().max_subscriptions
    wishes: list[LogWish] = []
    results: list[Result] = []
    for call, one in zip(calls, proved, strict=True):
        if isinstance(one, SessionMgmtError):
            results.append(one)
            continue
        topics = [name for name in call.logs if name.startswith(TOPIC)]
        # A poll may name topics that no attach and no `subscribe` has counted.
        topics, over = topics[:most], topics[most:]
        good = {name for name in topics if _is_permitted(one.attachment.holder, name, call.permits.get(name), now)}
        denied: dict[str, SessionMgmtError] = {name: SubscriptionLimit(limit=most) for name in over}
        attachment = replace(one.attachment, denied=denied)
        results.append(replace(one, attachment=attachment, unpermitted=[name for name in topics if name not in good]))
        logs = {name: place for name, place in call.logs.items() if name in good or not name.startswith(TOPIC)}
        granted = frozenset(name.removeprefix(TOPIC) for name in good)
        session, restriction = one.attachment.session.pk, one.attachment.restriction
        wishes.append(LogWish(session, logs, granted, restriction, slow=call.slow, filters=call.filters))
    looked = iter(looking.look_again(statements, wishes, now))
    return [
        one if isinstance(one, SessionMgmtError) else replace(one, attachment=_add_logs(one.attachment, next(looked)))
        for one in results
    ]


def _is_permitted(holder: Holder, name: str, permit: str | None, now: datetime) -> bool:
    return permits.is_permitted(holder, name.removeprefix(TOPIC), permit, now=now)


def _add_logs(attachment: Attachment, looked: Looked) -> Attachment:
    logs, denied = {**attachment.logs, **looked.logs}, {**attachment.denied, **looked.denied}
    return replace(attachment, logs=logs, denied=denied)
