"""Exit a worker process when its parent dies."""

from __future__ import annotations

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Watch the parent from a thread: a killed parent closes nothing, and its workers would wait for work forever."""
    threading.Thread(target=_wait_and_exit, name="session_mgmt-parent", daemon=True).start()


def _wait_and_exit() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # From a thread `sys.exit` would end only that thread, and work in the main one would go on for nobody.
        os._exit(0)
