"""Hold calls to the token that let them in, which a claim or a login may have voided before they are carried out.

Writes that go through the lane carry their proof; all other calls ask here.
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
    """Require that a token still proves its session, and lock that in the caller's transaction.

    Before a lock of any client, document or stream. Raises ``InvalidToken`` or ``SessionEnded``.
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
    """Require that a token still proves its session, without its lock; for calls that change other sessions.

    Two sessions that end each other, each with its own row locked, would wait for ever. Raises ``InvalidToken``.
    """
    if proof is None:
        return
    live = ClientSession.objects.using(using).filter(pk=proof.session, state=ClientSession.State.ACTIVE)
    if not live.filter(auth_version=proof.auth_version).exists():
        raise InvalidToken()
