"""Medians, ratios, and their output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Case and the case that it is compared with.

    ``values``: one a round, per second. ``per_core``: the median per second of the server's CPU.
    """

    case: str
    values: list[float]
    ratio: float | None = None
    per_core: float | None = None
    core_ratio: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return median(self.values)


@dataclass(slots=True)
class Table:
    """Rows of a benchmark, with everything needed to read them. ``per`` is the time or thing that values are for."""

    title: str
    unit: str
    settings: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    per: str = "s"

    def as_json(self) -> dict[str, Any]:
        rows = [
            {"case": row.case, "median": row.value, "rounds": row.values, "ratio": row.ratio}
            | {"per_core": row.per_core, "core_ratio": row.core_ratio, **row.facts}
            for row in self.rows
        ]
        return {"benchmark": self.title, "unit": f"{self.unit}/{self.per}", "settings": self.settings, "rows": rows}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Table:
        """Build the table of a line that a run has printed."""
        unit, _, per = told["unit"].rpartition("/")
        known = {"case", "median", "rounds", "ratio", "per_core", "core_ratio"}
        rows = [
            Row(row["case"], row["rounds"], row["ratio"], row["per_core"], row["core_ratio"]) for row in told["rows"]
        ]
        for row, one in zip(rows, told["rows"], strict=True):
            row.facts.update({name: value for name, value in one.items() if name not in known})
        return cls(told["benchmark"], unit, told["settings"], rows, per)

    def as_text(self) -> str:
        head = ["case", f"{self.unit}/{self.per}", "lowest-highest", "ratio", "per server core/s", "ratio"]
        names = list(dict.fromkeys(name for row in self.rows for name in row.facts))
        lines = [[*head, *names], *(_cells(row, names) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        listed = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        facts = [f"  {name}: {value}" for name, value in self.settings.items()]
        return "\n".join([f"== {self.title}", *facts, *listed])


def _cells(row: Row, names: Sequence[str]) -> list[str]:
    spread = f"{_number(min(row.values))}-{_number(max(row.values))}"
    numbers = [_ratio(row.ratio), _number(row.per_core), _ratio(row.core_ratio)]
    return [row.case, _number(row.value), spread, *numbers, *(_number(row.facts.get(name)) for name in names)]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def _times(value: float, base: float | None) -> float | None:
    """Return the ratio to the base; ``None`` if the base did nothing."""
    return value / base if base else None


def measured(case: str, rounds: Iterable[dict[str, Any]], base: Row | None = None, **facts: Any) -> Row:
    """Build a row from the load generator's answer."""
    listed = list(rounds)
    values = [r["done"] / r["seconds"] for r in listed]
    per_core = median(r["done"] / r["server_cpu"] if r["server_cpu"] else 0.0 for r in listed)
    shares = {
        "server cpu %": 100 * median(r["server_cpu"] / r["seconds"] for r in listed),
        "load cpu %": 100 * median(r["load_cpu"] / r["seconds"] for r in listed),
    }
    latency = {name.replace("_", " "): median(r[name] for r in listed) for name in ("p50_ms", "p99_ms")}
    failures = {name: max(r[name] for r in listed) for name in ("refused", "lost")}
    compared = (None, None) if base is None else (_times(median(values), base.value), _times(per_core, base.per_core))
    return Row(case, values, compared[0], per_core, compared[1], {**latency, **shares, **failures, **facts})
