"""The browser client as a package: its version, and the files that a static file storage serves."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import override_settings

import session_mgmt

ROOT = Path(__file__).resolve().parent.parent.parent
SDK = ROOT / "session_mgmt/js"
HASHED = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"


def test_the_client_has_the_version_of_the_python_package() -> None:
    manifest = json.loads((SDK / "package.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = re.search(r'VERSION = "(.+)"', (SDK / "src/frames.ts").read_text())
    assert version
    assert {manifest["version"], project["version"], version[1]} == {session_mgmt.__version__}


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    storages = {"staticfiles": {"BACKEND": HASHED}}
    with override_settings(STATIC_ROOT=str(tmp_path), STORAGES=storages, DEBUG=False):
        call_command("collectstatic", "--noinput", verbosity=0)
        script = tmp_path / staticfiles_storage.stored_name("session_mgmt/session-client.js")
    return script


def test_a_script_with_a_hashed_name_finds_its_map_and_the_parts_that_it_loads(collected: Path) -> None:
    text = collected.read_text()
    (named_map,) = re.findall(r"//# sourceMappingURL=(\S+)", text)
    assert re.fullmatch(r"session-client\.js\.[0-9a-f]{12}\.map", named_map)
    parts = re.findall(r'import\("\./([^"]+)"\)', text)
    assert parts != []
    missing = [name for name in [named_map, *parts] if not (collected.parent / name).exists()]
    assert missing == []
