"""What a client without a connection has changed meanwhile: carried out in its order, each change at most once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from session_mgmt.actions.outcome import Outcome, refused
from session_mgmt.actions.state import updates
from session_mgmt.actions.state.stored_rows import Runner, here
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.writes import verbs


@dataclass(frozen=True, slots=True)
class Pending:
    """One change; ``terms`` are ``base``, ``epoch``, ``strategy`` and ``replaced``."""

    kind: str
    change: Any
    key: str
    terms: dict[str, Any] = field(default_factory=dict)


def carry_out(session: uuid.UUID, name: str, changes: Iterable[Pending], *, run: Runner = here) -> list[Outcome]:
    """An outcome for each, in order, up to the first that is refused temporarily: what follows it may build on it."""
    outcomes: list[Outcome] = []
    own: set[int] = set()
    for change in changes:
        outcome = _one(session, name, change, frozenset(own), run)
        outcomes.append(outcome)
        if outcome.error is not None and outcome.error.temporary:
            break
        if outcome.position is not None and not orjson.loads(outcome.body).get("unchanged"):
            # What this client itself made after its base is no conflict with what it made next.
            own.add(outcome.position.offset)
    return outcomes


def _one(session: uuid.UUID, name: str, change: Pending, own: frozenset[int], run: Runner) -> Outcome:
    asked = updates.digest(name, change.kind, change.change, change.terms.get("strategy"))
    facts = {"key": change.key, "request": asked, "own": own, "run": run, **change.terms}
    try:
        return verbs.update_now(session, name, change.kind, change.change, **facts)
    except SessionMgmtError as error:
        return refused(error)
