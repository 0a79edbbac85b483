"""Give clients' messages to the application: its handler runs once, and its effects are kept with the receipt or not
at all.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import orjson
from django.db import connections

from session_mgmt.actions import checking
from session_mgmt.actions.access import Proof
from session_mgmt.actions.clients import ClientLedger, Fence
from session_mgmt.actions.outcome import Outcome, accept_write, refuse_write
from session_mgmt.actions.timeline.ledger import TimelineLedger
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.exceptions import HandlerFailed, NoHandler, SessionMgmtError, TemporaryError
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.late_transaction import open_late_transaction
from session_mgmt.models.sql import Statements
from session_mgmt.registry import registry
from session_mgmt.user_code import call_sync

logger = logging.getLogger(__name__)

_NO_GATE: AbstractContextManager[Any] = nullcontext()


class Claim(NamedTuple):
    """Claim of a message: its number, and the ``auth_version`` of the token that let its connection in."""

    fence: Fence
    auth_version: int


def receive_message(
    session: ClientSession, claim: Claim, data: Any, *, gate: AbstractContextManager[Any] = _NO_GATE
) -> Outcome:
    """Give a message to the application and store its answer; runs user code, so never on a lane.

    No row and no lock of ours is held while the handler runs. Its writes and the answer are committed together, if
    the message is still without an answer then, its session has not ended, and its token was not voided. A handler that
    raises is undone and answered with ``handler_failed``, unless it raises one of our own errors. ``gate`` is held
    while something is written.
    """
    using = settings().database
    # Before the handler runs: a repetition must not run it again, and a fenced client must not at all (S6, L4).
    answer = _find_answer(using, claim.fence)
    if answer is not None:
        return answer
    try:
        with open_late_transaction(using, gate) as late:
            outcome = _run_handler(session, data)
            # Some SQL by hand passes Django's wrappers by, and would commit by itself if nothing had begun.
            late.begin()
            return _keep_answer(using, session.pk, claim, outcome)
    except _Undone as undone:
        return undone.outcome if undone.is_answered else _keep_refusal(using, session.pk, claim, undone, gate)


class _Undone(Exception):
    """Reason to roll back what the handler wrote; ``is_answered``: the message has this answer already. ``fault`` is
    the error of the handler, if that is the reason.
    """

    def __init__(self, outcome: Outcome, *, is_answered: bool = False, fault: Exception | None = None) -> None:
        super().__init__()
        self.outcome, self.is_answered, self.fault = outcome, is_answered, fault


def _find_answer(using: str, fence: Fence) -> Outcome | None:
    """Return the answer that the message has already, or the refusal of its number; keep no lock."""
    clients = ClientLedger(Statements(connections[using]))
    clients.load([fence], at=clock.read(using), wait=True)
    return clients.decide(fence)


def _keep_answer(using: str, session: uuid.UUID, claim: Claim, outcome: Outcome, *, undo: bool = True) -> Outcome:
    """Write the answer under the message's number, in the caller's transaction.

    Where another attempt was faster or the client may write no more, that is the answer; with ``undo`` by ``_Undone``.
    """
    at, statements = clock.read(using), Statements(connections[using])
    timelines, clients = TimelineLedger(statements), ClientLedger(statements)
    # The session before its client, as everywhere.
    timelines.load([session], at=at, wait=True)
    clients.load([claim.fence], at=at, wait=True)
    current = claim.fence
    if clients.is_fenced(current):
        timelines.load_auth_versions({session})
        # A handler may outlive its connection. The answer belongs to the client, not to one attachment of it, as long
        # as the session is whose it was: the number of a message that meets a claim stays free.
        if timelines.find_refusal(session, Proof(session, claim.auth_version)) is None:
            current = clients.take_over(current)
    answer = clients.decide(current)
    if answer is not None:
        if undo:
            raise _Undone(answer, is_answered=True)
        return answer
    clients.keep_answer(current, outcome)
    clients.write(at)
    return outcome


def _keep_refusal(
    using: str, session: uuid.UUID, claim: Claim, undone: _Undone, gate: AbstractContextManager[Any]
) -> Outcome:
    with open_late_transaction(using, gate) as late:
        late.begin()
        answer = _keep_answer(using, session, claim, undone.outcome, undo=False)
    # Another attempt may have been faster, and this one have failed by what that has written: no fault of the handler.
    if undone.fault is not None and answer is undone.outcome:
        logger.error("The message handler failed", exc_info=undone.fault)
    return answer


def _run_handler(session: ClientSession, data: Any) -> Outcome:
    """Return the handler's answer. Raises ``_Undone`` with a refusal in its place."""
    if not registry.message_handlers:
        raise _Undone(refuse_write(NoHandler()))
    try:
        answer = call_sync(registry.message_handlers[-1], session, data)
        return accept_write(None, data=strict.check_value(answer, checking.document_limits()))
    # No answer is kept, so the client sends the message again under the same number.
    except TemporaryError:
        raise
    except SessionMgmtError as error:
        raise _Undone(refuse_write(error)) from error
    except Exception as error:
        raise _Undone(refuse_write(HandlerFailed()), fault=error) from error


def hash_message(data: Any) -> bytes:
    """Return the digest that a repeated message must equal."""
    return hashlib.sha256(b"send\0" + orjson.dumps(data)).digest()
