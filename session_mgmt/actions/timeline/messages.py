"""Give clients' messages to the application: its handler runs once, and its effects are kept with the receipt or not
at all.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import orjson
from django.db import connections, transaction

from session_mgmt.actions import checking
from session_mgmt.actions.clients import ClientLedger, Fence
from session_mgmt.actions.outcome import Outcome, accept_write, refuse_write
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.exceptions import HandlerFailed, NoHandler, SessionMgmtError, TemporaryError
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.sql import Statements
from session_mgmt.registry import call_sync, registry

logger = logging.getLogger(__name__)


def receive_message(session: ClientSession, fence: Fence, data: Any) -> Outcome:
    """Give a message to the application and store its answer; runs user code, so never on a lane.

    The client's row is held meanwhile: what it sent after this waits. A handler that raises is undone and answered
    with ``handler_failed``, unless it raises one of our own errors.
    """
    using = settings().database
    with transaction.atomic(using=using):
        clients = ClientLedger(Statements(connections[using]))
        at = clock.read(using)
        clients.load([fence], at=at, wait=True)
        answer = clients.decide(fence)
        if answer is not None:
            return answer
        outcome = _run_handler(using, session, data)
        clients.keep_answer(fence, outcome)
        clients.write(at)
    return outcome


def _run_handler(using: str, session: ClientSession, data: Any) -> Outcome:
    if not registry.message_handlers:
        return refuse_write(NoHandler())
    try:
        with transaction.atomic(using=using):
            answer = call_sync(registry.message_handlers[-1], session, data)
            return accept_write(None, data=strict.check_value(answer, checking.document_limits()))
    except TemporaryError:
        raise
    except SessionMgmtError as error:
        return refuse_write(error)
    except Exception:
        logger.exception("The message handler failed")
        return refuse_write(HandlerFailed())


def hash_message(data: Any) -> bytes:
    """Return the digest that a repeated message must equal."""
    return hashlib.sha256(b"send\0" + orjson.dumps(data)).digest()
