"""A change of rights raises the version of the sessions that it concerns, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt import shortcuts
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle, user_changes
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession
from tests.identity.conftest import make_pair

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]

CHANGES: dict[str, Callable[[Any, Group, Permission], Any]] = {
    "a group is given": lambda user, group, right: user.groups.add(Group.objects.create(name="others")),
    "a group is taken": lambda user, group, right: user.groups.remove(group),
    "all groups are taken": lambda user, group, right: user.groups.clear(),
    "groups are set": lambda user, group, right: user.groups.set([]),
    "a group takes a member": lambda user, group, right: group.user_set.remove(user),
    "a group loses all members": lambda user, group, right: group.user_set.clear(),
    "a permission is given": lambda user, group, right: user.user_permissions.add(right),
    "a permission takes a user": lambda user, group, right: right.user_set.add(user),
    "a group is given a permission": lambda user, group, right: group.permissions.add(right),
    "a group loses its permissions": lambda user, group, right: group.permissions.clear(),
    "a permission is given to a group": lambda user, group, right: right.group_set.add(group),
    "a group is deleted": lambda user, group, right: group.delete(),
    "groups are deleted in bulk": lambda user, group, right: Group.objects.all().delete(),
    "the project tells it": lambda user, group, right: shortcuts.access_changed(user),
}


def versions() -> dict[Any, int]:
    return dict(ClientSession.objects.values_list("user__username", "access_version"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_s26_a_change_raises_the_version_of_its_users_live_sessions(
    alice: Any, bob: Any, change: Callable[[Any, Group, Permission], Any]
) -> None:
    group, right = Group.objects.create(name="members"), Permission.objects.all()[0]
    alice.groups.add(group)
    ended = make_pair(alice)
    lifecycle.terminate_session(SERVER, ended.session.pk)
    live, other = make_pair(alice), make_pair(bob)
    change(alice, group, right)
    found = dict(ClientSession.objects.values_list("pk", "access_version"))
    assert found[live.session.pk] > 1
    assert {found[ended.session.pk], found[other.session.pk]} == {1}


def test_s26_a_permission_that_leaves_all_groups_and_users(alice: Any, bob: Any) -> None:
    group, right = Group.objects.create(name="members"), Permission.objects.all()[0]
    group.permissions.add(right)
    alice.groups.add(group)
    bob.user_permissions.add(right)
    make_pair(alice), make_pair(bob)
    right.group_set.clear()
    assert versions() == {"alice": 2, "bob": 1}
    right.user_set.clear()
    assert versions() == {"alice": 2, "bob": 2}


def test_many_sessions_take_one_update(alice: Any) -> None:
    for _ in range(20):
        make_pair(alice)
    with CaptureQueriesContext(connection) as made:
        user_changes.change_access(user=alice)
    # Locked in order, and raised.
    assert [query["sql"].split()[0] for query in made if "SAVEPOINT" not in query["sql"]] == ["SELECT", "UPDATE"]
    assert set(ClientSession.objects.values_list("access_version", flat=True)) == {2}


def test_one_session_may_be_told_alone(alice: Any) -> None:
    first, second = make_pair(alice), make_pair(alice)
    shortcuts.access_changed(first.session)
    found = dict(ClientSession.objects.values_list("pk", "access_version"))
    assert (found[first.session.pk], found[second.session.pk]) == (2, 1)
    with pytest.raises(InvalidField):
        shortcuts.access_changed(object())


@pytest.mark.parametrize(
    ("change", "is_looked_at"),
    [({"is_active": False}, True), ({"password": "x"}, True), ({"last_login": None}, False), ({}, True)],
    ids=["standing", "password", "login", "all fields"],
)
def test_a_saved_user_is_looked_at_once_it_is_committed(
    alice: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
    change: dict[str, Any],
    is_looked_at: bool,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(user_changes.notify, "look_at_sessions", asked.append)
    created = make_pair(alice)
    for name, value in change.items():
        setattr(alice, name, value)
    with django_capture_on_commit_callbacks(execute=True):
        alice.save(update_fields=list(change) or None)
        assert asked == []
    assert asked == ([[created.session.pk]] if is_looked_at else [])
