"""Find users by the names given to commands."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError


def find_user(name: str) -> Any:
    """Return the user with this name. Raises ``CommandError``."""
    users = get_user_model()
    # A shell may pass bytes that are not UTF-8, which no database accepts.
    is_text = name.encode(errors="replace").decode() == name
    user = users._default_manager.filter(**{users.USERNAME_FIELD: name}).first() if is_text else None
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return user
