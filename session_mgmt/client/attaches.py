"""Attaches of a client whose answers were lost. One that the server serves late replaces the present connection."""

from __future__ import annotations


class Attaches:
    """Counter of the attaches that may still arrive."""

    def __init__(self) -> None:
        # Number of the present attachment among all attachments of the client.
        self._generation = 1
        # Number that the client would have if every attach had arrived; None before the first answer.
        self._latest: int | None = None

    def note_begun(self) -> None:
        if self._latest is not None:
            self._latest += 1

    def note_refused(self) -> None:
        """Forget an attach that the server has refused, because it cannot arrive any more."""
        if self._latest is not None:
            self._latest -= 1

    def note_answered(self, generation: int) -> None:
        self._generation = generation
        # An attach of an earlier process may be on its way as well, unless the client is new.
        latest = generation + 1 if self._latest is None else self._latest
        self._latest = max(generation, latest) if generation > 1 else 1

    @property
    def may_arrive(self) -> bool:
        """True while an attach without an answer may still arrive."""
        return self._latest is not None and self._latest > self._generation
