"""Users as commands name them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError


def find_user(name: str) -> Any:
    """Return the user of a name. Raises ``CommandError``."""
    users = get_user_model()
    # What a shell hands on that is no UTF-8, no database takes.
    is_text = name.encode(errors="replace").decode() == name
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first() if is_text else None
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return user
