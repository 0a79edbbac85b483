"""Check again that the token of a call is still valid: a claim or a login may have made it invalid since the call
began.

Writes that go through the lane carry their proof; all other calls use these functions.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connections

from session_mgmt.actions.access import Proof
from session_mgmt.actions.timeline.ledger import TimelineLedger
from session_mgmt.exceptions import InvalidToken
from session_mgmt.models import ClientSession
from session_mgmt.models.sql import Statements


def hold_proof(using: str, proof: Proof | None, at: datetime) -> None:
    """Check that a token still proves its session, and lock the session until the end of the caller's transaction.

    Call it before any client, document or stream is locked. Raises ``InvalidToken`` or the error that says how the
    session ended.
    """
    if proof is None:
        return
    timelines = TimelineLedger(Statements(connections[using]))
    timelines.load([proof.session], at=at, wait=True)
    timelines.load_auth_versions({proof.session})
    error = timelines.find_refusal(proof.session, proof)
    if error is not None:
        raise error


def check_proof(using: str, proof: Proof | None) -> None:
    """Check that a token still proves its session, without a lock; for calls that change other sessions.

    With locks, two sessions that end each other would wait for each other forever. Raises ``InvalidToken``.
    """
    if proof is None:
        return
    live = ClientSession.objects.using(using).filter(pk=proof.session, state=ClientSession.State.ACTIVE)
    if not live.filter(auth_version=proof.auth_version).exists():
        raise InvalidToken()
