"""Numbered writes of a client, in their order.

Most go directly to the lane; a write that first needs a read or code of the project delays the ones after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias

import orjson

from session_mgmt.actions import access, checking
from session_mgmt.actions.clients import Attached, Fence
from session_mgmt.actions.group_commit import Decision, Group, Work, Write
from session_mgmt.actions.outcome import Outcome, refuse_write
from session_mgmt.actions.sessions.attachments import Attachment
from session_mgmt.actions.state import bodies, prepare, updates
from session_mgmt.actions.state.updates import Prepare, Terms
from session_mgmt.actions.timeline import messages
from session_mgmt.actions.topics.ledger import Publication, hash_publication
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.consumers.following import Following
from session_mgmt.consumers.inbox import Inbox
from session_mgmt.consumers.moments import Moment
from session_mgmt.consumers.outlet import Outlet
from session_mgmt.exceptions import Busy, Replaced, ScopeMissing, SeqGap, SessionMgmtError, Unavailable
from session_mgmt.models import clock
from session_mgmt.protocol import scopes
from session_mgmt.protocol.codes import Close
from session_mgmt.protocol.frames import Publish, Send, Update
from session_mgmt.protocol.logs import STATE, TOPIC
from session_mgmt.protocol.scopes import Restriction
from session_mgmt.writes import verbs
from session_mgmt.writes.attempts import Attempts, Way, choose_way

logger = logging.getLogger(__name__)

# Most writes of a connection that wait for one being prepared; the client sends others again.
MOST_WAITING = 1000
# A document that changes this fast is soon free again.
RETRY_SECONDS = 0.2
# Seconds for which a right to publish is kept; if it is taken away, it ends after that time.
PERMISSION_SECONDS = 5.0
# Bytes of a text to digest. The rest of a text above every limit is not worth the time.
_DIGESTED = 64 * 1024


class Refused:
    """Numbered frame that broke a rule before it could be read; it still uses up its number."""

    __slots__ = ("digest", "error", "seq")

    def __init__(self, seq: int, error: SessionMgmtError, digest: bytes) -> None:
        self.seq, self.error, self.digest = seq, error, digest


Numbered: TypeAlias = Update | Publish | Send | Refused


class Writer(Protocol):
    """Interface of the connection that writes."""

    attachment: Attachment
    outlet: Outlet
    inbox: Inbox

    @property
    def followings(self) -> Mapping[str, Following]:
        """Logs that the client follows, by name."""

    def stop(self, code: Close) -> None:
        """Say goodbye and close."""

    def stop_displaced(self) -> None:
        """Close, because this client may no longer write here."""

    def note_refusal(self, error: SessionMgmtError, call: str, log: str | None = None) -> None:
        """Record a right that the client lacks."""


class Writes:
    """Writes of one connection; ``take_group`` is called in the lane's thread with the results of a transaction."""

    def __init__(self, connection: Writer, take_group: Callable[[Group, list[tuple[Any, Decision]]], None]) -> None:
        self._connection, self._take_group = connection, take_group
        self._documents: dict[str, int] = {}
        # By topic, the time until which the client may publish without another question.
        self._publishable: dict[str, float] = {}
        # A list, because it is short and mostly empty, and a deque would cost each connection 760 bytes.
        self._waiting: list[Numbered] = []
        self._task: asyncio.Task[None] | None = None
        self._unprepared: tuple[Update, Attempts] | None = None
        # Writes that came after the one being prepared and that the lane sent back, in their order.
        self._returned: list[Numbered] = []
        # Number of writes in the lane. An update may be prepared only when it is 0, because those writes may change its
        # document.
        self._in_flight = 0
        self._became_idle = Moment()

    def add_document(self, name: str, row: int) -> None:
        """Remember the row of a document, so that updates need no query."""
        self._documents[name] = row

    def may_publish(self, topic: str) -> bool:
        """Return True if the application has allowed it a moment ago."""
        return self._publishable.get(topic, 0.0) > asyncio.get_running_loop().time()

    def note_publishable(self, topic: str) -> None:
        """Remember for a moment that the client may publish to a topic."""
        self._publishable[topic] = asyncio.get_running_loop().time() + PERMISSION_SECONDS

    def forget_publishable(self) -> None:
        """Ask the application again before the next publication, because rights have changed."""
        self._publishable.clear()

    def take(self, frame: Numbered) -> None:
        """Write after all earlier writes."""
        # Counted until it is answered, with any result.
        self._connection.inbox.add_frame()
        # While a task runs, even a direct write must wait, because it must not overtake waiting ones.
        if self._task is None and self._is_direct(frame):
            self._submit(frame, self._build_work(frame))
            return
        if len(self._waiting) >= MOST_WAITING:
            self._answer(frame, refuse_write(Busy(retry_after=1.0)))
            return
        self._waiting.append(frame)
        self._start_task()

    def _start_task(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work_off_queue(), name="writes")

    def stop(self) -> None:
        """End the running preparation."""
        if self._task is not None:
            self._task.cancel()

    # -- straight to the lane --------------------------------------------------------------------------------------

    def _is_direct(self, frame: Numbered) -> bool:
        if find_unscoped(self._connection.attachment.restriction, frame) is not None:
            return True
        if isinstance(frame, Update):
            return frame.doc in self._documents and prepare.is_blind(frame.kind) and frame.replaced is None
        if isinstance(frame, Publish):
            return self.may_publish(frame.topic)
        return isinstance(frame, Refused)

    def _build_work(self, frame: Numbered) -> Work:
        unscoped = find_unscoped(self._connection.attachment.restriction, frame)
        if unscoped is not None:
            self._note_refusal(frame, unscoped)
            # The number is used up, with the digest of the write, like by any other refusal.
            return unscoped
        try:
            if isinstance(frame, Update):
                return prepare.prepare_blind(
                    self._documents[frame.doc], frame.kind, frame.change, self._build_terms(frame)
                )
            if isinstance(frame, Publish):
                return self._build_publication(frame)
        except SessionMgmtError as error:
            return error
        # Use up its number, so that the client can continue with the next one.
        assert isinstance(frame, Refused)
        return frame.error

    def _build_terms(self, frame: Update) -> Terms:
        attachment = self._connection.attachment
        return Terms(
            base=frame.base,
            epoch=frame.epoch,
            tag=frame.tag,
            atomic=frame.atomic,
            strategy=frame.strategy,
            replaced=frame.replaced,
            if_absent=frame.if_absent,
            client=attachment.client,
            writer=attachment.client_id,
        )

    def _build_publication(self, frame: Publish) -> Publication:
        return Publication(frame.topic, verbs.encode_data(frame.data), frame.key)

    def _build_fence(self, frame: Numbered, work: Work | None = None) -> Fence:
        # Include the generation: if a newer connection has taken over, the lane refuses the write (promise L4).
        attachment = self._connection.attachment
        assert frame.seq is not None
        digest = _build_digest(frame, work)
        return Fence(attachment.client, attachment.client_id, attachment.generation, frame.seq, digest)

    def _submit(self, frame: Numbered, work: Work) -> None:
        self._in_flight += 1
        write, answer = Write(work, self._build_fence(frame, work)), partial(self._take_decision, frame)
        # A full queue is reported at once, and leaves the number free.
        if not bridge().submit(write, answer, self._take_group):
            answer(refuse_write(Busy(retry_after=1.0)))

    def _take_decision(self, frame: Numbered, decision: Decision) -> None:
        self._in_flight -= 1
        if self._in_flight == 0:
            self._became_idle.come()
        if isinstance(decision, Prepare) and isinstance(frame, Update):
            attempts = Attempts(Way.BLIND, retry_after=RETRY_SECONDS)
            attempts.record_decision(decision)
            self._unprepared = frame, attempts
            self._start_task()
        elif isinstance(decision, Outcome):
            # The client need not send the writes after the one being prepared again.
            behind = self._unprepared is not None and isinstance(decision.error, SeqGap)
            self._returned.append(frame) if behind else self._answer(frame, decision)

    def _answer(self, frame: Numbered, outcome: Outcome) -> None:
        self._connection.inbox.finish_frame()
        if isinstance(outcome.error, Replaced):
            # No receipt: the number is free, or was decided earlier; only the newer connection can know.
            self._connection.stop_displaced()
            return
        text = f'{{"type":"receipt","seq":{frame.seq},{outcome.body[1:].decode()}'
        following = self._connection.followings.get(STATE + frame.doc) if isinstance(frame, Update) else None
        position = outcome.position
        if following is not None and position is not None and position.epoch == following.feed.epoch:
            # First the entry, then the receipt, because a client that gets a receipt must find its write in the log.
            following.park_receipt(position.offset, text)
        else:
            self._connection.outlet.push(text)

    # -- one at a time ---------------------------------------------------------------------------------------------

    async def _work_off_queue(self) -> None:
        try:
            while self._waiting or self._unprepared is not None:
                if self._unprepared is not None:
                    await self._finish_unprepared()
                    continue
                frame = self._waiting.pop(0)
                if self._is_direct(frame):
                    self._submit(frame, self._build_work(frame))
                    continue
                # Wait, because writes in the lane may still come back, and then precede this one.
                await self._wait_until_idle()
                # One of them came back, and it is older.
                if self._unprepared is not None:
                    self._waiting.insert(0, frame)
                    continue
                await self._carry_out(frame)
        except Exception:
            logger.exception("The writes of a connection failed")
            self._connection.stop(Close.INTERNAL_ERROR)
        finally:
            self._task = None

    async def _wait_until_idle(self) -> None:
        """Wait until the lane has decided all writes that it has."""
        if self._in_flight:
            await self._became_idle.wait()

    async def _finish_unprepared(self) -> None:
        """Prepare the update that the lane gave back, then submit the writes after it."""
        assert self._unprepared is not None
        await self._wait_until_idle()
        try:
            await self._prepare_and_write(*self._unprepared)
        except SessionMgmtError as error:
            self._answer(self._unprepared[0], refuse_write(error))
        finally:
            # To the front, in their order, because they are older than all waiting ones.
            self._waiting[:0] = self._returned
            self._returned.clear()
            self._unprepared = None

    async def _carry_out(self, frame: Numbered) -> None:
        try:
            if isinstance(frame, Update):
                await self._find_document(frame)
            elif isinstance(frame, Publish):
                await self._publish_if_allowed(frame)
            elif isinstance(frame, Send):
                await self._send(frame)
        except SessionMgmtError as error:
            self._note_refusal(frame, error)
            # A temporary refusal leaves the number free, so the lane need not know it.
            if error.temporary:
                self._answer(frame, refuse_write(error))
            else:
                self._submit(frame, error)

    def _note_refusal(self, frame: Numbered, error: SessionMgmtError) -> None:
        log = TOPIC + frame.topic if isinstance(frame, Publish) else None
        self._connection.note_refusal(error, type(frame).__name__.lower(), log)

    async def _find_document(self, frame: Update) -> None:
        if frame.doc not in self._documents:
            session = self._connection.attachment.session.pk
            # Looked up once per connection; every later update uses the key of the row, without a query.
            attached = self._connection.attachment.claim
            self._documents[frame.doc] = await bridge().call(_ensure_document, session, frame, attached)
        attempts = Attempts(choose_way(frame.kind, frame.replaced), retry_after=RETRY_SECONDS)
        if attempts.way is Way.BLIND:
            self._submit(frame, self._build_work(frame))
        else:
            await self._prepare_and_write(frame, attempts)

    async def _prepare_and_write(self, frame: Update, attempts: Attempts) -> None:
        """Compute the change from the document; repeat it if the document changes meanwhile."""
        while attempts.outcome is None:
            work = await self._prepare(frame, attempts.way)
            attempts.record_decision(await bridge().awrite(Write(work, self._build_fence(frame))))
        self._answer(frame, attempts.outcome)

    async def _prepare(self, frame: Update, way: Way) -> Work:
        document, terms = self._documents[frame.doc], self._build_terms(frame)
        session = self._connection.attachment.session.pk
        # Workers have turns by session, so large documents of one session do not delay other sessions.
        prepare_update = partial(verbs.prepare_update, run=bridge().worker_for(session))
        try:
            return await bridge().run_patiently(session, prepare_update, way, document, frame.kind, frame.change, terms)
        except SessionMgmtError as error:
            if error.temporary:
                raise
            return error

    async def _publish_if_allowed(self, frame: Publish) -> None:
        try:
            session = self._connection.attachment.session
            await bridge().run_user_code(session.pk, access.check_publish, session.as_model(), frame.topic)
        except SessionMgmtError:
            raise
        except Exception as error:
            # Not an error of the application's function, which would deny the topic; so it must not be a final answer.
            logger.exception("The rights of a topic could not be asked for")
            raise Unavailable(retry_after=1.0) from error
        # From here on publications of the topic go directly to the lane.
        self.note_publishable(frame.topic)
        self._submit(frame, self._build_work(frame))

    async def _send(self, frame: Send) -> None:
        attachment = self._connection.attachment
        data = checking.check_value(frame.data)
        try:
            claim, session = messages.Claim(self._build_fence(frame), attachment.auth_version), attachment.session
            receive = partial(messages.receive_message, gate=bridge().gate)
            outcome = await bridge().run_user_code(session.pk, receive, session.as_model(), claim, data)
        except SessionMgmtError:
            raise
        except Exception as error:
            # Nothing was stored, so the client may send it again with the same number.
            raise Unavailable(retry_after=1.0) from error
        self._answer(frame, outcome)


_NEEDS = {kind: scopes.FRAMES.get(kind.__name__.lower()) for kind in (Update, Publish, Send)}


def find_unscoped(restriction: Restriction | None, frame: Numbered) -> ScopeMissing | None:
    """Return the error for a write if the token lacks the scope, or None; hardly any token lacks one."""
    if restriction is None or isinstance(frame, Refused):
        return None
    need = _NEEDS[type(frame)]
    return scopes.explain_missing(restriction, need, getattr(frame, need.part) if need and need.part else None)


def _ensure_document(session: Any, frame: Update, attached: Attached) -> int:
    using = settings().database
    found = bodies.find_document(using, session, frame.doc)
    if found is not None:
        return found
    # An invalid first write must not leave an empty document.
    prepare.check_first_change(frame.kind, frame.change)
    most, at = settings().max_documents, clock.read(using)
    return bodies.ensure_document(using, session, frame.doc, most=most, at=at, attached=attached)


def _build_digest(frame: Numbered, work: Work | None = None) -> bytes:
    if isinstance(frame, Update):
        asked = frame.doc, frame.kind, frame.change, frame.strategy
        # Operations from strict JSON are already in normal form, so their encoded form is that of the request.
        body = work.ops if frame.kind == "ops" and isinstance(work, updates.Update) else None
        return updates.digest_request(*asked, if_absent=frame.if_absent, atomic=frame.atomic, body=body)
    if isinstance(frame, Publish):
        # The body is already encoded.
        body = work.data if isinstance(work, Publication) else orjson.dumps(frame.data)
        return hash_publication(frame.topic, body, frame.key)
    if isinstance(frame, Send):
        return messages.hash_message(frame.data)
    return frame.digest


def build_text_digest(text: str) -> bytes:
    """Build the digest by which a repetition of an unreadable frame is recognised."""
    return hashlib.sha256(f"refused\0{len(text)}\0{text[:_DIGESTED]}".encode(errors="replace")).digest()
