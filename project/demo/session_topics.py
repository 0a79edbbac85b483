"""Topics of the demo, and its handler of messages."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import on_message, publish, topic

SIDES = 6


def is_own(session: ClientSession, owner: str) -> bool:
    """Return True for a topic named after this session."""
    return str(session.pk) == owner


@topic("demo:chat:{owner}", publish=is_own, retain=timedelta(hours=1))
def may_follow_chat(session: ClientSession, owner: str) -> bool:
    return is_own(session, owner)


@topic("demo:numbers:{owner}", publish=is_own, retain=timedelta(hours=1), entries=100_000)
def may_follow_numbers(session: ClientSession, owner: str) -> bool:
    return is_own(session, owner)


@topic("demo:news", retain=timedelta(hours=1))
def may_follow_news(session: ClientSession) -> bool:
    """Let everybody hear what staff publish."""
    return True


@on_message
def roll_the_dice(session: ClientSession, data: Any) -> dict[str, int]:
    """Roll once: the result is in the chat once, and a client that sends again gets the same answer."""
    thrown = random.randint(1, SIDES)
    publish(f"demo:chat:{session.pk}", {"from": "server", "text": f"{data['name']} rolled a {thrown}"})
    return {"thrown": thrown, "process": os.getpid()}
