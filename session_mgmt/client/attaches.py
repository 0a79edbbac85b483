"""Attaches of a client whose answers were lost: one that the server serves late takes over from those behind it."""

from __future__ import annotations


class Attaches:
    """Counter of the attaches that may still arrive."""

    def __init__(self) -> None:
        # Number of the present attachment among all of the client.
        self._generation = 1
        # Number that the client would have if each had arrived; None before the first answer.
        self._latest: int | None = None

    def note_begun(self) -> None:
        if self._latest is not None:
            self._latest += 1

    def note_refused(self) -> None:
        """Take a refusal: what was refused never arrives."""
        if self._latest is not None:
            self._latest -= 1

    def note_answered(self, generation: int) -> None:
        self._generation = generation
        # One of the process before this one may be under way too, unless the client is new.
        latest = generation + 1 if self._latest is None else self._latest
        self._latest = max(generation, latest) if generation > 1 else 1

    @property
    def may_arrive(self) -> bool:
        """True while one may be under way."""
        return self._latest is not None and self._latest > self._generation
