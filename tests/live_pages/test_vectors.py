"""The scripts that the SDK replays are those of the rules here."""

from __future__ import annotations

from tests.live_pages import vectors


def test_the_file_is_current() -> None:
    assert vectors.FILE.read_text(encoding="utf-8") == vectors.make_text(), "run: python -m tests.live_pages.vectors"
