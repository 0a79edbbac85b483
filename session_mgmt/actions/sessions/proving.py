"""Find the sessions that tokens prove, many together.

Connections keep light values of their sessions, because a model instance costs 100 us and 2 kB, and is rarely needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from django.utils.functional import SimpleLazyObject

from session_mgmt.actions import ends
from session_mgmt.actions.sessions import fingerprints, tokens, users
from session_mgmt.actions.sessions.users import UserStanding
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidToken, SessionExpired, SessionMgmtError
from session_mgmt.models import ClientSession, portable_json
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import ACTIVITY, SESSION, TOKEN
from session_mgmt.protocol.scopes import Restriction, restrict

# In the order of the model's columns, as ``from_db`` requires.
_MODEL_FIELDS = ("id", "user_id", "state", "metadata", "label", "created_at", "tenant", "acting")


class LiveSession(NamedTuple):
    """Session as its connections know it: its row when the client connected."""

    pk: uuid.UUID
    user_id: Any
    state: str
    label: str
    metadata_text: str
    created_at: datetime
    last_active_at: datetime
    expires_at: datetime
    access_version: int = 1
    tenant: str = ""
    acting: str = ""

    @property
    def metadata(self) -> Any:
        """Return the metadata, parsed again at each access."""
        return portable_json.read_json(self.metadata_text)

    def as_model(self) -> ClientSession:
        """Return the session for the project's code, as a model instance that is built at its first use.

        Its other columns are read from the database when they are used.
        """
        return cast(ClientSession, SimpleLazyObject(self._build_model))

    def _build_model(self) -> ClientSession:
        values = [self.pk, self.user_id, self.state, self.metadata, self.label, self.created_at]
        values += [self.tenant, self.acting]
        return ClientSession.from_db(settings().database, _MODEL_FIELDS, values)


class StoredToken(NamedTuple):
    """Stored token: the session that it proves, and until when."""

    session: uuid.UUID
    expires_at: datetime
    is_revoked: bool
    auth_version: int
    scopes: list[str] | None = None


class Standing(NamedTuple):
    """Session, and whether it may go on as far as its rows show; ``oldest_event`` is the first entry of its log.

    ``fits`` is true if it is bound to its user's current credentials. ``mark`` is a digest of both, and ``unbound`` is
    the fingerprint to store for a session that has none.
    """

    session: LiveSession
    absolute_deadline: datetime
    live: bool
    may_act: bool
    fits: bool
    oldest_event: int
    auth_version: int
    mark: bytes
    unbound: bytes | None = None
    scopes: Sequence[str] = ()
    end_reason: str = ""


_NOBODY = UserStanding(may_act=True, prints=())
_MISSING = UserStanding(may_act=False, prints=())


def prove_sessions(
    statements: Statements, secrets: Iterable[str], *, now: datetime
) -> dict[str, LiveSession | SessionMgmtError]:
    """Return the live session that each token proves, or the error; three queries for any number of tokens, and no
    lock.
    """
    digests = {secret: tokens.hash_token(secret) for secret in secrets}
    proofs = find_proofs(statements, digests.values())
    standings = load_standings(statements, {proof.session for proof in proofs.values()})
    found: dict[str, LiveSession | SessionMgmtError] = {}
    for secret, digest in digests.items():
        proof = proofs.get(digest)
        standing = standings.get(proof.session) if proof else None
        error = judge_proof(secret, proof, standing, now)
        if error is not None:
            found[secret] = error
        elif standing is not None:
            found[secret] = standing.session
    return found


def find_proofs(statements: Statements, digests: Iterable[bytes]) -> dict[bytes, StoredToken]:
    """Return the stored tokens with these digests that prove a session, with one query."""
    wanted = sorted(set(digests))
    if not wanted:
        return {}
    among, params = statements.among("digest", wanted)
    rows = statements.fetch(
        f"SELECT digest, session_id, {statements.plain('expires_at')}, revoked_at IS NOT NULL, auth_version, scopes"
        f" FROM {TOKEN} WHERE {among} AND kind IN (%s, %s)",
        [*params, *(kind.value for kind in tokens.PROVING_KINDS.values())],
    )
    return {
        bytes(digest): StoredToken(
            session=statements.as_uuid(session),
            expires_at=statements.as_moment(expires_at),
            is_revoked=bool(is_revoked),
            auth_version=version,
            # Few tokens have scopes of their own.
            scopes=None if scopes is None else portable_json.read_json(scopes),
        )
        for digest, session, expires_at, is_revoked, version, scopes in rows
    }


def load_standings(statements: Statements, sessions: Iterable[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """Return the sessions that exist, with one query, and one more for their users."""
    wanted = [statements.uuid(session) for session in sessions]
    if not wanted:
        return {}
    among, params = statements.among("s.id", wanted)
    moments = ", ".join(
        statements.plain(name) for name in ("s.created_at", "a.last_active_at", "a.expires_at", "a.absolute_deadline")
    )
    rows = statements.fetch(
        f"SELECT s.id, s.user_id, s.state, s.label, s.metadata, {moments}, a.live, a.oldest_event,"
        " s.auth_version, s.access_version, s.auth_fingerprint, s.tenant, s.acting, s.scopes, s.end_reason"
        f" FROM {SESSION} s JOIN {ACTIVITY} a ON a.session_id = s.id WHERE {among}",
        params,
    )
    found = users.find_users(statements, {row[1] for row in rows if row[1] is not None})
    standings = (_make_standing(statements, row, found) for row in rows)
    return {standing.session.pk: standing for standing in standings}


def _make_standing(statements: Statements, row: Row, found: dict[Any, UserStanding]) -> Standing:
    key, user_key, state, label, metadata, created_at, last_active_at, expires_at, absolute, live, oldest, *more = row
    auth_version, access_version, stored, tenant, acting, scopes, end_reason = more
    user = _NOBODY if user_key is None else found.get(user_key, _MISSING)
    fingerprint = None if stored is None else bytes(stored)
    # A row from before there were fingerprints is bound to the current credentials.
    bound = fingerprint or next(iter(user.prints), None)
    session = LiveSession(
        pk=statements.as_uuid(key),
        user_id=users.read_user_id(user_key),
        state=state,
        label=label,
        metadata_text=metadata,
        created_at=statements.as_moment(created_at),
        last_active_at=statements.as_moment(last_active_at),
        expires_at=statements.as_moment(expires_at),
        access_version=access_version,
        tenant=tenant,
        acting=acting,
    )
    return Standing(
        session=session,
        absolute_deadline=statements.as_moment(absolute),
        live=bool(live),
        may_act=user.may_act,
        fits=fingerprints.fits(fingerprint, user.prints),
        oldest_event=oldest,
        auth_version=auth_version,
        mark=user.make_mark(bound),
        unbound=bound if fingerprint is None else None,
        scopes=portable_json.read_json(scopes),
        end_reason=end_reason,
    )


def find_restriction(proof: StoredToken, standing: Standing) -> Restriction | None:
    """Return the restriction by the scopes of a session and of its token; ``None`` if all frames are allowed."""
    # Scopes that sessions without a user always have are checked over HTTP only.
    return restrict(standing.scopes, proof.scopes, is_nobodys=False)


def judge_proof(
    secret: str, proof: StoredToken | None, standing: Standing | None, now: datetime
) -> SessionMgmtError | None:
    """Return why a token proves no live session, or ``None``. Unknown, revoked and wrong kinds of tokens get the same
    error.
    """
    if tokens.find_kind(secret) is None or proof is None or standing is None:
        return InvalidToken()
    session = standing.session
    moments = session.expires_at, standing.absolute_deadline
    ended = ends.explain_end(session.state, standing.end_reason, *moments, now=now)
    # The row was read between the two steps that end a session.
    if ended is None and not standing.live:
        ended = SessionExpired()
    error = tokens.judge_token(
        is_revoked=proof.is_revoked or proof.auth_version != standing.auth_version,
        may_act=standing.may_act,
        fits=standing.fits,
        expires_at=proof.expires_at,
        ended=ended,
        now=now,
    )
    return None if error is None else tokens.name_session(error, proof.session)
