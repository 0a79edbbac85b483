"""Two users with a session each, and an anonymous one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.registry import registry, topic
from tests.api.calls import Caller, caller


@pytest.fixture(autouse=True)
def inline_unless_committing(request: pytest.FixtureRequest) -> None:
    """Give a test the lane's threads only if it says, by ``django_db(transaction=True)``, that it commits."""
    marker = request.node.get_closest_marker("django_db")
    if marker is not None and not marker.kwargs.get("transaction"):
        request.getfixturevalue("on_this_thread")


@pytest.fixture
def alice(db: None) -> Any:
    return get_user_model().objects.create_user("alice", password="a password")


@pytest.fixture
def bob(db: None) -> Any:
    return get_user_model().objects.create_user("bob", password="a password")


@pytest.fixture
def mine(alice: Any) -> Caller:
    """A client of Alice's session."""
    return caller(lifecycle.create_session(user=alice, metadata={"tab": 1}))


@pytest.fixture
def theirs(bob: Any) -> Caller:
    """A client of Bob's session."""
    return caller(lifecycle.create_session(user=bob))


@pytest.fixture
def nobody(db: None) -> Caller:
    """Somebody without any credential."""
    return Caller(Client())


@pytest.fixture
def page(alice: Any) -> Caller:
    """Alice in a browser, logged in to the project, without a session of ours."""
    http = Client(enforce_csrf_checks=True)
    http.force_login(alice)
    return Caller(http)


@pytest.fixture
def rooms() -> Iterator[None]:
    """``room:{number}``: everyone may follow and publish, if the number is one; ``news:{name}`` only the server."""
    before = list(registry.topics)
    facts = {"publish": lambda session, number: int(number) > 0, "snapshot": lambda session, number: [number]}
    topic("room:{number}", presence=True, **facts)(lambda session, number: int(number) > 0)
    topic("news:{name}")(lambda session, name: True)
    yield
    registry.topics[:] = before
