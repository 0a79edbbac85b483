"""Verdicts in the form that clients are given (PROTOCOL sections 2 and 4)."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions.sessions.following import Log
from session_mgmt.actions.sessions.resume import Attachment
from session_mgmt.protocol.logs import STATE
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason

_DISCONTINUOUS = (Reason.HISTORY_LOST, Reason.EPOCH_CHANGED)


def build_verdict(log: Log) -> dict[str, Any]:
    """Build one log's verdict; a client must know which logs it may not keep in clear."""
    return {**_build_mode(log), **({"encrypted": True} if log.encrypted else {})}


def build_verdict_at(log: Log, place: Position) -> dict[str, Any]:
    """Build the verdict of a log that the client follows already, at the place that it was given last."""
    return {
        "mode": "up_to_date",
        "position": log.show_place(place),
        **({"encrypted": True} if log.encrypted else {}),
    }


def _build_mode(log: Log) -> dict[str, Any]:
    verdict = log.verdict
    if verdict.mode is Mode.UP_TO_DATE:
        reason = {"reason": str(verdict.reason)} if verdict.reason is Reason.FROM_NOW else {}
        return {"mode": "up_to_date", **reason, "position": log.show_place(log.head)}
    if verdict.mode is Mode.ENTRIES and log.asked is not None:
        return {"mode": "entries", "from": log.asked.offset, "to": verdict.last, "position": log.show_place(log.asked)}
    if log.name.startswith(STATE):
        return {"mode": "snapshot", "reason": str(verdict.reason), "position": log.head.as_json()}
    return {
        "mode": "gap",
        "from": verdict.first or None,
        "to": verdict.last,
        "reason": str(verdict.reason),
        "position": log.show_place(log.head),
    }


def find_lost_range(log: Log) -> tuple[int | None, int] | None:
    """Return the range of entries that a client will never see.

    A document loses none: its snapshot contains the effect of its entries.
    """
    if log.verdict.mode is not Mode.LOST or log.name.startswith(STATE):
        return None
    return (log.verdict.first or None, log.verdict.last)


def judge_attachment(attachment: Attachment) -> tuple[str, str]:
    """Judge a resume as a whole: ``full``, ``state_only`` or ``none``, and the reason."""
    if attachment.is_new:
        return "none", "new_client"
    if attachment.went_back:
        return "state_only", "went_back"
    for log in attachment.logs.values():
        if log.verdict.mode is Mode.LOST and (find_lost_range(log) or log.verdict.reason in _DISCONTINUOUS):
            return "state_only", str(log.verdict.reason)
    return "full", "resumed"
