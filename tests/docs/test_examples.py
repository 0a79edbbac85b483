"""The Python of README, how-to guides and topics runs as it stands, from top to bottom, in one namespace a page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test.utils import isolate_apps
from django.urls import include, path

from session_mgmt.shortcuts import create_session
from session_mgmt.testing import inline_bridge
from tests.docs.pages import ROOT, blocks

PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/howto/*.md")),
    *sorted(ROOT.glob("docs/topics/*.md")),
    ROOT / "docs/reference/python.md",
    ROOT / "docs/reference/signals.md",
]


class Order:
    """The model of the project that the pages speak of."""

    pk = 42
    status = "paid"
    objects = SimpleNamespace(filter=lambda **_: SimpleNamespace(exists=lambda: True))

    def ship(self) -> None:
        """Its own business."""


class OrderList:
    """A view of the project."""

    @staticmethod
    def as_view() -> Any:
        return lambda request: None


class Customer:
    objects = Order.objects


class OrderSerializer:
    """A serializer of the project."""


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that the pages import from the project which they build."""
    for module, found in {
        "orders.models": Order,
        "orders.serializers": OrderSerializer,
        "orders.views": OrderList,
        "customers.models": Customer,
    }.items():
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{found.__name__: found}))  # type: ignore[arg-type]


@pytest.fixture
def namespace(transactional_db: None, project: None) -> Iterator[dict[str, Any]]:
    """What a project has before it reads our pages."""
    with inline_bridge(), isolate_apps("tests.shop"):
        user = get_user_model().objects.create_user("ada")
        yield {
            # In an app of the tests, for models.
            "__name__": "tests.shop.page",
            "INSTALLED_APPS": [],
            "DATABASES": {"default": {}},
            "urlpatterns": [],
            "django_application": None,
            "include": include,
            "path": path,
            "timedelta": timedelta,
            "transaction": transaction,
            "Order": Order,
            "order": Order(),
            "user": user,
            "session": create_session(user=user).session,
        }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_the_page_runs(page: Path, namespace: dict[str, Any]) -> None:
    for block in blocks("python", [page]):
        # Line numbers as on the page, so that a failure is found there.
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
