"""One session with a document, a topic and a handler, seen through every transport."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.registry import on_message, registry, topic
from session_mgmt.shortcuts import create_session, state
from tests.api.calls import Caller
from tests.bad_input.held import Held
from tests.bad_input.values import LIMITS
from tests.walks.conftest import created, peers, way

__all__ = ["created", "peers", "way"]


@pytest.fixture(autouse=True)
def small_limits(settings: Any) -> None:
    settings.SESSION_MGMT = {**LIMITS, "max_frames_per_second": 100_000.0, "max_requests_per_second": 100_000.0}


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever was refused, nobody reads of it as of a fault."""
    yield
    # `caplog.records` has only those of the teardown here. The server tells of text that is no UTF-8 by itself.
    records = [one for one in caplog.get_records("call") if one.name != "uvicorn.error"]
    assert [one.getMessage() for one in records if one.exc_info or one.levelno >= logging.ERROR] == []


@pytest.fixture
def declared() -> Iterator[None]:
    """``room:{name}`` for everybody, and a handler that answers with what it is given."""
    before = registry.topics[:], registry.message_handlers[:]
    topic("room:{name}", publish=True)(lambda session, name: True)
    on_message(lambda session, data: data)
    yield
    registry.topics[:], registry.message_handlers[:] = before


@pytest.fixture
def held(transactional_db: None, declared: None) -> Held:
    """A session of somebody with all rights, and what it holds."""
    user = get_user_model().objects.create_superuser("root", password="a password")
    made = create_session(user=user, metadata={"tab": 1})
    state.replace(made.session, {"kept": True, "list": [1, 2], "n": 1, "text": "x"})
    http = Client()
    http.force_login(user)
    return Held(
        made.session,
        Caller(Client(), made.token.secret, str(made.session.pk)),
        Caller(http, None, str(made.session.pk)),
    )
