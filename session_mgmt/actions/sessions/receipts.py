"""Receipts of recoveries, the same for clients and for staff (PROTOCOL section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from session_mgmt.actions.sessions.looking import Log
from session_mgmt.protocol.logs import STATE
from session_mgmt.protocol.recovery import Mode, Reason

_DISCONTINUOUS = (Reason.HISTORY_LOST, Reason.EPOCH_CHANGED)


def find_lost_range(log: Log) -> tuple[int | None, int] | None:
    """Return the range of entries that a client will never get, as (first, last), or ``None``.

    A document loses nothing, because its snapshot contains the effect of its entries.
    """
    if log.verdict.mode is not Mode.LOST or log.name.startswith(STATE):
        return None
    return (log.verdict.first or None, log.verdict.last)


def judge_recovery(logs: Mapping[str, Log], *, is_new: bool, went_back: bool) -> tuple[str, str]:
    """Return the verdict on a resume as a whole, ``full``, ``state_only`` or ``none``, and the reason."""
    if is_new:
        return "none", "new_client"
    if went_back:
        return "state_only", "went_back"
    for log in logs.values():
        if log.verdict.mode is Mode.LOST and (find_lost_range(log) or log.verdict.reason in _DISCONTINUOUS):
            return "state_only", str(log.verdict.reason)
    return "full", "resumed"


def draft_receipt(logs: Mapping[str, Log], *, went_back: bool, generation: int, at: datetime) -> tuple[str, str]:
    """Return the verdict and the draft of the receipt of a recovery that later calls over HTTP will complete.

    Any process may serve the last of these calls, so the draft is stored, with the time at which the client attached.
    """
    verdict, reason = judge_recovery(logs, is_new=False, went_back=went_back)
    draft = {
        "verdict": verdict,
        "reason": reason,
        "generation": generation,
        "asked": {name: log.asked.as_json() for name, log in logs.items() if log.asked},
        "replayed": {
            name: [log.asked.offset + 1, log.verdict.last]
            for name, log in logs.items()
            if log.asked and log.verdict.mode is Mode.ENTRIES
        },
        "lost": {name: list(lost) for name, log in logs.items() if (lost := find_lost_range(log))},
        "began_at": at.timestamp(),
    }
    return verdict, orjson.dumps(draft).decode()


def find_promised(stored: str) -> dict[str, int]:
    """Return for each log the offset up to which a stored receipt, or its draft, promises entries."""
    return {name: last for name, (_, last) in orjson.loads(stored)["replayed"].items()} if stored else {}


def complete_receipt(
    stored: str, connection: int, lost: Mapping[str, list[int | None]], now: datetime
) -> dict[str, Any] | None:
    """Return the receipt that completes a stored draft, or the stored receipt if it is complete; ``None`` without one.

    ``lost`` are ranges that the logs have lost since, by log.
    """
    if not stored:
        return None
    receipt: dict[str, Any] = orjson.loads(stored)
    began_at = receipt.pop("began_at", None)
    if began_at is None:
        return receipt
    receipt["lost"] |= lost
    if lost and receipt["verdict"] == "full":
        receipt["verdict"] = "state_only"
    duration = round(max(now.timestamp() - began_at, 0) * 1000, 1)
    return {"id": str(connection), **receipt, "duration_ms": duration, "queries": 0}
