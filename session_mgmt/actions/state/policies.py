"""Conflict policies of documents: the entries of ``SESSION_MGMT["documents"]``, by the documents' names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.utils.module_loading import import_string

from session_mgmt.conf import settings
from session_mgmt.documents.arrays import NO_POLICIES, ArrayPolicies
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.merge import OnConflict, Resolver
from session_mgmt.protocol.frames import STRATEGIES
from session_mgmt.user_code import check_function

logger = logging.getLogger(__name__)

FIELDS = ("strategy", "arrays", "on_conflict", "claim")
SIDES = ("server_wins", "client_wins", "reject")
CLAIMS = KEEP, DROP = ("keep", "drop")


@dataclass(frozen=True, slots=True)
class Policy:
    """Policy of a document. ``strategy`` is for updates that do not name one; ``resolver`` is set if it is a function
    of the project. ``claim`` is what happens to a visitor's document when its user logs in.
    """

    strategy: str
    arrays: ArrayPolicies
    on_conflict: OnConflict
    resolver: Resolver | None = None
    claim: str = KEEP

    def for_strategy(self, strategy: str | None) -> tuple[str, OnConflict]:
        """Return the strategy of one update, and the side whose value is kept if the merge finds a conflict."""
        if strategy is None and self.resolver is not None:
            return self.strategy, self.resolver
        chosen = strategy or self.strategy
        # The project chooses a side for merges only; a client that names another strategy has made its own choice.
        return chosen, self.on_conflict if chosen == "merge" else "server_wins"


def find_policy(name: str) -> Policy:
    """Return the policy of documents with this name. If it is invalid, changes that conflict are refused."""
    try:
        return parse_policy(settings().documents.get(name, {}))
    except (ValueError, AttributeError, ImportError, DocumentError):
        logger.exception("The policy of documents named %s cannot be used", name)
        # Refuse instead of guessing a merge: the author sees a refusal, but nobody would notice a wrong merge.
        return Policy("reject", NO_POLICIES, "reject", claim=DROP)


def parse_policy(given: Mapping[str, Any]) -> Policy:
    """Parse a policy from its settings. Raises ``ValueError`` or ``ImportError`` with the reason."""
    if not isinstance(given, Mapping):
        raise ValueError(f"It is a dictionary of {', '.join(FIELDS)}, not {given!r}.")
    unknown = sorted(map(str, given.keys() - set(FIELDS)))
    if unknown:
        raise ValueError(f"There is no {unknown[0]!r}; there are {', '.join(FIELDS)}.")
    strategy, side = given.get("strategy", STRATEGIES[0]), given.get("on_conflict", SIDES[0])
    if side not in SIDES:
        raise ValueError(f"on_conflict is one of {', '.join(SIDES)}, not {side!r}.")
    claim = given.get("claim", KEEP)
    if claim not in CLAIMS:
        raise ValueError(f"claim is one of {', '.join(CLAIMS)}, not {claim!r}.")
    resolver = None if strategy in STRATEGIES else _import_resolver(strategy)
    return Policy(strategy, ArrayPolicies(given.get("arrays")), cast(OnConflict, side), resolver, claim)


def _import_resolver(strategy: Any) -> Resolver:
    if not isinstance(strategy, str) or "." not in strategy:
        raise ValueError(f"strategy is one of {', '.join(STRATEGIES)} or the dotted path of a function.")
    found = import_string(strategy)
    if not callable(found):
        raise ValueError(f"{strategy} is not a function.")
    try:
        check_function(found, f"strategy {strategy!r}", "path", "base", "server", "client")
    except TypeError as error:
        raise ValueError(str(error)) from error
    return cast(Resolver, found)
