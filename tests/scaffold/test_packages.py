"""The npm packages of a folder: passes run side by side, and need the same ones."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from tests import javascript


def test_packages_are_installed_once_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []

    def npm(*arguments: str, folder: Path, **rest: Any) -> int:
        other = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        (folder / "node_modules").mkdir()
        ran.append(arguments)
        return 0

    monkeypatch.setattr(javascript, "npm", npm)
    (tmp_path / "package-lock.json").write_text("{}")
    assert [javascript.install(tmp_path) for _ in range(2)] == [0, 0]
    assert [arguments[0] for arguments in ran] == ["ci"]
