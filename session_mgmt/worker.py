"""Exit a worker process when its parent dies."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Watch the parent from a thread: a killed parent closes no pipe, and a pool's worker would wait for ever."""
    threading.Thread(target=_wait_and_end, name="session_mgmt-parent", daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
