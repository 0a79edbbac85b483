"""Sessions with pairs of tokens, and people who refresh them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from session_mgmt.actions.sessions import lifecycle, refreshing
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.actions.sessions.refreshing import Refreshed
from session_mgmt.models import clock
from tests.api.conftest import alice, bob, mine, nobody, page, rooms, theirs
from tests.walks.conftest import created, declared, peers, way

__all__ = ["alice", "bob", "created", "declared", "mine", "nobody", "page", "peers", "rooms", "theirs", "way"]


def new_nonce() -> str:
    return secrets.token_urlsafe(32)


def make_pair(user: Any = None, **more: Any) -> Created:
    """Create a session whose client can refresh."""
    return lifecycle.create_session(user=user, nonce=new_nonce(), **more)


def refresh_of(created: Created) -> str:
    """Return the first refresh token of a session."""
    assert created.pair is not None
    return created.pair.refresh.secret


def later(**passed: float) -> datetime:
    return clock.read("default") + timedelta(**passed)


def refresh(secret: str, nonce: str | None = None, **passed: float) -> Refreshed:
    """Refresh at a moment from now on."""
    return refreshing.refresh_tokens(secret, nonce or new_nonce(), now=later(**passed))


def run_together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run work on so many threads that begin at one moment, and return the results; an error is a result."""
    gate = threading.Barrier(count)

    def run(number: int) -> Any:
        gate.wait()
        try:
            return work(number)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
