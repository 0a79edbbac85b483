"""Whatever JSON a client sends is a frame or a refusal with its code; never another error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.exceptions import InvalidField, SessionMgmtError, UnknownFrame
from session_mgmt.protocol import frames
from session_mgmt.protocol.position import MAX_OFFSET

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, MAX_OFFSET, MAX_OFFSET + 1])
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
NAMES = """token client_id acked logs agent seq doc ops merge patch data base epoch strategy topic key ephemeral id log
position ping reason replaced if_absent nonce before limit"""
FIELDS = st.sampled_from(NAMES.split())
FRAMES = st.builds(
    lambda type_, fields: {"type": type_, **fields},
    st.sampled_from(frames.FRAME_TYPES) | SCALARS,
    st.dictionaries(FIELDS, JSON, max_size=10),
)

COMPLETE: dict[str, dict[str, Any]] = {
    "connect": {"token": "sma_1"},
    "update": {"seq": 1, "ops": []},
    "publish": {"seq": 1, "topic": "t", "data": None},
    "send": {"seq": 1, "data": None},
    "subscribe": {"id": 1, "log": "session"},
    "unsubscribe": {"id": 1, "log": "session"},
    "history": {"id": 1, "log": "topic:t"},
    "enter": {"id": 1, "log": "topic:t"},
    "leave": {"id": 1, "log": "topic:t"},
    "members": {"id": 1, "log": "topic:t"},
    "value": {"id": 1, "log": "topic:t"},
    "ack": {"seq": 1},
    "ping": {"id": 1},
    "pong": {"ping": 1},
    "configure": {"id": 1},
    "refresh": {"id": 1, "token": "smr_1", "nonce": "n"},
    "disconnect": {},
}


@given(FRAMES | JSON)
def test_any_json_is_a_frame_or_a_refusal(message: Any) -> None:
    try:
        frame = frames.parse(message)
    except SessionMgmtError as error:
        assert error.number > 0
    else:
        assert isinstance(frame, frames.Frame)


def test_every_type_has_its_smallest_frame_here() -> None:
    assert set(COMPLETE) == set(frames.FRAME_TYPES)


@pytest.mark.parametrize("type_", COMPLETE)
def test_the_smallest_frame_of_each_type_is_taken(type_: str) -> None:
    assert type(frames.parse({"type": type_, **COMPLETE[type_]})).__name__ == type_.capitalize()


@pytest.mark.parametrize(
    ("type_", "field"), [(type_, field) for type_, fields in COMPLETE.items() for field in fields if field != "ops"]
)
def test_a_missing_field_is_named_in_the_refusal(type_: str, field: str) -> None:
    message = {"type": type_, **COMPLETE[type_]}
    del message[field]
    with pytest.raises(InvalidField) as refusal:
        frames.parse(message)
    assert refusal.value.facts["field"] == field


@pytest.mark.parametrize("number", [0, -1, MAX_OFFSET + 1, 1.0, "1", True, None])
@pytest.mark.requirement("ASVS 2.2.1")
def test_a_number_of_a_write_is_an_integer_from_1_to_2_53_minus_1(number: Any) -> None:
    with pytest.raises(InvalidField):
        frames.parse({"type": "send", "seq": number, "data": 1})


@pytest.mark.parametrize("type_", ["", "connected", "entries", "x" * 40])
def test_a_type_that_no_client_sends_is_unknown(type_: str) -> None:
    with pytest.raises((UnknownFrame, InvalidField)):
        frames.parse({"type": type_})


def test_unknown_fields_are_ignored() -> None:
    assert frames.parse({"type": "ack", "seq": 1, "new": {}}) == frames.Ack(1)


@pytest.mark.parametrize("kinds", [[], ["ops", "merge"], list(frames.CHANGES)])
def test_an_update_has_exactly_one_change(kinds: list[str]) -> None:
    with pytest.raises(InvalidField):
        frames.parse({"type": "update", "seq": 1, **{kind: [] for kind in kinds}})


def test_only_an_ephemeral_publication_goes_without_a_number() -> None:
    frame = frames.parse({"type": "publish", "topic": "t", "data": 1, "ephemeral": True})
    assert isinstance(frame, frames.Publish) and frame.seq is None
    with pytest.raises(InvalidField):
        frames.parse({"type": "publish", "topic": "t", "data": 1, "ephemeral": 1})
