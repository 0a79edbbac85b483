"""The Python client's `create_if_absent`: shown only where nothing is known, decided by the server."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.client import Refused
from session_mgmt.client.core import Core
from session_mgmt.client.storage import Saved
from tests.client.fake_server import connected, entries, snapshot
from tests.client.test_core import no, ok, ready_core, revision, run, sent

DEFAULTS = {"theme": "light"}


def view(core: Core) -> Any:
    return core.open_replica("main").view


def test_it_is_shown_at_once_and_sent_without_a_base() -> None:
    core = ready_core()
    _, effects = core.add_first_value("main", DEFAULTS)
    assert view(core) == DEFAULTS
    assert sent(effects) == [
        {"type": "update", "doc": "main", "ops": [["set", "", DEFAULTS]], "if_absent": True, "seq": 1}
    ]
    run(core, entries("state:main", 1, revision([["set", "", DEFAULTS]], "c_one", 1)), ok(1))
    assert view(core) == DEFAULTS


def test_it_is_never_seen_where_a_version_is_known() -> None:
    core = ready_core()
    run(core, entries("state:main", 1, revision([["set", "/work", 1]])))
    core.add_first_value("main", DEFAULTS)
    assert view(core) == {"work": 1}
    run(core, ok(1, unchanged=True))
    assert view(core) == {"work": 1}


def test_it_gives_way_to_what_the_server_has_before_its_answer() -> None:
    core = Core(Saved())
    core.add_first_value("main", DEFAULTS)
    assert view(core) == DEFAULTS
    run(core, connected(), snapshot("state:main", 7, {"work": 1}))
    assert view(core) == {"work": 1}


def test_it_is_not_shown_behind_a_write_that_will_be_there_before_it() -> None:
    core = Core(Saved())
    core.add_update("main", [["set", "/mine", 1]])
    core.add_first_value("main", DEFAULTS)
    assert view(core) == {"mine": 1}
    run(core, connected(), snapshot("state:main", 0, {}), no(1, "document_too_large", temporary=False))
    assert view(core) == DEFAULTS


def test_a_stored_one_is_sent_again_by_the_next_process_and_shown_as_carefully() -> None:
    saved = Saved(client_id="c_one")
    core = Core(saved)
    core.add_first_value("main", DEFAULTS)
    again = Core(Saved(client_id="c_one", next_seq=2, writes=list(core.outbox)))
    assert view(again) == DEFAULTS
    resent = sent(run(again, connected(), snapshot("state:main", 1, {"work": 1})))
    assert [(frame["seq"], frame["if_absent"]) for frame in resent] == [(1, True)]
    assert view(again) == {"work": 1}


def test_it_joins_no_draft_and_none_joins_it() -> None:
    core = Core(Saved(), delayed=True)
    core.add_update("prefs", [["set", "/a", 1]])
    core.add_first_value("main", DEFAULTS)
    core.add_update("main", [["set", "/theme", "dark"]])
    assert [frame.get("if_absent") for frame in core.outbox] == [None, True, None]


def test_what_no_frame_can_hold_is_refused_here_and_leaves_the_state_alone() -> None:
    """The server would refuse it without reading its number; then defaults after a reconnect must change nothing."""
    core = ready_core()
    run(core, entries("state:main", 1, revision([["set", "/work", "of an hour"]])))
    for write in (
        lambda: core.add_update("main", [["set", "/big", "x" * 300_000]]),
        lambda: core.add_first_value("main", "\u20ac" * 100_000),
        lambda: core.add_write({"type": "send", "data": "x" * 300_000}),
    ):
        with pytest.raises(Refused, match="frame_too_large"):
            write()
    assert (len(core.outbox), core.outbox.next_seq) == (0, 1)
    core.mark_disconnected()
    core.add_first_value("main", DEFAULTS)
    run(core, connected(generation=2, logs={"state:main": {"mode": "up_to_date"}}), ok(1, unchanged=True))
    assert view(core) == {"work": "of an hour"}
