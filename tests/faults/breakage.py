"""Deliberately broken builds: a checker that has never failed proves nothing.

Each function takes one guarantee out of the running server. `--break NAME` starts the servers with it. One of them,
`ignore_replacement`, takes away a courtesy and must change nothing: then the fence alone stands.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

COMMIT_SECONDS = 0.05


def ack_before_commit() -> None:
    """Answer a write before the transaction that holds it has committed."""
    lane = import_module("session_mgmt.bridge.lane")
    atomic = import_module("django.db.transaction").atomic

    def execute(self: Any, batch: list[Any], *, wait: bool = False, **_: Any) -> Any:
        with self._enter_gate(), atomic(using=self._using):
            group, decisions = self._write_group(batch, wait=wait)
            pairs = list(zip(batch, decisions, strict=True))
            self._answer_writes(group, [(waiting, d) for waiting, d in pairs if not isinstance(d, lane.Locked)])
            time.sleep(COMMIT_SECONDS)
        self._move_to_slow([waiting for waiting, d in pairs if isinstance(d, lane.Locked)])
        lane.notify.ring_appended(group.appended)
        return group

    lane.Lane.write_batch = execute


def skip_fence() -> None:
    """Let every attachment of a client write, not only the newest."""
    ledger = import_module("session_mgmt.actions.clients").ClientLedger
    decide = ledger.decide

    def unfenced(self: Any, fence: Any) -> Any:
        client = self._clients.get(fence.client)
        return decide(self, fence._replace(generation=client.generation) if client else fence)

    ledger.decide = unfenced
    _prove_old_calls()
    ignore_replacement()


def _prove_old_calls() -> None:
    """Take calls over HTTP for calls of the newest attachment."""
    calls: Any = import_module("session_mgmt.actions.sessions.calls")
    judge = calls._judge_client

    def unfenced(call: Any, proof: Any, standing: Any, clients: Any, now: Any) -> Any:
        client = clients.get((standing.session.pk, call.claim.client_id))
        claim = replace(call.claim, generation=client.generation) if client else call.claim
        return judge(replace(call, claim=claim), proof, standing, clients, now)

    calls._judge_client = unfenced


def ignore_replacement() -> None:
    """Not a fault: a replaced connection is not told, as when it hangs on a server that no doorbell reaches."""
    connection = import_module("session_mgmt.consumers.connection")
    stop = connection.Connection.stop

    def deaf(self: Any, code: Any, **more: Any) -> None:
        if code != connection.Close.REPLACED:
            stop(self, code, **more)

    connection.Connection.stop = deaf


def double_drain() -> None:
    """Carry out what the outbox holds twice."""
    outbox: Any = import_module("session_mgmt.actions.outbox")
    settle, once = outbox.settle_entries, set[int]()

    def settle_the_second_time(statements: Any, done: list[int], refused: list[tuple[int, str]]) -> None:
        twice = [row for row in done if row in once]
        once.update(done)
        settle(statements, twice, refused)

    outbox.settle_entries = settle_the_second_time


def accept_any_base() -> None:
    """Take a version's number for the version, whatever the tag says."""
    import_module("session_mgmt.actions.state.past_revisions").PastRevisions.is_proved = lambda *args: True


def refuse_together() -> None:
    """Refuse all who connect together for the sake of one; whoever comes after one that was alone is with it, too."""
    resume: Any = import_module("session_mgmt.actions.sessions.resume")
    attach, alone = resume.attach_group, list[Exception]()

    def all_or_none(asks: Sequence[Any], **more: Any) -> Any:
        group = attach(asks, **more)
        found = [result for result in group.results if isinstance(result, Exception)]
        refusals = found or [*alone]
        # Who comes together is up to the machine: without this it might be nobody.
        alone[:] = found[:1] if len(found) == len(asks) else []
        return replace(group, results=refusals[:1] * len(asks)) if refusals else group

    resume.attach_group = all_or_none


def second_chain() -> None:
    """Take a refresh that is asked again for a new one: the used token then has two successors."""
    exchange = import_module("session_mgmt.actions.sessions.refreshing").Exchange

    def start_anew(self: Any, token: Any, children: Any) -> Any:
        # The tokens that were given first count on: tabs notice nothing, and the checker alone must.
        self._forget_older = lambda *args: None
        return self._rotate(token, bytes(token.nonce), self._list_family())

    exchange._answer_again = start_anew


def leave_out_of_past() -> None:
    """Leave an entry out of each page of the past."""
    history: Any = import_module("session_mgmt.actions.topics.history")
    read = history.read_page_before

    def read_with_hole(*args: Any) -> Any:
        page = read(*args)
        return replace(page, rows=[*page.rows[:1], *page.rows[2:]])

    history.read_page_before = read_with_hole


def leave_out_of_parts() -> None:
    """Leave wanted entries out of frames that stand for a range."""
    filters: Any = import_module("session_mgmt.protocol.filters")
    matches, numbers = filters.Filter.matches, itertools.count(1)
    filters.Filter.matches = lambda self, body: matches(self, body) and bool(next(numbers) % 5)


def keep_ghosts() -> None:
    """Tell of nobody who leaves."""
    telling: Any = import_module("session_mgmt.actions.topics.telling")
    build = telling._build_entry

    def build_without_leaves(statements: Any, log: Any) -> Any:
        log.left.clear()
        return build(statements, log)

    telling._build_entry = build_without_leaves


def miss_a_row() -> None:
    """Leave the last row out of each page of a list."""
    paginator: Any = import_module("session_mgmt.pagination.paginator").LiveCursorPagination
    find = paginator._find

    def find_fewer(*args: Any) -> Any:
        found = find(*args)
        return replace(found, rows=found.rows[:-1])

    paginator._find = find_fewer


def repeat_after_return() -> None:
    """Give the first entry that somebody missed twice, when they are back, on whatever transport."""
    pages: Any = import_module("session_mgmt.consumers.pages")
    build = pages.Page.build_frame

    def build_doubled(self: Any, place: Any, *, recovered: bool) -> Any:
        if b"topic:" not in self._head:
            return build(self, place, recovered=recovered)
        missed = list(self.list_entries(place))
        end = pages.END_RECOVERED if recovered else pages.END
        return pages.Shared(self._head + b",".join(missed[:1] + missed) + end)

    pages.Page.build_frame = build_doubled


def lose_deliveries() -> None:
    """Take each delivery for sent, whatever the endpoint answers."""
    sending: Any = import_module("session_mgmt.actions.webhooks.sending")
    sending._Turn._obey = lambda self, answer: False
    store = sending._Turn._store_outcome

    def store_as_sent(self: Any, delivery: Any, **more: Any) -> None:
        delivery.last_status = 204
        store(self, delivery, **more)

    sending._Turn._store_outcome = store_as_sent


def overtake_deliveries() -> None:
    """Send the newest delivery of a session first."""
    sending: Any = import_module("session_mgmt.actions.webhooks.sending")

    def find_newest(self: Any) -> Any:
        cursor = self._cursor
        rows = sending.WebhookDelivery.objects.filter(session=cursor.session_id, endpoint=cursor.endpoint_id)
        return rows.filter(state="waiting", sequence__lte=cursor.head).order_by("-sequence").first()

    sending._Turn._find_next = find_newest


def rename_deliveries() -> None:
    """Give each attempt an id of its own."""
    sending: Any = import_module("session_mgmt.actions.webhooks.sending")
    read, numbers = sending.read_message_id, itertools.count(1)
    sending.read_message_id = lambda body: f"{read(body)}.{next(numbers)}"


def forget_failed_runs() -> None:
    """Give a durable handler up when it fails."""
    handlers: Any = import_module("session_mgmt.actions.timeline.handlers")

    def give_up(self: Any, key: int, *_: Any) -> bool:
        handlers.HandlerRun.objects.filter(pk=key).delete()
        return False

    handlers._Run._note_failure = give_up


def repeat_runs() -> None:
    """Run the durable handlers of some events twice."""
    handlers: Any = import_module("session_mgmt.actions.timeline.handlers")
    call = handlers._call

    def call_twice(name: str, event: Any) -> None:
        if event.seq % 5 == 0:
            call(name, event)
        call(name, event)

    handlers._call = call_twice


def mislead_readers() -> None:
    """Do all to readers that can be done to them."""
    for mislead in (leave_out_of_past, leave_out_of_parts, keep_ghosts, miss_a_row, repeat_after_return):
        mislead()


BREAKS: dict[str, Callable[[], None]] = {
    "ack_before_commit": ack_before_commit,
    "skip_fence": skip_fence,
    "double_drain": double_drain,
    "accept_any_base": accept_any_base,
    "refuse_together": refuse_together,
    "second_chain": second_chain,
    "leave_out_of_past": leave_out_of_past,
    "leave_out_of_parts": leave_out_of_parts,
    "keep_ghosts": keep_ghosts,
    "miss_a_row": miss_a_row,
    "repeat_after_return": repeat_after_return,
    "mislead_readers": mislead_readers,
    "lose_deliveries": lose_deliveries,
    "overtake_deliveries": overtake_deliveries,
    "rename_deliveries": rename_deliveries,
    "forget_failed_runs": forget_failed_runs,
    "repeat_runs": repeat_runs,
    "ignore_replacement": ignore_replacement,
}


def break_server(name: str) -> None:
    """Take a guarantee out of this process, before it imports what serves."""
    BREAKS[name]()
