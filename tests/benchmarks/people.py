"""Process that creates tables, and users with two keys each: a session cookie of Django's, and a token, as JSON.

Run it with a benchmark's environment.
"""

from __future__ import annotations

import json
import sys

import django
from django.db import transaction

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from session_mgmt.actions.sessions import lifecycle  # noqa: E402
from tests.benchmarks.prepare import make_tables  # noqa: E402


def main(count: int) -> list[list[str]]:
    make_tables()
    users = get_user_model().objects
    first = users.count()
    with transaction.atomic():
        return [_keys(users.create(username=f"user {first + number}")) for number in range(count)]


def _keys(user: object) -> list[str]:
    store = SessionStore()
    # What django.contrib.auth.login() writes, without its request.
    store[SESSION_KEY] = str(user.pk)  # type: ignore[attr-defined]
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()  # type: ignore[attr-defined]
    store.save()
    return [f"sessionid={store.session_key}", lifecycle.create_session(user=user).token.secret]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
