"""Updates that overlap: every strategy, what the receipt tells, and what is kept."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest
from django.db import transaction

from session_mgmt import shortcuts
from session_mgmt.actions import checking
from session_mgmt.actions.outcome import Outcome
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.state import bodies, past_revisions, snapshots
from session_mgmt.actions.state.updates import Terms
from session_mgmt.bridge import bridge
from session_mgmt.documents import replaced
from session_mgmt.documents.merge import CONFLICT
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, StateConflict, StateDocument, StateRevision
from session_mgmt.writes import verbs
from tests.actions.conftest import Desk
from tests.away import raise_away

KEY = b64encode(bytes(32)).decode()

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session() -> ClientSession:
    return lifecycle.create_session().session


def update(session: ClientSession, *ops: Any, name: str = "main", **terms: Any) -> dict[str, Any]:
    """The receipt of an update."""
    outcome = verbs.update_now(session.pk, name, "ops", list(ops), Terms(**terms))
    assert isinstance(outcome, Outcome)
    told: dict[str, Any] = orjson.loads(outcome.body)
    return told


def document(session: ClientSession, name: str = "main") -> Any:
    row = StateDocument.objects.get(session=session, name=name)
    return bodies.load_body(bridge().using, row.pk).data


def prefer_text(path: str, base: Any, server: Any, client: Any) -> Any:
    """A project's function."""
    if path == "/boom":
        raise RuntimeError("no")
    if path == "/odd":
        return {1, 2}
    if path == "/away":
        raise_away()
    return f"{server}+{client}" if isinstance(server, str) else CONFLICT


def test_merge_is_the_default_and_takes_what_does_not_contradict(session: ClientSession) -> None:
    update(session, ["set", "/cart", {"qty": 1}], base=0)
    update(session, ["set", "/cart/qty", 2], base=1)
    told = update(session, ["set", "/cart", {"qty": 1, "coupon": "WELCOME"}], base=1)
    assert told["ok"] and "conflicts" not in told
    assert document(session) == {"cart": {"qty": 2, "coupon": "WELCOME"}}
    assert StateRevision.objects.get(version=3).kind == "merge"


def test_a_merge_tells_whose_value_was_kept(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], base=0)
    update(session, ["set", "/a", 2], base=1)
    told = update(session, ["set", "/a", 3], ["set", "/b", 1], base=1)
    assert told["conflicts"] == [{"path": "/a", "kept": "server", "base": 1, "server": 2, "client": 3}]
    assert document(session) == {"a": 2, "b": 1}


def test_deletion_against_edit_is_a_conflict_and_null_is_a_value(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], ["set", "/b", 1], base=0)
    update(session, ["del", "/a"], ["set", "/b", None], base=1)
    told = update(session, ["set", "/a", 3], ["del", "/b"], base=1)
    assert told["unchanged"]
    assert told["conflicts"] == [
        {"path": "/b", "kept": "server", "base": 1, "server": None},
        {"path": "/a", "kept": "server", "base": 1, "client": 3},
    ]
    assert document(session) == {"b": None}


def test_true_is_not_one(session: ClientSession) -> None:
    update(session, ["set", "/a", 0], base=0)
    update(session, ["set", "/a", True], base=1)
    assert update(session, ["set", "/a", 1], base=1)["conflicts"][0]["server"] is True


def test_without_overlap_every_strategy_takes_everything(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], base=0)
    for number, strategy in enumerate(("merge", "server_wins", "client_wins", "reject", "manual")):
        told = update(session, ["set", f"/b{number}", 1], base=0, strategy=strategy)
        assert sorted(told) == ["ok", "position"]
    assert set(StateRevision.objects.values_list("kind", flat=True)) == {"patch"}


def test_an_addition_counts_whatever_others_set(session: ClientSession) -> None:
    update(session, ["set", "/n", 4], base=0)
    update(session, ["set", "/n", 10], base=1)
    assert "conflicts" not in update(session, ["inc", "/n", 1], base=1)
    assert document(session) == {"n": 11}


def test_client_wins_applies_everything_and_lists_what_it_overwrote(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], ["set", "/b", 1], base=0)
    update(session, ["set", "/a", 2], base=1)
    told = update(session, ["set", "/a", 3], ["set", "/b", 3], base=1, strategy="client_wins")
    assert told["overwrote"] == ["/a"]
    assert document(session) == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("base", "server", "client", "expected"),
    [
        ({}, ["ins", "/o/-", 1], ["set", "/o/name", "Ada"], {"o": {"name": "Ada"}}),
        ({"l": [1, 2]}, ["del", "/l/0"], ["set", "/l/2", 3], {"l": [1, 2, 3]}),
        ({"l": [{"x": 1}]}, ["set", "/l", []], ["set", "/l/0/x", 2], {"l": [{"x": 2}]}),
        ({"l": [1]}, ["set", "/l", {"a": 1}], ["ins", "/l/-", 2], {"l": [1, 2]}),
    ],
)
def test_client_wins_loses_no_value_that_an_operation_could_not_put_any_more(
    session: ClientSession, base: Any, server: Any, client: Any, expected: Any
) -> None:
    update(session, ["set", "", base], base=0)
    start = StateDocument.objects.get().version
    update(session, server, base=start)
    told = update(session, client, base=start, strategy="client_wins")
    assert document(session) == expected
    assert told["ok"] and told["overwrote"]


def test_client_wins_beside_what_still_takes_it_is_applied_as_it_was_asked_for(session: ClientSession) -> None:
    update(session, ["set", "/l", [1]], base=0)
    update(session, ["ins", "/l/0", 0], base=1)
    told = update(session, ["ins", "/l/0", 9], base=1, strategy="client_wins")
    assert told["overwrote"] == ["/l"]
    assert document(session) == {"l": [9, 0, 1]}


def test_reject_changes_nothing(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], base=0)
    told = update(session, ["set", "/a", 3], ["set", "/b", 3], base=0, strategy="reject")
    assert (told["error"]["name"], told["error"]["paths"]) == ("conflict", ["/a"])
    assert document(session) == {"a": 1}


def test_an_rfc_6902_patch_is_judged_by_what_its_author_saw(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], ["set", "/b", {"x": 1}], base=0)
    update(session, ["set", "/b/y", 2], base=1)
    patch = [{"op": "test", "path": "/b", "value": {"x": 1}}, {"op": "replace", "path": "/b", "value": {"x": 5}}]
    outcome = verbs.update_now(session.pk, "main", "patch", patch, Terms(base=1))
    assert outcome.error is not None and outcome.error.name == "patch_failed"
    replace = [{"op": "replace", "path": "/b", "value": {"x": 5}}]
    assert verbs.update_now(session.pk, "main", "patch", replace, Terms(base=1)).error is None
    assert document(session) == {"a": 1, "b": {"x": 5, "y": 2}}


def test_two_updates_from_one_base_leave_a_merge_record(session: ClientSession) -> None:
    update(session, ["set", "/a", 1], base=0)
    for strategy in ("merge", "server_wins", "client_wins", "manual"):
        head = StateDocument.objects.get().version
        update(session, ["set", "/a", f"first {strategy}"], base=head)
        told = update(
            session, ["set", "/a", f"second {strategy}"], ["set", "/b", strategy], base=head, strategy=strategy
        )
        assert told.keys() & {"conflicts", "dropped", "overwrote"}
        assert StateRevision.objects.get(version=told["position"][1]).kind == "merge"


class TestSettings:
    """What ``DOCUMENTS`` says about a name."""

    def test_a_document_has_its_own_strategy_and_an_update_may_name_another(
        self, session: ClientSession, settings: Any
    ) -> None:
        settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"strategy": "reject"}}}
        update(session, ["set", "/a", 1], base=0)
        assert not update(session, ["set", "/a", 2], base=0)["ok"]
        assert update(session, ["set", "/a", 2], base=0, strategy="client_wins")["ok"]
        update(session, ["set", "/a", 1], base=0, name="other")
        assert update(session, ["set", "/a", 2], base=0, name="other")["conflicts"]

    def test_arrays_are_merged_by_their_policy(self, session: ClientSession, settings: Any) -> None:
        arrays = {"/items": "keyed:id", "/tags": "set", "/log": "append"}
        settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"arrays": arrays}}}
        start = {"items": [{"id": 1, "n": 1}], "tags": ["a"], "log": ["x"], "plain": [1]}
        update(session, ["set", "", start], base=0)
        theirs = {"items": [{"id": 1, "n": 2}], "tags": ["a", "b"], "log": ["x", "y"], "plain": [1, 2]}
        update(session, ["set", "", theirs], base=1)
        mine = {"items": [{"id": 1, "n": 1}, {"id": 2}], "tags": ["c"], "log": ["x", "z"], "plain": [1, 3]}
        told = update(session, ["set", "", mine], base=1)
        assert document(session) == {
            "items": [{"id": 1, "n": 2}, {"id": 2}],
            "tags": ["b", "c"],
            "log": ["x", "y", "z"],
            "plain": [1, 2],
        }
        assert [found["path"] for found in told["conflicts"]] == ["/plain"]

    @pytest.mark.parametrize("side", ["client_wins", "reject"])
    def test_merging_may_settle_conflicts_for_the_client_or_not_at_all(
        self, session: ClientSession, settings: Any, side: str
    ) -> None:
        settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"on_conflict": side}}}
        update(session, ["set", "/a", 1], base=0)
        update(session, ["set", "/a", 2], base=1)
        told = update(session, ["set", "/a", 3], base=1)
        if side == "client_wins":
            assert told["conflicts"][0]["kept"] == "client"
            assert document(session) == {"a": 3}
        else:
            assert told["error"]["name"] == "conflict" and told["error"]["paths"] == ["/a"]
            assert document(session) == {"a": 2}

    def test_a_function_decides_or_leaves_it_to_the_server(self, session: ClientSession, settings: Any) -> None:
        settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"strategy": f"{__name__}.prefer_text"}}}
        update(session, ["set", "/a", "one"], ["set", "/b", 1], base=0)
        update(session, ["set", "/a", "two"], ["set", "/b", 2], base=1)
        told = update(session, ["set", "/a", "three"], ["set", "/b", 3], base=1)
        assert document(session) == {"a": "two+three", "b": 2}
        assert [(found["path"], found["kept"]) for found in told["conflicts"]] == [("/a", "resolver"), ("/b", "server")]

    @pytest.mark.parametrize(
        ("path", "name"), [("/boom", "handler_failed"), ("/odd", "handler_failed"), ("/away", "unavailable")]
    )
    def test_a_function_that_fails_refuses_the_update_and_changes_nothing(
        self, session: ClientSession, settings: Any, path: str, name: str
    ) -> None:
        settings.SESSION_MGMT = {"DOCUMENTS": {"main": {"strategy": f"{__name__}.prefer_text"}}}
        update(session, ["set", path, 1], base=0)
        update(session, ["set", path, 2], base=1)
        assert update(session, ["set", path, 3], base=1)["error"]["name"] == name
        assert document(session) == {path[1:]: 2}


class TestManual:
    """Losing values are kept."""

    def test_losing_values_become_records_that_the_receipt_names(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 1], base=0)
        update(session, ["set", "/a", 2], base=1)
        told = update(session, ["set", "/a", 3], ["set", "/b", 1], base=1, strategy="manual")
        kept = StateConflict.objects.get()
        assert told["conflicts"][0]["id"] == str(kept.pk)
        assert [bytes(value) for value in (kept.path, kept.base, kept.server, kept.client_value)] == [
            b"/a",
            b"1",
            b"2",
            b"3",
        ]
        assert kept.version == 3
        assert document(session) == {"a": 2, "b": 1}

    def test_a_value_that_was_not_there_is_kept_as_none(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 1], base=0)
        update(session, ["set", "/a", 3], base=0, strategy="manual")
        update(session, ["del", "/a"], base=0, strategy="manual")
        assert list(StateConflict.objects.values_list("base", flat=True)) == [None]

    def test_beyond_the_limit_an_update_is_refused_rather_than_a_value_lost(
        self, session: ClientSession, settings: Any
    ) -> None:
        settings.SESSION_MGMT = {"max_conflicts": 1}
        update(session, ["set", "/a", 1], base=0)
        assert update(session, ["set", "/a", 2], base=0, strategy="manual")["ok"]
        assert update(session, ["set", "/a", 3], base=0, strategy="manual")["error"]["name"] == "conflict"
        assert StateConflict.objects.count() == 1


class TestOldChanges:
    """Digests of what a change replaced, where its base is gone."""

    def test_what_is_as_it_was_is_replaced(self, session: ClientSession) -> None:
        update(session, ["set", "", {"a": 1, "b": 1}], base=0)
        ops = [("set", "/a", 2)]
        told = update(session, *ops, base=1, replaced=replaced.digest_replaced({"a": 1}, ops))
        assert "conflicts" not in told
        assert document(session) == {"a": 2, "b": 1}

    @pytest.mark.parametrize(
        ("strategy", "value", "kept"),
        [("merge", 5, "server"), ("server_wins", 5, "server"), ("client_wins", 2, "client")],
    )
    def test_what_changed_is_settled_by_the_strategy(
        self, session: ClientSession, strategy: str, value: int, kept: str
    ) -> None:
        update(session, ["set", "/a", 5], base=0)
        ops = [("set", "/a", 2), ("set", "/b", 2)]
        told = update(session, *ops, base=1, strategy=strategy, replaced=replaced.digest_replaced({"a": 1}, ops))
        assert document(session) == {"a": value, "b": 2}
        assert [(found["path"], found["kept"]) for found in told["conflicts"]] == [("/a", kept)]

    def test_reject_refuses_what_changed(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 5], base=0)
        told = update(session, ["set", "/a", 2], base=1, strategy="reject", replaced={"/a": None})
        assert told["error"]["name"] == "conflict"

    def test_manual_keeps_both_values(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 5], base=0)
        update(session, ["set", "/a", 2], base=1, strategy="manual", replaced={"/a": None})
        kept = StateConflict.objects.get()
        assert (kept.base, bytes(kept.server), bytes(kept.client_value)) == (None, b"5", b"2")

    def test_a_base_older_than_the_log_is_refused_for_now(self, session: ClientSession) -> None:
        for number in range(4):
            update(session, ["set", "/a", number])
        row = StateDocument.objects.get()
        snapshots.keep_snapshot(bridge().using, row.pk, at=row.last_modified)
        StateDocument.objects.update(oldest_revision=4)
        StateRevision.objects.filter(version__lt=4).delete()
        told = update(session, ["set", "/a", 9], base=1)
        assert (told["error"]["name"], told["error"]["temporary"]) == ("too_old", True)


def test_a_report_stays_within_two_kilobytes(session: ClientSession) -> None:
    most = checking.document_limits().ops
    update(session, *[["set", f"/k{number}", 1] for number in range(most)], base=0)
    told = update(session, *[["set", f"/k{number}", "x" * 40] for number in range(most)], base=0)
    assert len(orjson.dumps(told["conflicts"])) <= 2048
    assert len(told["conflicts"]) + told["more"] == most
    update(session, ["set", "/long", "x" * 5000], base=0)
    told = update(session, ["set", "/long", 1], base=0)
    assert told["conflicts"] == [{"path": "/long", "kept": "server", "cut": True}]


class TestFromPython:
    """``state.conflicts`` and ``state.resolve``."""

    def test_a_conflict_is_listed_until_it_is_resolved(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 1], base=0)
        update(session, ["set", "/a", 2], base=0, strategy="manual")
        (found,) = shortcuts.state.conflicts(session)
        assert shortcuts.state.resolve(session, found["id"], "client").offset == 2
        assert shortcuts.state.conflicts(session) == []
        assert document(session) == {"a": 2}

    def test_inside_a_transaction_nothing_can_be_resolved(self, session: ClientSession) -> None:
        update(session, ["set", "/a", 1], base=0)
        update(session, ["set", "/a", 2], base=0, strategy="manual")
        (found,) = shortcuts.state.conflicts(session)
        with transaction.atomic(), pytest.raises(InvalidField):
            shortcuts.state.resolve(session, found["id"], "client")

    @pytest.mark.parametrize("encrypted", [True, False])
    def test_values_are_sealed_where_the_document_is(
        self, session: ClientSession, settings: Any, encrypted: bool
    ) -> None:
        settings.SESSION_MGMT = {"state_keys": (("k1", KEY),), "encrypt_state": encrypted}
        update(session, ["set", "/secret", "before"], base=0)
        update(session, ["set", "/secret", "losing"], ["set", "/b", 1], base=0, strategy="manual")
        kept = StateConflict.objects.get()
        plain = b"".join(bytes(value) for value in (kept.path, kept.server, kept.client_value))
        assert (b"losing" not in plain and b"secret" not in plain) is encrypted
        (found,) = shortcuts.state.conflicts(session)
        assert (found["path"], found["client"]) == ("/secret", "losing")


def test_a_base_with_too_many_changes_behind_it_is_too_old_and_others_do_not_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_revisions, "_COMPARED_BYTES", 2000)
    for number in range(40):
        desk.put(*(("set", f"/r{number}/p{place}", 1) for place in range(20)))
    head = desk.row.version
    change = [["set", "/mine", 1]]
    far = verbs.update_now(desk.session.pk, "main", "ops", change, Terms(base=1))
    assert far.error is not None and far.error.name == "too_old"
    # With digests of what it replaced it is judged without the log.
    digests = {"/mine": None}
    terms = Terms(base=head, replaced=digests)
    assert verbs.update_now(desk.session.pk, "main", "ops", change, terms).error is None
    near = verbs.update_now(desk.session.pk, "main", "ops", [["set", "/near", 1]], Terms(base=head - 3))
    assert near.error is None
