"""Rights that end while what they allow is on its way: whatever a client does then, it hears of nothing later (L7)."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.backends.doorbell import Doorbell
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.registry import topic
from session_mgmt.shortcuts import apublish
from tests.turns import pass_turn
from tests.walks.conftest import PATIENCE

CHANGES = 50
# Who comes or subscribes, who is answered late, and who is told by the bell.
WAYS = list(itertools.product([True, False], repeat=3))
NAME, TOPIC = "members:1", "topic:members:1"
# Turns of the loop by which the end of the right comes later than the question, at most.
TURNS = 30

pytestmark = pytest.mark.faults


class Member:
    """User whose right is to be in a group, with a session; the answer to a question about it may be held back."""

    def __init__(self) -> None:
        self.user = get_user_model().objects.create_user("ann", password="a password")
        self._group = Group.objects.create(name="members")
        self.token = lifecycle.create_session(user=self.user).token.secret
        self._asked, self._answers = threading.Event(), threading.Event()
        self._answers.set()

    def is_member(self, user: Any) -> bool:
        """Answer as a project does, by what the database says at that moment."""
        answer = bool(user.groups.exists())
        self._asked.set()
        assert self._answers.wait(PATIENCE)
        return answer

    async def enter(self) -> None:
        await bridge().call(self.user.groups.add, self._group)

    async def leave(self) -> None:
        await bridge().call(self.user.groups.clear)

    @asynccontextmanager
    async def answering_late(self) -> AsyncIterator[None]:
        """Hold answers back until the end of the block, which begins once a question was asked."""
        self._asked.clear()
        self._answers.clear()
        yield
        self._answers.set()

    async def wait_until_asked(self) -> None:
        assert await asyncio.to_thread(self._asked.wait, PATIENCE)


@pytest.fixture
async def member(transactional_db: None, declared: None) -> Member:
    made = await bridge().call(Member)

    @topic("members:{number}")
    def may_follow(session: Any, number: str) -> bool:
        return made.is_member(session.user)

    return made


@contextmanager
def deaf() -> Iterator[None]:
    """Let no doorbell be heard, as between processes without a channel layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[Doorbell.__module__].Doorbell, "ring", lambda *args: None)
        yield


async def subscribe(peer: Any, position: Any) -> dict[str, Any]:
    """Subscribe on an open connection, and return the answer."""
    await peer.say(type="subscribe", id=1, log=TOPIC, position=position)
    answer: dict[str, Any] = await peer.until(lambda frame: frame.get("id") == 1)
    return answer


async def publish_beside_the_end(member: Member) -> None:
    await asyncio.gather(apublish(NAME, "beside"), member.leave())


def list_heard(peer: Any) -> list[tuple[int, str]]:
    """List the entries that a client has heard: offset and value of each."""
    frames = [frame for frame in peer.seen if frame["type"] == "entries" and frame["log"] == TOPIC]
    return [(offset, value) for frame in frames for offset, _, value in frame["entries"]]


async def test_of_fifty_rights_that_end_beside_publications_none_lets_a_later_one_through(
    peers: Callable[..., Any], member: Member
) -> None:
    """One client follows already, another comes or subscribes at that moment, from a place before the publications."""
    chance, follower = random.Random(1), peers()
    await follower.open(member.token)
    for comes, is_late, is_told in itertools.islice(itertools.cycle(WAYS), CHANGES):
        await member.enter()
        # What the bell tells of this is found out now, so that the next round has only the change that is meant.
        await hub().rounds.check_sessions()
        place = (await subscribe(follower, None))["verdict"]["position"]
        await apublish(NAME, "before")
        await follower.entry(TOPIC)
        other = peers()
        if not comes:
            await other.open(member.token)
        begin = partial(other.open, member.token, logs={TOPIC: place}) if comes else partial(subscribe, other, place)
        with nullcontext() if is_told else deaf():
            if is_late:
                async with member.answering_late():
                    beginning = asyncio.create_task(begin())
                    await member.wait_until_asked()
                    await publish_beside_the_end(member)
                    await hub().rounds.check_sessions()
                await beginning
            else:
                beginning = asyncio.create_task(begin())
                for _ in range(chance.randrange(TURNS)):
                    await pass_turn()
                await asyncio.gather(beginning, publish_beside_the_end(member))
        if is_told:
            await follower.until(lambda frame: frame["type"] == "error" and frame.get("log") == TOPIC)
        await hub().rounds.check_sessions()
        await _until(lambda: not any(TOPIC in served.followings for served in hub().serving.connections))
        await apublish(NAME, "later")
        await hub().rounds.check_positions()
        expected = [(place[1] + 1, "before"), (place[1] + 2, "beside")]
        for peer, least in ((follower, 1), (other, 0)):
            await peer.say(type="ping", id=7)
            await peer.until_type("pong")
            heard = list_heard(peer)
            assert heard == expected[: max(least, len(heard))]
        await other.leave()
        follower.seen.clear()


async def _until(is_so: Callable[[], bool]) -> None:
    """Wait for the tasks of the hub, one after the other, until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():
            await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, return_when=asyncio.FIRST_COMPLETED)
