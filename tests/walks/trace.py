"""Record which files of the package a piece of work passes through, in order."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

from tests.docs.pages import ROOT

PACKAGE = str(ROOT / "session_mgmt") + "/"


class Trace:
    """Files of the package in the order of their calls, on this thread and on those that started after ``install``.

    A thread can only be traced from its own beginning, so install before the threads of a walk start, and use the
    object as a context for the walk itself.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._is_recording = False
        self._is_over = False

    def install(self) -> None:
        """Let all threads that start from now on be traced."""
        threading.setprofile(self._note_call)

    def remove(self) -> None:
        """End the trace; running threads take it off themselves at their next call."""
        self._is_over = True
        threading.setprofile(None)  # type: ignore[arg-type]

    def __enter__(self) -> Trace:
        self._is_recording = True
        sys.setprofile(self._note_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._is_recording = False

    def _note_call(self, frame: FrameType, event: str, _: Any) -> None:
        if self._is_over:
            sys.setprofile(None)
        elif self._is_recording and event == "call":
            name = frame.f_code.co_filename
            # The import of a module is no step of a walk.
            if name.startswith(PACKAGE) and frame.f_code.co_name != "<module>":
                self._add_file(name.removeprefix(PACKAGE))

    def _add_file(self, file: str) -> None:
        if not self.files or self.files[-1] != file:
            self.files.append(file)

    def find_missing(self, files: list[str]) -> str | None:
        """Return the first file that was not called after the ones before it; ``None`` if all were."""
        calls = iter(self.files)
        return next((file for file in files if file not in calls), None)
