"""Attempts of one update: how to prepare each, and when to stop. Pure, so that sync and async callers share it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from session_mgmt.actions.group_commit import Decision
from session_mgmt.actions.outcome import Outcome, refuse_write
from session_mgmt.actions.state import prepare
from session_mgmt.actions.state.updates import Prepare, Reason
from session_mgmt.exceptions import Busy, PreconditionFailed

# If a document has moved during five preparations in a row, it changes faster than it can be read. Its writer tries
# again later, and does not hold a thread until then.
_MOST: Final = 5


class Way(StrEnum):
    """How an update is prepared.

    ``BLIND`` needs no document. ``HEAD`` computes the update from the document as it is now, ``MERGE`` from the
    document at its base and from the later changes of others. ``KINDS`` is ``BLIND`` with a look at the kinds of values
    where both changed something.
    """

    BLIND = "blind"
    HEAD = "head"
    MERGE = "merge"
    KINDS = "kinds"


def choose_way(kind: str, replaced: Mapping[str, str | None] | None) -> Way:
    """Return how to prepare the first attempt."""
    if replaced is not None:
        return Way.MERGE
    return Way.BLIND if prepare.is_blind(kind) else Way.HEAD


class Attempts:
    """One update between its preparation and its outcome.

    Prepare the update in ``way``, write it, and ``record_decision``, until there is an ``outcome``. ``pinned`` updates
    are valid for one version only: they are refused as soon as the document has moved.
    """

    def __init__(self, way: Way, *, pinned: bool = False, retry_after: float = 1.0) -> None:
        self.way = way
        self.outcome: Outcome | None = None
        self._pinned, self._retry_after = pinned, retry_after
        self._made = 0

    def record_decision(self, decision: Decision) -> None:
        """Take the lane's decision: keep it as the outcome, or choose how to prepare the next attempt."""
        self._made += 1
        if isinstance(decision, Outcome):
            self.outcome = decision
        # Check this first: a caller who names a version wants a change of that version, and no merge into another.
        elif self._pinned and decision == Prepare(Reason.MOVED):
            self.outcome = refuse_write(PreconditionFailed())
        elif self._made >= _MOST:
            self.outcome = refuse_write(Busy(retry_after=self._retry_after))
        # Once a merge, always a merge: computed from the head alone, the change would overwrite
        # what others wrote since its base.
        elif decision == Prepare(Reason.MERGE) or self.way is Way.MERGE:
            self.way = Way.MERGE
        elif decision == Prepare(Reason.KINDS):
            self.way = Way.KINDS
        else:
            self.way = Way.HEAD
