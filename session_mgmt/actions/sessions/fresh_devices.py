"""Notice new devices: one that a user has never logged in from, and another device or network of the same session."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction

from session_mgmt.actions import audit, notify
from session_mgmt.actions.addresses import is_same_network, veil_address
from session_mgmt.actions.agents import Agent, name_agent
from session_mgmt.actions.sessions.first_rows import Device
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession
from session_mgmt.signals import new_device

IGNORE, AUDIT, REAUTH = "ignore", "audit", "reauth"


@dataclass(frozen=True, slots=True)
class Change:
    """Difference between the device of a session and the one of the current request; ``policy`` is the stricter one."""

    session: uuid.UUID
    policy: str
    before: Agent
    now: Agent
    ip: str | None
    parts: tuple[str, ...]


def find_change(session: ClientSession, device: Device | None) -> Change | None:
    """Return how the device of a session differs, if the project wants to know. Unknown values count as equal."""
    if device is None:
        return None
    before, now = name_agent(session.user_agent), name_agent(device.user_agent)
    policies = {}
    if all(before) and all(now) and before != now:
        policies["device"] = settings().device_change
    if session.ip and device.ip and not is_same_network(session.ip, veil_address(device.ip)):
        policies["address"] = settings().address_change
    parts = tuple(name for name, policy in policies.items() if policy != IGNORE)
    if not parts:
        return None
    policy = REAUTH if REAUTH in policies.values() else AUDIT
    return Change(session.pk, policy, before, now, device.ip, parts)


def note_change(change: Change) -> None:
    """Write the change to the audit trail."""
    facts = {"parts": list(change.parts), "before": " ".join(change.before), "now": " ".join(change.now)}
    audit.add_entry(audit.DEVICE_CHANGED, session=change.session, ip=change.ip, policy=change.policy, **facts)


def keep_device(using: str, session: ClientSession, device: Device) -> None:
    """Store the current device as that of the session, so that one change is reported once."""
    session.user_agent, session.ip = device.user_agent[:400], veil_address(device.ip)
    mine = ClientSession.objects.using(using).filter(pk=session.pk)
    mine.update(user_agent=session.user_agent, ip=session.ip)


def tell_new_device(using: str, session: ClientSession) -> None:
    """Send ``new_device`` after the commit if none of the user's stored sessions had this browser and system.

    The database is queried only if the signal has receivers.
    """
    if session.user_id is None or not new_device.has_listeners():
        return
    agent = name_agent(session.user_agent)
    others = ClientSession.objects.using(using).filter(user=session.user_id).exclude(pk=session.pk)
    known = {name_agent(text) for text in others.values_list("user_agent", flat=True)}
    if agent in known:
        return
    facts: dict[str, Any] = {
        "session_id": session.pk,
        "user_id": session.user_id,
        "browser": agent.browser,
        "system": agent.system,
        "ip": session.ip,
        "is_first": not known,
    }
    transaction.on_commit(partial(notify.send_signal, new_device, **facts), using=using, robust=True)


def follow_device(using: str, session: ClientSession, device: Device | None) -> None:
    """Record that a session comes from another device, and store that device as its own."""
    change = find_change(session, device)
    if change is not None and device is not None:
        note_change(change)
        keep_device(using, session, device)
