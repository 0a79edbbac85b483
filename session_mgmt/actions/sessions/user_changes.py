"""Hear of changes of users and of their rights, so that they take effect at once and not in the next control round.

A change of rights raises the ``access_version`` of the sessions that it concerns. Whoever serves one of them asks the
application again about all its topics. What no signal tells is found by the control query, or when a topic is asked
about the next time.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Q
from django.db.models.signals import m2m_changed, post_save, pre_delete

from session_mgmt.actions import notify
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession
from session_mgmt.models.isolation import call_after_commit, open_transaction

# Sessions of one order; a channel layer is for small messages.
_TOGETHER = 1000
_NAME = "session_mgmt"


def watch_users() -> None:
    """Hear of users who are saved, and of the groups and permissions that they and their groups are given."""
    model = get_user_model()
    post_save.connect(_after_save, sender=model, dispatch_uid=_NAME)
    for name, other in (("groups", Group), ("user_permissions", Permission)):
        if (through := _find_through(model, name, other)) is not None:
            m2m_changed.connect(partial(_after_change, f"user__{name}"), sender=through, weak=False, dispatch_uid=_NAME)
    if _find_through(model, "groups", Group) is not None:
        of_groups = partial(_after_change, "user__groups__permissions")
        m2m_changed.connect(of_groups, sender=Group.permissions.through, weak=False, dispatch_uid=_NAME)
        pre_delete.connect(partial(_before_deletion, "user__groups"), sender=Group, weak=False, dispatch_uid=_NAME)


def _find_through(model: Any, name: str, other: type) -> Any:
    """Return the table of a user model's field for groups or permissions; it may have none."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field.remote_field.through if field.many_to_many and field.related_model is other else None


# -- users -------------------------------------------------------------------------------------------------------------


def _after_save(instance: Any, created: bool, using: str, update_fields: Any, **_: Any) -> None:
    """Have the sessions of a user looked at, once the change is committed; not for the time of a login alone."""
    watched = {"password", *(name.partition("__")[0] for name in settings().user_standing)}
    if created or using != settings().database or (update_fields is not None and not watched & set(update_fields)):
        return
    call_after_commit(using, partial(_look_at_user, using, instance.pk))


def _look_at_user(using: str, user: Any) -> None:
    live = ClientSession.objects.using(using).filter(user=user, state=ClientSession.State.ACTIVE)
    concerned = list(live.values_list("pk", flat=True))
    for start in range(0, len(concerned), _TOGETHER):
        notify.look_at_sessions(concerned[start : start + _TOGETHER])


# -- rights ------------------------------------------------------------------------------------------------------------


def _after_change(
    path: str, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any
) -> None:
    """Raise the version of those who have a right, or lose it, by this change of a many-to-many field.

    ``path`` leads from a session over the rows with the field to those that they are given.
    """
    owners = path.rpartition("__")[0]
    if not reverse and action in ("post_add", "post_remove", "post_clear"):
        if pk_set is None or pk_set:
            raise_access_version(using, Q(**{owners: instance.pk}))
    elif reverse and action in ("post_add", "post_remove") and pk_set:
        raise_access_version(using, Q(**{f"{owners}__in": pk_set}))
    elif reverse and action == "pre_clear":
        # Afterwards nobody could tell whose it was.
        raise_access_version(using, Q(**{path: instance.pk}))


def _before_deletion(path: str, instance: Any, using: str, **_: Any) -> None:
    """Raise the version of a group's members: its rows go without a signal of their own."""
    raise_access_version(using, Q(**{path: instance.pk}))


def raise_access_version(using: str, which: Q) -> None:
    """Raise the version of the rights of live sessions, by one UPDATE in the caller's transaction."""
    if using != settings().database:
        return
    live = ClientSession.objects.using(using).filter(which, state=ClientSession.State.ACTIVE)
    with open_transaction(using):
        mine = ClientSession.objects.using(using).filter(pk__in=live.values("pk"))
        # Locked by ascending key first: an UPDATE alone takes any order, and two could wait for each other.
        changed: list[uuid.UUID] = list(mine.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
        if not changed:
            return
        mine.update(access_version=F("access_version") + 1)
        for start in range(0, len(changed), _TOGETHER):
            notify.after_commit(using, orders=notify.order_look(changed[start : start + _TOGETHER]))


def change_access(*, user: Any = None, session: uuid.UUID | None = None) -> None:
    """Tell that the rights of a user, or of one session, have changed in a way that no signal tells."""
    which = Q(pk=session) if session is not None else Q(user=user.pk)
    raise_access_version(settings().database, which)
