"""Logs that get shorter: within their limits, whoever is killed where, and what is left can be rebuilt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connections
from django.db.models.functions import Now
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from session_mgmt.actions import cleanup
from session_mgmt.actions.state import bodies, compaction, lookup, snapshots
from session_mgmt.bridge import bridge
from session_mgmt.documents import rebuild, whole
from session_mgmt.exceptions import NotFound
from session_mgmt.models import AuditEntry, StateDocument, StateRevision, StateSnapshot, clock
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.recovery import Mode, Reason, decide
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk, compact_due

FEW = {"MAX_REVISIONS": 8, "SNAPSHOT_EVERY": 4}


def fill(desk: Desk, count: int) -> list[Any]:
    """So many versions; the list holds each, the first one being version 0."""
    seen: list[Any] = [state.get(desk.session)]
    for number in range(count):
        desk.put(("set", f"/k{number % 5}", "x" * number), ("inc", "/n", 1))
        seen.append(state.get(desk.session))
    return seen


def assert_whole(desk: Desk, seen: list[Any]) -> None:
    """Every version from where the log begins can be rebuilt, and no earlier one is promised."""
    row = desk.row
    assert row.version == len(seen) - 1
    for version in range(row.oldest_revision - 1, row.version + 1):
        assert bodies.load_body_at("default", row.pk, version).data == seen[version]
    kept = list(StateRevision.objects.filter(document=row).order_by("version").values_list("version", flat=True))
    assert kept == list(range(row.oldest_revision, row.version + 1))
    assert row.snapshot_version >= row.oldest_revision - 1


def test_a_log_is_cut_to_its_number(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    seen = fill(desk, 30)
    gone = state.compress(desk.session)
    assert gone == 30 - 6
    assert desk.row.oldest_revision == 25
    assert_whole(desk, seen)
    with pytest.raises(NotFound):
        state.read_at(desk.session, 23)


def test_a_log_is_cut_to_its_bytes(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_LOG_BYTES": 1000}
    seen = fill(desk, 40)
    assert desk.row.log_bytes > 1000
    assert state.compress(desk.session) > 0
    assert desk.row.log_bytes <= 1000
    assert desk.row.log_bytes == sum(len(bytes(row.ops)) for row in StateRevision.objects.all())
    assert_whole(desk, seen)


def test_a_log_is_cut_to_its_age(desk: Desk, settings: Any) -> None:
    seen = fill(desk, 10)
    StateRevision.objects.filter(version__lte=6).update(at=Now() - timedelta(hours=40))
    assert compact_due(100) == 6
    assert desk.row.oldest_revision == 7
    assert_whole(desk, seen)


def test_a_log_that_is_hardly_too_old_waits(desk: Desk) -> None:
    fill(desk, 10)
    StateRevision.objects.filter(version__lte=6).update(at=Now() - timedelta(hours=25))
    assert compact_due(100) == 0


def test_a_log_that_is_all_old_goes_and_the_document_stays(desk: Desk) -> None:
    seen = fill(desk, 10)
    StateRevision.objects.update(at=Now() - timedelta(hours=40))
    assert compact_due(100) == 10
    assert desk.row.oldest_revision == 11
    assert_whole(desk, seen)
    desk.put(("set", "/late", 1))
    assert_whole(desk, [*seen, {**seen[-1], "late": 1}])


def test_running_twice_changes_nothing(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    seen = fill(desk, 30)
    state.compress(desk.session)
    before = list(StateSnapshot.objects.order_by("pk").values())
    assert state.compress(desk.session) == 0
    assert list(StateSnapshot.objects.order_by("pk").values()) == before
    assert_whole(desk, seen)


@pytest.mark.parametrize("other", ["drops the snapshot", "cuts the log", "restores a backup"])
def test_what_another_process_does_before_the_lock_costs_no_version(
    other: str, desk: Desk, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_MGMT = FEW
    seen = fill(desk, 30)
    real = compaction._Group._keep_anchors

    def keep_and_be_overtaken(group: Any, long: Any) -> Any:
        firsts = real(group, long)
        monkeypatch.setattr(compaction._Group, "_keep_anchors", real)
        if other == "drops the snapshot":
            StateSnapshot.objects.filter(version=firsts[desk.row.pk] - 1).delete()
        elif other == "cuts the log":
            assert state.compress(desk.session) == 24
        else:
            for table in (StateRevision, StateSnapshot):
                table._default_manager.filter(version__gt=20).delete()
            StateDocument.objects.update(version=20, snapshot_version=20)
        return firsts

    monkeypatch.setattr(compaction._Group, "_keep_anchors", keep_and_be_overtaken)
    assert state.compress(desk.session) == 0
    if other == "restores a backup":
        assert (desk.row.oldest_revision, StateRevision.objects.count()) == (1, 20)
    else:
        assert desk.row.oldest_revision == (1 if other == "drops the snapshot" else 25)
        assert_whole(desk, seen)


def test_snapshots_do_not_pile_up(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    for _ in range(8):
        fill(desk, 8)
        state.compress(desk.session)
    assert StateSnapshot.objects.count() <= 3


def test_the_sweep_compacts_what_is_due(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    seen = fill(desk, 30)
    assert cleanup.run_cleanup().revisions == 24
    assert_whole(desk, seen)


def test_the_sweep_leaves_a_large_document_whose_readers_hardly_replay(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = {"SNAPSHOT_EVERY": 4, "MAX_LOG_BYTES": 20_000, "MAX_REVISIONS": 100}
    small, large = desk, Desk()
    for one, data in ((small, {}), (large, LARGE)):
        state.replace(one.session, data)
        fill(one, 5)
        StateRevision.objects.filter(document=one.row).update(at=Now() - timedelta(hours=40))
        compact_due(100)
        fill(one, 20)
        compact_due(100)
    assert (small.row.version, small.row.snapshot_version) == (26, 26)
    assert (large.row.version, large.row.snapshot_version) == (26, 6)
    fill(large, 31)
    compact_due(100)
    assert large.row.snapshot_version == 57


def test_one_document_that_cannot_be_read_does_not_hold_up_the_others(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    other = Desk()
    seen = [fill(other, 30), fill(desk, 30)][0]
    state.compress(desk.session)
    fill(desk, 30)
    StateSnapshot.objects.filter(document=desk.row).update(body=b"damaged")
    assert compact_due(1) == 24
    assert_whole(other, seen)
    assert AuditEntry.objects.get().action == "state_unreadable"


def test_killed_at_any_statement_it_costs_only_space(desk: Desk, settings: Any, kill_at: Any) -> None:
    settings.SESSION_MGMT = FEW
    seen = fill(desk, 30)
    survived = 0
    while desk.row.oldest_revision == 1:
        with kill_at(survived):
            compaction.compact_document(desk.row.pk)
        assert_whole(desk, seen)
        survived += 1
    assert survived > 5
    compaction.compact_document(desk.row.pk)
    assert_whole(desk, seen)
    assert StateSnapshot.objects.count() <= 3


def test_who_stands_where_the_log_begins_gets_entries_and_who_is_older_a_snapshot(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    fill(desk, 30)
    positions = {version: bodies.load_body_at("default", desk.row.pk, version).position for version in (23, 24)}
    state.compress(desk.session)
    for version, mode, reason in ((24, Mode.ENTRIES, Reason.MISSED), (23, Mode.LOST, Reason.TRIMMED)):
        place = (desk.session.pk, "main", version)
        seen = bodies.load_windows(Statements(connections["default"]), [place])[place]
        verdict = decide(positions[version], seen.window)
        assert (verdict.mode, verdict.reason) == (mode, reason)
    told = lookup.sync_document(desk.session.pk, "main", positions[24].as_json())
    assert [told["mode"], told["from"], told["to"]] == ["entries", 24, 30]
    assert lookup.sync_document(desk.session.pk, "main", positions[23].as_json())["reason"] == "trimmed"


def test_a_lie_about_where_the_log_begins_is_noticed(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = FEW
    fill(desk, 30)
    state.compress(desk.session)
    told = lookup.sync_document(desk.session.pk, "main", [desk.row.epoch, 24, "0" * 16])
    assert (told["mode"], told["reason"]) == ("snapshot", "history_lost")


def test_a_large_document_is_packed_by_whoever_runs_what_is_heavy(desk: Desk) -> None:
    state.replace(desk.session, {"large": ["x" * 1000] * 300})
    desk.put(("set", "/small", 1))
    asked = []

    def run(work: Any, *args: Any) -> Any:
        asked.append(work.__name__)
        return work(*args)

    _, _, raw = bodies.load_raw("default", desk.row.pk, run=run)
    assert orjson.loads(raw) == state.get(desk.session)
    compaction.compact_document(desk.row.pk, run=run)
    assert asked == ["build_raw", "pack_parts"]
    bodies.load_raw("default", desk.row.pk, run=run)
    assert asked == ["build_raw", "pack_parts"]


LARGE = {"large": ["x" * 1000] * 300}


@pytest.mark.sqlite
def test_the_larger_a_document_the_more_revisions_lie_between_two_snapshots(desk: Desk, settings: Any) -> None:
    small, large = desk, Desk()
    state.replace(small.session, {})
    state.replace(large.session, LARGE)
    state.compress(large.session)
    taken = {}
    for one in (small, large):
        before = one.row.snapshot_version
        for _ in range(330):
            one.put(("inc", "/n", 1))
            compaction.compact_lagging(one.row.pk)
        taken[one] = (one.row.snapshot_version - before, StateSnapshot.objects.filter(document=one.row).count())
    assert taken[small][0] == 64 * 5
    # A quarter of 300 KB, at 200 bytes for a revision and 16 for its operations.
    assert 345 < 300_000 / 4 / 216 < 350
    assert taken[large] == (0, 1)


def test_a_few_revisions_that_are_large_are_due_for_a_snapshot_too(desk: Desk) -> None:
    state.replace(desk.session, LARGE)
    state.compress(desk.session)
    for number in range(64):
        assert desk.row.snapshot_version == 1
        desk.put(("set", "/more", "y" * 2000 + str(number)))
        compaction.compact_lagging(desk.row.pk)
    assert desk.row.snapshot_version == 65


def test_a_snapshot_that_was_asked_for_twice_is_taken_once(desk: Desk) -> None:
    for _ in range(64):
        desk.put(("inc", "/n", 1))
    for _ in range(2):
        compaction.compact_lagging(desk.row.pk)
        desk.put(("inc", "/n", 1))
    assert desk.row.snapshot_version == 64


def test_the_log_of_a_large_document_is_cut_where_a_snapshot_stands(desk: Desk, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_REVISIONS": 20, "SNAPSHOT_EVERY": 2}
    state.replace(desk.session, LARGE)
    state.compress(desk.session)
    seen = [{}, LARGE]
    asked: list[str] = []

    def run(work: Any, *args: Any) -> Any:
        asked.append(work.__name__)
        return work(*args)

    for number in range(1, 67):
        desk.put(("inc", "/n", 1))
        seen.append({**LARGE, "n": number})
        compaction.compact_lagging(desk.row.pk, run=run)
        assert StateRevision.objects.count() <= 22
    # Every eleventh is one more than half of the limit.
    assert asked == ["pack_parts"] * 6
    assert_whole(desk, seen)


def test_a_snapshot_does_not_make_the_size_of_a_later_version_too_small(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        desk.put(("set", "/k", "x" * 1000))
    pack = rebuild.pack_parts

    def pack_late(*args: Any) -> Any:
        verbs.replace_now(desk.session.pk, "main", whole.make_replacement({"k": "short"}))
        return pack(*args)

    monkeypatch.setattr(rebuild, "pack_parts", pack_late)
    snapshots.keep_snapshot("default", desk.row.pk, at=clock.read("default"))
    assert desk.row.size == len('{"k":"short"}')


def test_another_process_can_pack_it(desk: Desk) -> None:
    state.replace(desk.session, {"large": ["x" * 1000] * 300})
    desk.put(("set", "/small", 1))
    _, _, raw = bodies.load_raw("default", desk.row.pk, run=bridge().run_in_worker)
    assert orjson.loads(raw)["small"] == 1
    compaction.compact_document(desk.row.pk, run=bridge().run_in_worker)
    assert desk.row.snapshot_version == 2
    assert state.get(desk.session)["small"] == 1


@pytest.mark.parametrize("encrypted", [False, True])
def test_writers_and_compactions_do_not_disturb_each_other(desk: Desk, settings: Any, encrypted: bool) -> None:
    keys = {"STATE_KEYS": [("k", "a" * 43 + "=")], "ENCRYPT_STATE": True} if encrypted else {}
    settings.SESSION_MGMT = {"MAX_REVISIONS": 10, "SNAPSHOT_EVERY": 4, **keys}
    desk.put(("inc", "/n", 1))
    with ThreadPoolExecutor(4) as pool:
        written = [pool.submit(desk.put, ("inc", "/n", 1)) for _ in range(120)]
        while not all(one.done() for one in written):
            compaction.compact_document(desk.row.pk)
    assert sorted(one.result() for one in written) == list(range(2, 122))
    compaction.compact_document(desk.row.pk)
    assert_whole(desk, [{"n": number} if number else {} for number in range(122)])
    assert StateRevision.objects.count() <= 10


WRITES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(["/a", "/b", "/b/c"]), st.integers(-3, 3) | st.just([1]) | st.just({})),
    st.tuples(st.just("inc"), st.sampled_from(["/a", "/b/c"]), st.integers(1, 3)),
    st.tuples(st.just("del"), st.sampled_from(["/a", "/b"])),
    st.tuples(st.just("ins"), st.just("/b/-"), st.integers(0, 3)),
)
STEPS = st.lists(
    st.one_of(
        WRITES,
        st.tuples(st.just("restore"), st.integers(0, 100)),
        st.just(("clear",)),
        st.just(("compact",)),
        st.just(("persist",)),
    ),
    max_size=40,
)


@pytest.mark.parametrize("encrypted", [False, True])
@hypothesis(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_any_retained_version_can_be_rebuilt(
    transactional_db: None, settings: Any, encrypted: bool, steps: list[Any]
) -> None:
    keys = {"STATE_KEYS": [("k", "a" * 43 + "=")], "ENCRYPT_STATE": True} if encrypted else {}
    settings.SESSION_MGMT = {"MAX_REVISIONS": 6, "SNAPSHOT_EVERY": 3, **keys}
    desk = Desk()
    seen = [{}]
    labels: dict[str, Any] = {}
    desk.put(("set", "/start", 1))
    seen.append({"start": 1})
    for step in steps:
        match step:
            case ("restore", number):
                oldest = desk.row.oldest_revision - 1
                state.restore(desk.session, oldest + number % (desk.row.version - oldest + 1))
            case ("clear",):
                state.clear(desk.session)
            case ("compact",):
                state.compress(desk.session)
                continue
            case ("persist",):
                if len(labels) < 20:
                    state.persist(desk.session, f"l{desk.row.version}")
                    labels[f"l{desk.row.version}"] = seen[-1]
                continue
            case op:
                if desk.put(op) == len(seen) - 1:
                    continue
        seen.append(state.get(desk.session))
    assert_whole(desk, seen)
    for label, data in labels.items():
        assert state.read_at(desk.session, label) == data
    assert clock.read("default") >= desk.row.last_modified
