"""Configuration of a connection, which a client may change within the ranges of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from session_mgmt.exceptions import InvalidField

# Seconds in addition to the missed beats, because the last one may be on its way.
LAST_ANSWER = 1.0
# Seconds for a slow network and a busy server: a single late beat must not end the connection sooner.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Seconds between two beats, beats in a row that may be missed, and seconds for which frames are gathered."""

    interval: float
    missed_limit: int
    batch: float = 0.0

    @property
    def deadline(self) -> float:
        """Seconds of silence after which the client gives the connection up."""
        return min(self.interval + PATIENCE, self.interval * self.missed_limit + LAST_ANSWER)

    def as_dict(self) -> dict[str, float]:
        """Return the configuration in the form that clients receive."""
        return {
            "interval": self.interval,
            "missed_limit": self.missed_limit,
            "batch": self.batch,
            "deadline": self.deadline,
        }


def apply_wishes(
    now: Configuration, wishes: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]
) -> Configuration:
    """Return the configuration with a client's wishes. Raises ``InvalidField`` (with ``allowed``) for the first value
    outside its range; then nothing changes.
    """
    for name, value in wishes.items():
        low, high = ranges[name]
        if not low <= value <= high:
            raise InvalidField(f"{name} is from {low:g} to {high:g} here.", field=name, allowed=[low, high])
    wanted: dict[str, Any] = dict(wishes)
    return replace(now, **wanted)
