"""Receive changes of users and of their permissions, so that they take effect at once and not at the next control
query.

A change of permissions raises the ``access_version`` of the sessions that it concerns. A process that serves one of
them asks the application again about all its topics. Changes without a signal are found by the control query, or the
next time that a topic is checked.
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

# Most sessions of one order, because a channel layer is made for small messages.
_TOGETHER = 1000
_NAME = "session_mgmt"


def watch_users() -> None:
    """Connect receivers to saved users, and to changes of their groups and permissions and of the permissions of
    groups.
    """
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
    """Return the table between users and their groups or permissions, or ``None`` if the user model has no such
    field.
    """
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field.remote_field.through if field.many_to_many and field.related_model is other else None


# -- users -------------------------------------------------------------------------------------------------------------


def _after_save(instance: Any, created: bool, using: str, update_fields: Any, **_: Any) -> None:
    """Have the sessions of a saved user checked after the commit, unless only other fields, such as the last login,
    were saved.
    """
    watched = {"password", *(name.partition("__")[0] for name in settings().user_standing)}
    if created or using != settings().database or (update_fields is not None and not watched & set(update_fields)):
        return
    call_after_commit(using, partial(_look_at_user, using, instance.pk))


def _look_at_user(using: str, user: Any) -> None:
    live = ClientSession.objects.using(using).filter(user=user, state=ClientSession.State.ACTIVE)
    concerned = list(live.values_list("pk", flat=True))
    for start in range(0, len(concerned), _TOGETHER):
        notify.look_at_sessions(concerned[start : start + _TOGETHER])


# -- permissions -------------------------------------------------------------------------------------------------------


def _after_change(
    path: str, instance: Any, action: str, reverse: bool, pk_set: set[Any] | None, using: str, **_: Any
) -> None:
    """Raise the version of the sessions that get or lose a permission by a change of a many-to-many field.

    ``path`` is the lookup from a session to the related rows of that field.
    """
    owners = path.rpartition("__")[0]
    if not reverse and action in ("post_add", "post_remove", "post_clear"):
        if pk_set is None or pk_set:
            raise_access_version(using, Q(**{owners: instance.pk}))
    elif reverse and action in ("post_add", "post_remove") and pk_set:
        raise_access_version(using, Q(**{f"{owners}__in": pk_set}))
    elif reverse and action == "pre_clear":
        # After the change nobody knows which users were concerned.
        raise_access_version(using, Q(**{path: instance.pk}))


def _before_deletion(path: str, instance: Any, using: str, **_: Any) -> None:
    """Raise the version of the members of a group, because the deletion sends no other signal about its members."""
    raise_access_version(using, Q(**{path: instance.pk}))


def raise_access_version(using: str, which: Q) -> None:
    """Raise the version of the permissions of live sessions, with one UPDATE in the caller's transaction."""
    if using != settings().database:
        return
    live = ClientSession.objects.using(using).filter(which, state=ClientSession.State.ACTIVE)
    with open_transaction(using):
        mine = ClientSession.objects.using(using).filter(pk__in=live.values("pk"))
        # Lock by ascending key first, because an UPDATE alone locks in any order, and two could wait for each other.
        changed: list[uuid.UUID] = list(mine.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
        if not changed:
            return
        mine.update(access_version=F("access_version") + 1)
        for start in range(0, len(changed), _TOGETHER):
            notify.after_commit(using, orders=notify.order_look(changed[start : start + _TOGETHER]))


def change_access(*, user: Any = None, session: uuid.UUID | None = None) -> None:
    """Report that the permissions of a user, or of one session, have changed without a signal."""
    which = Q(pk=session) if session is not None else Q(user=user.pk)
    raise_access_version(settings().database, which)
