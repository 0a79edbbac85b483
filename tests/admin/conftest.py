"""Who looks: a superuser, and staff with just the permissions that a test names."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

SEEING = ("view_clientsession", "view_statedocument")


@pytest.fixture
def alice() -> Any:
    return get_user_model().objects.create_user("alice")


@pytest.fixture
def operator() -> Client:
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("operator"))
    return http


def staff(*codenames: str) -> Client:
    """Somebody of the staff with just these permissions."""
    user = get_user_model().objects.create_user("clerk" + uuid.uuid4().hex[:6], is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    http = Client()
    http.force_login(user)
    return http


def queries(work: Callable[[], Any]) -> int:
    """How many queries a page costs."""
    with CaptureQueriesContext(connection) as caught:
        assert work().status_code == 200
    return len(caught)
