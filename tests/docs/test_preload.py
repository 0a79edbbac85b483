"""A page asks for the files of each start by the names under which the client loads them."""

from __future__ import annotations

import re

from django.contrib.staticfiles.finders import find
from django.template import engines
from django.test import override_settings

from tests.docs.pages import ROOT

PAGE = "{% load session_mgmt %}{% session_preload %}"
CLIENT = ROOT / "session_mgmt/static/session_mgmt/session-client.js"


def read_addresses() -> list[str]:
    return re.findall(r'<link rel="modulepreload" href="([^"]+)">', engines["django"].from_string(PAGE).render())


def test_the_tag_names_files_that_are_served_and_that_the_client_loads() -> None:
    names = [address.removeprefix("/static/session_mgmt/") for address in read_addresses()]
    assert [name.split("-")[1] for name in names] == ["client.content", "client.outboxes"]
    assert all(find(f"session_mgmt/{name}") for name in names)
    assert all(f'import("./{name}")' in CLIENT.read_text() for name in names)


@override_settings(STATIC_URL="https://cdn.example/a&b/", STORAGES={
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
})  # fmt: skip
def test_the_names_have_no_hash_under_any_storage_and_are_escaped() -> None:
    assert all(
        address.startswith("https://cdn.example/a&amp;b/session_mgmt/session-client.") for address in read_addresses()
    )
