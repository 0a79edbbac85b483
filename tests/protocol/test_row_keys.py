"""Keys of rows as JSON: clients compare them as the database compares the values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import models
from hypothesis import given
from hypothesis import strategies as st

from session_mgmt.protocol.row_keys import write_value


class Status(models.TextChoices):
    PAID = "paid", "Paid"


MOMENT = datetime(2026, 11, 28, 0, 38, 26, tzinfo=UTC)
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (1.5, 1.5),
    (-5e-324, -5e-324),
    (2.0**53 - 1, 2.0**53 - 1),
    (2.0**53, "9007199254740992"),
    (-1e300, f"{-1e300:.0f}"),
    (2**53 - 1, 2**53 - 1),
    (-(2**53), "-9007199254740992"),
    ("é", "é"),
    (Status.PAID, "paid"),
    (MOMENT, "2026-11-28T00:38:26.000000Z"),
    (MOMENT.astimezone(timezone(timedelta(hours=5))), "2026-11-28T00:38:26.000000Z"),
    (MOMENT.replace(tzinfo=None), "2026-11-28T00:38:26.000000"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4), "03:04:00.000000"),
    (timedelta(days=-1, microseconds=3), -86_399_999_997),
    (timedelta.max, str(timedelta.max // timedelta(microseconds=1))),
    (Decimal("1E+2"), "100"),
    (Decimal("-0.10"), "-0.10"),
    (Decimal("-0.00"), "0.00"),
    (UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
]


@pytest.mark.parametrize(("value", "told"), VALUES, ids=repr)
def test_a_value_has_one_form(value: Any, told: Any) -> None:
    assert (write_value(value), type(write_value(value))) == (told, type(told))


def test_what_orders_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="dict"):
        write_value({"a": 1})


@pytest.mark.parametrize(
    "kind", [st.datetimes(), st.dates(), st.times(), st.uuids()], ids=["datetimes", "dates", "times", "uuids"]
)
def test_texts_sort_as_their_values_do(kind: Any) -> None:
    @given(kind, kind)
    def compare(one: Any, other: Any) -> None:
        assert (write_value(one) < write_value(other)) == (one < other)

    compare()
