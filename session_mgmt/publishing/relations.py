"""Relations: publish a row again when its many-to-many fields change, from either side."""

from __future__ import annotations

from typing import Any

from session_mgmt.publishing import changes
from session_mgmt.publishing.publisher import get_publisher

_CHANGED = ("post_add", "post_remove", "post_clear")


def hear_relations(
    sender: Any, instance: Any, action: str, reverse: bool, model: Any, pk_set: set[Any] | None, using: str, **_: Any
) -> None:
    """Publish the rows whose many-to-many field has changed; a receiver of ``m2m_changed``."""
    owner = model if reverse else type(instance)
    publisher = get_publisher(owner)
    if publisher is None:
        return
    field = next(field for field in owner._meta.many_to_many if field.remote_field.through is sender)
    # In a symmetrical relation both rows have the field.
    has_others = reverse or field.remote_field.symmetrical
    if action == "pre_clear" and has_others:
        # After the change nobody can find out which rows these were.
        rows = owner._base_manager.using(using).filter(**{field.name: instance.pk})
        instance._state.related_before = set(rows.values_list("pk", flat=True))
    if action not in _CHANGED or pk_set == set():
        return
    pks = set() if reverse else {instance.pk}
    if has_others:
        pks |= pk_set if pk_set is not None else instance._state.__dict__.pop("related_before")
    with changes.open_change(publisher, using):
        # If two transactions add to one row, the later one must publish both additions, so it waits before it reads.
        locked = changes.lock_rows(publisher, using, sorted(pks))
        changes.tell_rows(publisher, using, locked)
