"""Verdicts in the form that clients receive (PROTOCOL sections 2 and 4)."""

from __future__ import annotations

from typing import Any

from session_mgmt.actions.sessions import receipts
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.sessions.looking import Log
from session_mgmt.consumers.slow_ways import find_way
from session_mgmt.protocol.frames import Subscribe
from session_mgmt.protocol.logs import STATE, TOPIC
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Mode, Reason


def judge_attachment(attachment: Attachment) -> tuple[str, str]:
    """Return the verdict on a resume as a whole, and its reason."""
    return receipts.judge_recovery(attachment.logs, is_new=attachment.is_new, went_back=attachment.went_back)


def build_verdict(log: Log) -> dict[str, Any]:
    """Build one log's verdict, which also says if a client must not store the log unencrypted."""
    more = {} if log.complete else {"complete": False}
    return {**_build_mode(log), **more, **({"encrypted": True} if log.encrypted else {})}


def build_verdict_at(log: Log, place: Position) -> dict[str, Any]:
    """Build the verdict of a log that the client follows already, at its last position."""
    return {
        "mode": "up_to_date",
        "position": log.show_place(place),
        **({"encrypted": True} if log.encrypted else {}),
    }


def describe_reading(frame: Subscribe) -> dict[str, Any]:
    """Return how a topic is read after this request: the way to go on for a slow reader, and the filter if any."""
    if not frame.log.startswith(TOPIC):
        return {}
    only = {} if frame.filter is None else {"filter": frame.filter}
    return {"slow": find_way(frame.log, {frame.log: frame.slow}), **only}


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
