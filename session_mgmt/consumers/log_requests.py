"""Requests of a connected client about one log: to follow or leave it, to read its history or value, to become a
member.

Each is answered in the background, in the pace of its session; a refusal is recorded for the people of the site.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

from session_mgmt.actions.sessions import following
from session_mgmt.actions.topics import judging, subscriptions
from session_mgmt.actions.topics.history import PastPage
from session_mgmt.bridge import bridge
from session_mgmt.consumers import verdicts
from session_mgmt.consumers.connection import Connection
from session_mgmt.consumers.following import take_replay_turn
from session_mgmt.consumers.grants import KEPT_SECONDS
from session_mgmt.consumers.judging import find_crowd
from session_mgmt.exceptions import SessionMgmtError, TopicDenied
from session_mgmt.protocol.frames import Enter, History, Leave, Members, Subscribe, Unsubscribe, Value
from session_mgmt.protocol.logs import PRESENCE, TOPIC

R = TypeVar("R")
Reply: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Connection, Any], None]
# Returns the reply, or None if the client already has its answer.
Answering: TypeAlias = Callable[[Connection, Any], Coroutine[Any, Any, Reply | None]]


def answer_in_slot(answer: Answering) -> Handler:
    """Make the handler of a request from the function that answers it; an error that it raises is the refusal."""

    def take(connection: Connection, frame: Any) -> None:
        work = partial(_send_answer, connection, frame, answer)
        connection.slot.take(partial(connection.side_work.start_request, work))

    return take


async def _send_answer(connection: Connection, frame: Any, answer: Answering) -> None:
    try:
        reply = await answer(connection, frame)
    except SessionMgmtError as error:
        connection.refuse_request(error, type(frame).__name__.lower(), frame.log, id=frame.id)
        return
    if reply is not None:
        connection.push({"type": "reply", "id": frame.id, **reply})


# -- to follow and to leave --------------------------------------------------------------------------------------------


async def _follow_log(connection: Connection, frame: Subscribe) -> Reply | None:
    attachment, hub = connection.attachment, connection.hub
    session = attachment.session
    # Without turns, requests to follow and to leave a log could overtake each other.
    async with connection.turns.take(frame.log):
        followed = connection.followings.get(frame.log)
        if followed is not None:
            # The last request counts. It gets the position in the followed log, and nothing is sent again.
            followed.change_filter(subscriptions.read_wishes(frame.log, frame.slow, frame.since, frame.filter))
            connection.read_slowly(frame.log, frame.slow)
            verdict = verdicts.build_verdict_at(followed.log, followed.place)
            return {"verdict": verdict, **verdicts.describe_reading(frame)}
        _require_no_crowd(connection, frame.log)
        version = hub.serving.find_access_version(session.pk)
        subscribe = partial(following.subscribe, gate=bridge().gate)
        if frame.since is not None:
            await bridge().drain_waiting()
        asked = session.as_model(), frame.log, frame.position, attachment.claim, attachment.restriction
        log = await _run_in_turn(connection, frame.log, subscribe, *asked, frame.slow, frame.since, frame.filter)
        # Others may have come meanwhile. The session stays subscribed, and is served when it connects again.
        _require_no_crowd(connection, frame.log)
        connection.answer_subscribe(frame, log)
        if hub.serving.find_access_version(session.pk) != version:
            # The application may have answered by earlier rights.
            hub.rechecks.ask_again(session.pk)
    return None


def _require_no_crowd(connection: Connection, log: str) -> None:
    crowd = find_crowd(connection.hub.serving, log)
    if crowd is not None:
        raise crowd


async def _leave_log(connection: Connection, frame: Unsubscribe) -> Reply:
    async with connection.turns.take(frame.log):
        connection.followings.leave(frame.log)
        if frame.log.startswith(TOPIC):
            session, topic = connection.attachment.session.pk, frame.log.removeprefix(TOPIC)
            remove = partial(subscriptions.remove_subscription, gate=bridge().gate)
            await _run_in_turn(connection, frame.log, remove, session, topic, connection.attachment.claim)
        return {}


async def _run_in_turn(connection: Connection, log: str, verb: Callable[..., R], *args: Any) -> R:
    """Run a function that follows or leaves a log, in the order of the session's requests.

    For a topic the application is asked. It may hang, so these functions have threads that connecting clients do not
    need.
    """
    if log.startswith(TOPIC):
        return await _ask_application(connection, verb, *args)
    async with connection.hub.serving.following_turns.take():
        return await bridge().take_turn(connection.attachment.session.pk, verb, *args)


async def _ask_application(connection: Connection, verb: Callable[..., R], *args: Any) -> R:
    return await bridge().run_user_code((TOPIC, connection.attachment.session.pk), verb, *args)


# -- to read -----------------------------------------------------------------------------------------------------------


async def _read_past(connection: Connection, frame: History) -> Reply:
    connection.require_room()
    page = None
    while page is None:
        page = await _read_page(connection, frame)
    return page.as_json()


async def _read_page(connection: Connection, frame: History) -> PastPage | None:
    """Return a page of the history; ``None`` if the permission is too old when the client has read enough for it."""
    attachment, serving, clock = connection.attachment, connection.hub.serving, asyncio.get_running_loop().time
    session = attachment.session
    version, asked = serving.find_access_version(session.pk), (session.as_model(), frame.log, attachment.restriction)
    topic = await _ask_application(connection, subscriptions.require_granted, *asked)
    until = clock() + KEPT_SECONDS
    place = topic, frame.before, frame.limit, attachment.claim
    page = None
    if judging.find_judged(frame.log) is not None:
        read = following.read_allowed_past
        page = await bridge().run_user_code(("entries", session.pk), read, session.as_model(), *place)
    async with _take_page_turn(connection):
        # A client that does not read holds up this turn, and the page would hold what was published meanwhile.
        if page is None and clock() <= until and serving.find_access_version(session.pk) == version:
            page = await bridge().read(following.read_past, session.pk, *place)
    return page


async def _read_value(connection: Connection, frame: Value) -> Reply:
    attachment = connection.attachment
    connection.require_room()
    asked = attachment.session.as_model(), frame.log, attachment.restriction, bridge().drain, attachment.claim
    value = await _ask_application(connection, following.read_value, *asked)
    async with _take_page_turn(connection):
        return value.as_json()


async def _read_members(connection: Connection, frame: Members) -> Reply:
    attachment = connection.attachment
    session = attachment.session
    connection.require_room()
    asked = session.as_model(), frame.log, attachment.restriction
    topic = await _ask_application(connection, subscriptions.require_visible, *asked)
    found = await bridge().read(following.read_members, session.pk, topic, attachment.claim)
    return found.as_json()


@asynccontextmanager
async def _take_page_turn(connection: Connection) -> AsyncIterator[None]:
    """Wait for the turn of a large answer: one at a time, as if it were replayed."""
    async with take_replay_turn(connection):
        connection.require_room()
        yield


# -- to be there -------------------------------------------------------------------------------------------------------


async def _enter_topic(connection: Connection, frame: Enter) -> Reply:
    attachment = connection.attachment
    # Without turns, requests to enter and to leave could overtake each other.
    async with connection.turns.take(frame.log):
        asked = attachment.session.as_model(), frame.log, frame.data, attachment.claim, attachment.restriction
        try:
            move = await _ask_application(connection, subscriptions.prepare_entry, *asked)
        except TopicDenied:
            # The client may have entered when it was allowed. Nobody can enter the log of a presence.
            if not frame.log.startswith(TOPIC + PRESENCE):
                connection.hub.presences.leave_denied(frame.log, attachment.claim)
            raise
        await connection.hub.presences.move(move)
        return {"member": move.member}


async def _leave_topic(connection: Connection, frame: Leave) -> Reply:
    async with connection.turns.take(frame.log):
        await connection.hub.presences.move(subscriptions.prepare_leave(frame.log, connection.attachment.claim))
        return {}


def _take_enter(connection: Connection, frame: Enter) -> None:
    connection.mark_active()
    _ENTER(connection, frame)


_ENTER = answer_in_slot(_enter_topic)

HANDLERS: dict[type, Handler] = {
    Subscribe: answer_in_slot(_follow_log),
    Unsubscribe: answer_in_slot(_leave_log),
    History: answer_in_slot(_read_past),
    Value: answer_in_slot(_read_value),
    Members: answer_in_slot(_read_members),
    Enter: _take_enter,
    Leave: answer_in_slot(_leave_topic),
}
