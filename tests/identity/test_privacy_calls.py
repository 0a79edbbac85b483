"""All that concerns a user is handed out and erased by code of the project, as by the commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from session_mgmt import shortcuts
from session_mgmt.actions import audit
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import AuditEntry, ClientSession
from tests.identity.conftest import alice, bob, peers

__all__ = ["alice", "bob", "peers"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_code_exports_and_erases_one_user_and_the_trail_tells_of_it(alice: Any, bob: Any) -> None:
    for user in (alice, bob):
        shortcuts.state.update(shortcuts.create_session(user=user).session, {"cart": f"of {user.username}"})
    told = json.dumps(shortcuts.export_user(alice))
    assert "of alice" in told and "of bob" not in told
    assert AuditEntry.objects.get(action=audit.EXPORT_USER).data == {"user_id": str(alice.pk)}
    assert shortcuts.erase_user(alice, dry_run=True).sessions == 1
    assert ClientSession.objects.filter(user=alice).exists()
    assert shortcuts.erase_user(alice).sessions == 1
    assert list(ClientSession.objects.values_list("user", flat=True)) == [bob.pk]
    assert AuditEntry.objects.filter(action=audit.ERASE_USER).count() == 1
    # The entry of the export concerned the user too.
    assert AuditEntry.objects.get(action=audit.EXPORT_USER).data == {"erased": True}


@pytest.mark.parametrize("call", [shortcuts.export_user, shortcuts.erase_user])
@pytest.mark.parametrize("given", [None, "alice", 1])
def test_only_a_stored_user_is_taken(call: Any, given: Any) -> None:
    with pytest.raises(InvalidField):
        call(given)
    assert not AuditEntry.objects.exists()


async def test_async_code_awaits_the_same(alice: Any) -> None:
    await shortcuts.acreate_session(user=alice)
    assert "session" in {record["kind"] for record in await shortcuts.aexport_user(alice)}
    assert (await shortcuts.aerase_user(alice)).sessions == 1
