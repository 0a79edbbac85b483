"""Backoff and storage."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.client.backoff import Backoff, read_policy
from session_mgmt.client.options import open_storage
from session_mgmt.client.storage import FileStorage, Saved
from tests.docs.pages import ROOT


@given(attempt=st.integers(0, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_between_zero_and_the_bound_whatever_the_attempt(attempt: int, chance: float) -> None:
    delay = Backoff(initial=0.5, maximum=20, factor=2).choose_delay(attempt, lambda: chance)
    assert 0 <= delay <= 20


def test_the_bound_doubles_until_the_maximum() -> None:
    bounds = [Backoff(initial=0.5, maximum=20, factor=2).compute_bound(attempt) for attempt in range(8)]
    assert bounds == [0.5, 1, 2, 4, 8, 16, 20, 20]


@pytest.mark.parametrize(("told", "chance", "delay"), [(0.0, 0.9, 0.0), (4.0, 0.0, 4.0), (4.0, 0.5, 4.5)])
def test_a_wait_that_the_server_asks_for_is_kept_and_spread(told: float, chance: float, delay: float) -> None:
    assert Backoff(initial=0.5, maximum=20, factor=2).spread_delay(told, 5, lambda: chance) == delay


def test_a_policy_of_the_server_replaces_what_it_names() -> None:
    policy = read_policy({"maximum": 3, "attempts": 2}, Backoff())
    assert policy == Backoff(0.5, 3, 2.0, 2)
    assert not policy.is_exhausted(1)
    assert policy.is_exhausted(2)


def test_a_file_comes_back_as_it_was_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    saved = Saved(
        token="sma_x",
        client_id="c_1",
        next_seq=3,
        writes=[{"type": "send", "seq": 2}],
        positions={"session": ["e", 1, "t"]},
    )
    FileStorage(path).save(saved)
    assert FileStorage(path).load() == saved
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_another_kind_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"something": "else"}))
    with pytest.raises(ValueError, match=r"other\.json"):
        FileStorage(path).load()


def test_the_storage_of_the_page_keeps_a_record() -> None:
    page = (ROOT / "docs/reference/python-client.md").read_text()
    code = page.split("## A storage of your own")[1].split("```python\n")[1].split("\nstorage = ")[0]
    parts: dict[str, Any] = {}
    exec(code, parts)
    storage = open_storage(parts["RowStorage"](parts["sqlite3"].connect(":memory:")))
    assert storage.load() == Saved()
    saved = Saved(token="sma_1", next_seq=3, writes=[{"seq": 2}], positions={"session": None}, way={"a": 1})
    storage.save(saved)
    assert storage.load() == saved
