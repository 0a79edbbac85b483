"""Celery tasks, named as in ``session_mgmt.beat_schedule()``. Without Celery they are plain functions."""

from __future__ import annotations

import gc
from functools import lru_cache

from session_mgmt import CLEANUP_TASK
from session_mgmt.actions import cleanup
from session_mgmt.actions.timeline import handlers
from session_mgmt.actions.webhooks import sending
from session_mgmt.bridge import bridge

try:
    from celery import shared_task
except ImportError:  # pragma: no cover - the suite has it

    def shared_task(**_):  # type: ignore[no-untyped-def, no-redef]
        return lambda function: function


HANDLERS = 100


@shared_task(name=CLEANUP_TASK, ignore_result=False)
def cleanup_sessions() -> dict[str, int]:
    """Run the cleanup and the durable handlers that still wait; scheduled every five minutes."""
    _freeze_loaded_objects()
    report = cleanup.run_cleanup().as_dict()
    return {**report, "handled": run_handlers()}


@shared_task(name="session_mgmt.drain_outbox", ignore_result=True)
def drain_outbox() -> int:
    """Apply outbox entries that no server has applied yet, and run durable handlers."""
    _freeze_loaded_objects()
    # Check with a read first, because an idle installation should take no locks.
    drained = bridge().drain() if handlers.outbox_waits() else 0
    run_handlers()
    return drained


@shared_task(name="session_mgmt.send_webhooks", ignore_result=True)
def send_webhooks() -> dict[str, int]:
    """Send webhook deliveries that are due; scheduled every ten seconds. Several of these tasks may run at the same
    time.
    """
    _freeze_loaded_objects()
    return sending.send_due().as_dict()


def run_handlers() -> int:
    """Run durable handlers until none waits or all that wait have failed; the next run tries those again."""
    total = 0
    while handlers.events_wait() and (done := handlers.run_pending(HANDLERS)):
        total += done
    return total


@lru_cache(maxsize=1)
def _freeze_loaded_objects() -> None:
    """Take everything loaded so far out of the garbage collector's sight, once per process.

    Otherwise the collector examines it in the middle of a transaction, and other writers wait for that (measured). Only
    once, because objects that are frozen are never freed by the collector.
    """
    gc.collect()
    gc.freeze()
