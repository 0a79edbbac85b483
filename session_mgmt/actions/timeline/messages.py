"""Pass clients' messages to the application. The writes of its handler are committed once, together with the receipt,
or not at all.
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
    """Claim on a message: its number, and the ``auth_version`` of the token that authenticated its connection."""

    fence: Fence
    auth_version: int


def receive_message(
    session: ClientSession, claim: Claim, data: Any, *, gate: AbstractContextManager[Any] = _NO_GATE
) -> Outcome:
    """Pass a message to the application and store its answer. This runs the project's code, so it must never run on a
    lane.

    While the handler runs, this app holds no rows and no locks. The writes of the handler and the answer are committed
    together, if by then the message still has no answer, its session has not ended, and its token is still valid. If
    the handler raises an exception, its writes are rolled back and the answer is ``handler_failed``, or the error
    itself if it is a ``SessionMgmtError``. A ``TemporaryError`` is raised instead, and nothing is stored. ``gate`` is
    held during writes.
    """
    using = settings().database
    # Before the handler: it must not run again for a repetition, nor for a client that is fenced (S6, L4).
    answer = _find_answer(using, claim.fence)
    if answer is not None:
        return answer
    try:
        with open_late_transaction(using, gate) as late:
            outcome = _run_handler(session, data)
            # Some raw SQL avoids Django's wrappers, and would commit by itself if no transaction had begun.
            late.begin()
            return _keep_answer(using, session.pk, claim, outcome)
    except _Undone as undone:
        return undone.outcome if undone.is_answered else _keep_refusal(using, session.pk, claim, undone, gate)


class _Undone(Exception):
    """Reason to roll back the handler's writes. ``is_answered`` is true if the message already has this answer.
    ``fault`` is the error of the handler, if that is the reason.
    """

    def __init__(self, outcome: Outcome, *, is_answered: bool = False, fault: Exception | None = None) -> None:
        super().__init__()
        self.outcome, self.is_answered, self.fault = outcome, is_answered, fault


def _find_answer(using: str, fence: Fence) -> Outcome | None:
    """Return the stored answer of a message, or the refusal of its number, else ``None``; keep no lock."""
    clients = ClientLedger(Statements(connections[using]))
    clients.load([fence], at=clock.read(using), wait=True)
    return clients.decide(fence)


def _keep_answer(using: str, session: uuid.UUID, claim: Claim, outcome: Outcome, *, undo: bool = True) -> Outcome:
    """Store the answer under the message's number, in the caller's transaction, and return it.

    If another attempt was faster, or the client may no longer write, that answer is returned instead. With ``undo``, it
    is raised as ``_Undone``, so that the transaction rolls back.
    """
    at, statements = clock.read(using), Statements(connections[using])
    timelines, clients = TimelineLedger(statements), ClientLedger(statements)
    # Lock the session before its client, in the same order as everywhere.
    timelines.load([session], at=at, wait=True)
    clients.load([claim.fence], at=at, wait=True)
    current = claim.fence
    if clients.is_fenced(current):
        timelines.load_auth_versions({session})
        # A handler may run longer than its connection lasts. The answer belongs to the client and not to one
        # attachment, as long as the session has the same owner. After a claim, the number of the message stays free.
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
    # If another attempt was faster, this one may have failed because of its writes: that is no fault of the handler.
    if undone.fault is not None and answer is undone.outcome:
        logger.error("The message handler failed", exc_info=undone.fault)
    return answer


def _run_handler(session: ClientSession, data: Any) -> Outcome:
    """Return the handler's answer. Raises ``_Undone`` with a refusal if there is no answer."""
    if not registry.message_handlers:
        raise _Undone(refuse_write(NoHandler()))
    try:
        answer = call_sync(registry.message_handlers[-1], session, data)
        return accept_write(None, data=strict.check_value(answer, checking.document_limits()))
    # Store no answer, so the client sends the message again under the same number.
    except TemporaryError:
        raise
    except SessionMgmtError as error:
        raise _Undone(refuse_write(error)) from error
    except Exception as error:
        raise _Undone(refuse_write(HandlerFailed()), fault=error) from error


def hash_message(data: Any) -> bytes:
    """Return the digest of a message, which a repetition under the same number must have too."""
    return hashlib.sha256(b"send\0" + orjson.dumps(data)).digest()
