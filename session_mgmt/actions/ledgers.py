"""Contract of the ledgers that take part in one transaction for many writes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from session_mgmt.actions.outcome import Appended

Item = TypeVar("Item", contravariant=True)


class Ledger(Protocol[Item]):
    """Rows of one kind in one group of writes.

    First all items are loaded, then each is decided with ``decide``, whose arguments differ from ledger to ledger and
    which touches no database; last everything is written.
    """

    def load(self, items: Iterable[Item], *, at: datetime, wait: bool) -> None:
        """Lock the rows of these items, and read all that their decisions need. Skip locked rows unless ``wait``."""

    def has_locked(self) -> bool:
        """Return whether somebody else has locked any row of the group."""

    def is_locked(self, item: Item) -> bool:
        """Return whether somebody else has locked a row that the item needs."""

    def write(self, at: datetime) -> None:
        """Write the decisions."""

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """Return new entries by the key of their log."""
