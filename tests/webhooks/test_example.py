"""The receiver of the how-to takes the calls as they come, and nothing that was changed, copied or signed by others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.test import RequestFactory

from session_mgmt.actions.webhooks import endpoints, sending
from session_mgmt.actions.webhooks.endpoints import Made
from session_mgmt.shortcuts import create_session
from tests.docs.pages import ROOT, blocks
from tests.webhooks.conftest import Call, Receiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def page() -> dict[str, Any]:
    """The names of the page's Python."""
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks("python", [ROOT / "docs" / "howto" / "webhooks.md"]):
        exec(compile(block.text, "webhooks.md", "exec"), namespace)
    return namespace


def ask(page: dict[str, Any], call: Call, *, body: bytes | None = None, **changed: Any) -> int:
    """Give the receiver a call, or a changed one; return its status."""
    told = call._replace(**changed)
    headers = {
        "HTTP_WEBHOOK_ID": told.id,
        "HTTP_WEBHOOK_TIMESTAMP": str(told.timestamp),
        "HTTP_WEBHOOK_SIGNATURE": told.signature,
    }
    request = RequestFactory().post("/", body or told.body, content_type="application/json", **headers)
    return int(page["receive"](request).status_code)


def test_the_receiver_of_the_page_takes_what_is_sent(receiver: Receiver, endpoint: Made, page: dict[str, Any]) -> None:
    create_session()
    endpoints.rotate_secret(endpoint.endpoint.pk)
    assert sending.send_due().sent == 1
    (call,) = receiver.calls
    # The receiver's clock is that of the call, however long this test takes.
    page["time"] = SimpleNamespace(time=lambda: float(call.timestamp))
    assert ask(page, call) == 401
    page["SECRETS"].append(endpoint.secret)
    assert ask(page, call) == 204
    assert ask(page, call, body=call.body.replace(b"session_created", b"session_expired")) == 401
    assert ask(page, call, id=call.id + "0") == 401
    assert ask(page, call, timestamp=call.timestamp + 1) == 401
    assert ask(page, call, signature="v1,AAAA ä") == 401
    page["time"] = SimpleNamespace(time=lambda: call.timestamp + 301.0)
    assert ask(page, call) == 401
