"""Frames that are put together from stored bytes are the frames that an encoder would have made."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.documents import strict
from session_mgmt.protocol import logs
from session_mgmt.protocol.logs import Entry, build_entries_frame

BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\', max_size=3), inner, max_size=3),
    max_leaves=10,
)
# What a topic may be called: everything that prints.
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
TAGS = st.text("0123456789abcdef", min_size=16, max_size=16)


@given(
    name=NAMES.map(lambda name: logs.TOPIC + name),
    epoch=st.text("0123456789abcdef", min_size=8, max_size=8),
    found=st.lists(st.tuples(st.integers(1, 2**53 - 1), TAGS, BODIES), max_size=4),
)
def test_an_entries_frame_says_what_json_would(name: str, epoch: str, found: list[tuple[int, str, Any]]) -> None:
    stored = [Entry(offset, tag, strict.dump_json(body)) for offset, tag, body in found]
    expected = {"type": "entries", "log": name, "epoch": epoch, "entries": [list(entry) for entry in found]}
    assert json.loads(build_entries_frame(name, epoch, stored)) == expected


def test_keys_of_different_kinds_of_logs_never_meet() -> None:
    keys = {logs.document_key(1), logs.stream_key("1"), logs.timeline_key(UUID(int=1))}
    assert len({key[:2] for key in keys}) == 3
