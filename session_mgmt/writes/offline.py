"""Write the changes that a client made while it was offline: in their order, and each at most once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from session_mgmt.actions.outcome import Outcome, refuse_write
from session_mgmt.actions.state import updates
from session_mgmt.actions.state.stored_rows import Runner, run_inline
from session_mgmt.actions.state.updates import Terms
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.writes import verbs


@dataclass(frozen=True, slots=True)
class Pending:
    """One change, with the terms that its client gave, at least a key."""

    kind: str
    change: Any
    terms: Terms


def carry_out(session: uuid.UUID, name: str, changes: Iterable[Pending], *, run: Runner = run_inline) -> list[Outcome]:
    """Return an outcome for each change, in order.

    Stop after the first that is refused temporarily: later ones may build on it.
    """
    outcomes: list[Outcome] = []
    own: set[int] = set()
    for change in changes:
        outcome = _write_one(session, name, change, frozenset(own), run)
        outcomes.append(outcome)
        if outcome.error is not None and outcome.error.temporary:
            break
        if outcome.position is not None and not outcome.unchanged:
            # This client's own changes after its base do not conflict with its later ones.
            own.add(outcome.position.offset)
    return outcomes


def _write_one(session: uuid.UUID, name: str, change: Pending, own: frozenset[int], run: Runner) -> Outcome:
    terms = change.terms
    # Without the base, which may have moved: a repetition equals its first attempt by its content.
    asked = updates.digest_request(name, change.kind, change.change, terms.strategy, atomic=terms.atomic)
    terms = change.terms._replace(request=asked, own=own)
    try:
        return verbs.update_now(session, name, change.kind, change.change, terms, run=run)
    except SessionMgmtError as error:
        return refuse_write(error)
