"""No write is lost or doubled by a kill before or after a COMMIT of the app's own transactions; a point that is new in
the code is swept, or is named here.

By hand: ``python -m tests.faults --points --transport any``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions import cleanup
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.state import bodies
from session_mgmt.models import (
    Attendance,
    Client,
    ClientSession,
    Connection,
    Member,
    SessionActivity,
    SessionEvent,
    StateDocument,
    Stream,
    clock,
)
from session_mgmt.protocol.frames import Connect
from session_mgmt.protocol.logs import PRESENCE
from session_mgmt.registry import Presence, registry, topic
from session_mgmt.writes import verbs
from tests.attaching import attach_client
from tests.faults.check import VALID
from tests.faults.points import list_points, watch_points
from tests.faults.run import Options, execute, report
from tests.faults.sweep import POINTS
from tests.settings import DATABASE

SWEEP = Options(
    database=DATABASE,
    clients=5,
    kills=0,
    transport="any",
    points=POINTS,
    pipeline=2,
    guests=2,
    listers=0,
    calm=0.1,
    pause=0.3,
)

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]


def test_no_write_is_lost_or_doubled_by_kills_before_and_after_commits(database_url: str) -> None:
    outcome = execute(SWEEP, database_url)
    print(report(SWEEP, outcome))
    assert outcome.verdict.code == VALID, report(SWEEP, outcome)


# Where the cleanup commits.
CLEANUP = {
    "sessions.closing.close_dead",
    "sessions.deletion.delete_sessions",
    "sessions.expiry.expire_due",
    "sessions.leaving.remove_gone",
    "state.compaction._Group._cut_logs",
    "timeline.retention.trim_timelines",
    "topics.retention._delete_streams",
    "topics.retention.trim_streams",
}

# One transaction for one call of a person, of the project or of a command, with nothing after it that must not be
# missing: who hears no answer looks, or calls again.
SINGLE = {
    "keys.rotation._rotate_batch.<locals>.rotate_rows",
    "keys.rotation._try_document",
    "privacy.erasure._Erasure._erase_some_sessions",
    "privacy.erasure._Erasure._erase_stream",
    "sessions.device_list._end_idle_logins",
    "sessions.device_list._end_rows",
    "sessions.devices._end_group",
    "sessions.devices.end_device",
    "sessions.devices.end_user_sessions",
    "sessions.entering._enter",
    "sessions.following.follow_log",
    "sessions.following.follow_topics",
    "sessions.incidents._record_once",
    "sessions.lifecycle.create_session",
    "sessions.lifecycle.terminate_session",
    "sessions.lifecycle.update_session",
    "sessions.linking.create_linked",
    "sessions.logins._note_login",
    "sessions.logins.end_login",
    "sessions.logins.end_login_of",
    "sessions.narrowing.narrow_token",
    "sessions.recovery.recover_session",
    "sessions.refreshing._refresh",
    "sessions.standing.rebind_session",
    "sessions.standing.settle_sessions",
    "sessions.stopping.stop_session",
    "sessions.stopping.stop_sessions.<locals>.stop",
    "sessions.user_changes.raise_access_version",
    "state.bodies._insert_document",
    "state.bodies.ensure_document",
    "state.compaction._Group._keep_anchors",
    "state.history.forget_checkpoint",
    "state.history.keep_checkpoint",
    "state.lookup.sync_document",
    "state.unreadable.record_unreadable",
    "topics.retention.cut_front",
    "topics.subscriptions.remove_subscription",
    "webhooks.endpoints.add_endpoint",
    "webhooks.endpoints.delete_endpoint",
    "webhooks.endpoints.rotate_secret",
    "webhooks.endpoints.start_endpoint",
    "webhooks.endpoints.stop_endpoint",
    "webhooks.replaying._replay_page",
    "webhooks.sending._Run._claim",
    "webhooks.sending._Turn._release",
}


def test_each_point_of_the_code_is_swept_or_is_a_call_of_its_own() -> None:
    assert list_points() == {*POINTS, *CLEANUP, *SINGLE}
    assert len(list_points()) == len(POINTS) + len(CLEANUP) + len(SINGLE)


class Killed(BaseException):
    """End of a process: nothing that the code would do afterwards is done."""


class Death:
    """Kills at every point that is come to, the first time in each phase."""

    def __init__(self) -> None:
        self.died: set[tuple[str, str]] = set()

    def __call__(self, point: str, phase: str) -> None:
        if (point, phase) not in self.died:
            self.died.add((point, phase))
            raise Killed(point)


@pytest.mark.django_db(transaction=True)
def test_a_cleanup_that_is_killed_at_any_point_ends_everything_once(settings: Any) -> None:
    settings.SESSION_MGMT = {"max_revisions": 4, "cleanup_chunk": 2}
    before = list(registry.topics)
    topic("room:{number}", entries=3, presence=Presence())(lambda session, number: True)
    kept, ended, *others = [lifecycle.create_session() for _ in range(6)]
    for number in range(9):
        verbs.publish("room:1", number)
        verbs.update(kept.session.pk, "main", "ops", [["inc", "/n", 1]])
    for made in (kept, ended):
        attach_client(Connect(made.token.secret, None, 0, {"topic:room:1": None}, "test"), server="test")
    log = Stream.objects.create(topic=f"{PRESENCE}room:1", created_at=clock.read("default"))
    member = Member.objects.create(stream=log, member="ann", data=b"{}", since=log.created_at)
    Attendance.objects.create(client=Client.objects.get(session=kept.session), stream=log, member=member)
    lifecycle.terminate_session(SERVER, ended.session.pk)
    SessionActivity.objects.filter(session=kept.session.pk).update(
        expires_at=clock.read("default") + timedelta(days=99)
    )
    now, death = clock.read("default") + timedelta(days=31), Death()
    stop, runs = watch_points(death), 0
    try:
        while True:
            runs += 1
            try:
                cleanup.run_cleanup(now=now)
                break
            except Killed:
                pass
    finally:
        stop()
        registry.topics[:] = before
    assert {point for point, _ in death.died} >= CLEANUP
    # Each was met, and each ended a run of its own.
    assert runs == len(death.died) + 1
    # Promise L2, and one end for the connection that nobody served any more.
    told = SessionEvent.objects.filter(type="session_expired").values_list("session", flat=True)
    assert sorted(told) == sorted(made.session.pk for made in others)
    closed = Connection.objects.filter(client__session=kept.session.pk).values_list("closed_by", flat=True)
    assert list(closed) == ["lease"]
    assert not ClientSession.objects.filter(pk=ended.session.pk).exists()
    assert not Attendance.objects.exists() and not Member.objects.exists()
    assert bodies.load_body("default", StateDocument.objects.get().pk).data == {"n": 9}
