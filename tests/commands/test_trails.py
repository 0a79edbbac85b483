"""Commands that act on people and their sessions: each leaves one entry of the trail, without a person who did it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from session_mgmt.models import AuditEntry
from session_mgmt.shortcuts import create_session

pytestmark = pytest.mark.django_db

# Command: arguments, action, and what its entry tells.
COMMANDS: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "export_user": (("ann",), "export_user", {"user_id": "{user}"}),
    "erase_user": (("ann",), "erase_user", {"rows": {"sessions": 1, "logins": 0, "publications": 0, "audit": 0}}),
    "terminate_session": (("{session}", "--reason", "abuse"), "terminate", {"reason": "abuse"}),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_acts_on_people_is_in_the_trail(name: str) -> None:
    user = get_user_model().objects.create_user("ann")
    session = create_session(user=user).session
    given, action, facts = COMMANDS[name]
    filled = {"user": str(user.pk), "session": str(session.pk)}
    call_command(name, *(text.format(**filled) for text in given), stdout=io.StringIO(), stderr=io.StringIO())
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor) == (action, None)
    assert entry.data == {
        key: value.format(**filled) if isinstance(value, str) else value for key, value in facts.items()
    }
