"""Record which files of the package a piece of work passes through, in order."""

from __future__ import annotations

import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from tests.docs.pages import ROOT

PACKAGE = str(ROOT / "session_mgmt") + "/"


class Trace:
    """Files of the package in the order of their calls, of all threads that start inside the block and of this one."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self._is_recording = False

    def __enter__(self) -> Trace:
        self._is_recording = True
        threading.setprofile(self._note_call)
        sys.setprofile(self._note_call)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._is_recording = False
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _note_call(self, frame: FrameType, event: str, _: Any) -> None:
        if not self._is_recording:
            # Threads that began inside the block stop at their next call; nobody else could stop them.
            sys.setprofile(None)
            return
        name = frame.f_code.co_filename
        # The import of a module, and the body of a class, is no step of a walk.
        if event == "call" and name.startswith(PACKAGE) and not frame.f_code.co_name.startswith("<module"):
            file = name.removeprefix(PACKAGE)
            if not self.files or self.files[-1] != file:
                self.files.append(file)

    def find_missing(self, files: list[str]) -> str | None:
        """Return the first file that was not called after the ones before it; ``None`` if all were."""
        calls = iter(self.files)
        return next((file for file in files if file not in calls), None)
