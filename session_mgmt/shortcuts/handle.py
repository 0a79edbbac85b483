"""Handle of one document of one session."""

from __future__ import annotations

import uuid
from typing import Any

from session_mgmt.actions import access
from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.outcome import Written
from session_mgmt.actions.state import history
from session_mgmt.actions.state.lookup import ClientState
from session_mgmt.documents.values import MISSING
from session_mgmt.protocol.position import Position
from session_mgmt.shortcuts.arguments import Session, as_session_id
from session_mgmt.shortcuts.async_calls import AsyncCalls
from session_mgmt.shortcuts.documents import state


class SessionState(AsyncCalls):
    """One document of one session, with the methods of ``state`` but without their arguments for session and name."""

    def __init__(self, session: Session, name: str = "main") -> None:
        access.check_document_name(name)
        self.session, self.name = as_session_id(session), name

    def __repr__(self) -> str:
        return f"<SessionState {self.session} {self.name!r}>"

    def get(self, *, path: str = "", version: int | str | None = None, default: Any = None) -> Any:
        """See ``state.get``."""
        return state.get(self.session, path=path, version=version, default=default, name=self.name)

    def info(self) -> ClientState:
        """See ``state.info``."""
        return state.info(self.session, name=self.name)

    def checksum(self) -> str:
        """See ``state.checksum``."""
        return state.checksum(self.session, name=self.name)

    def sync(self, position: Position | list[Any] | None = None) -> dict[str, Any]:
        """See ``state.sync``."""
        return state.sync(self.session, position, name=self.name)

    def update(
        self,
        merge: dict[str, Any] | None = None,
        *,
        ops: list[Any] | None = None,
        patch: list[Any] | None = None,
        key: str | None = None,
    ) -> Written | Ticket:
        """See ``state.update``."""
        return state.update(self.session, merge, ops=ops, patch=patch, key=key, name=self.name)

    def create_if_absent(self, data: Any, *, key: str | None = None) -> Position | Ticket:
        """See ``state.create_if_absent``."""
        return state.create_if_absent(self.session, data, key=key, name=self.name)

    def replace(self, data: Any, *, key: str | None = None) -> Position | Ticket:
        """See ``state.replace``."""
        return state.replace(self.session, data, key=key, name=self.name)

    def clear(self) -> Position | Ticket:
        """See ``state.clear``."""
        return state.clear(self.session, name=self.name)

    def history(self, *, before: int | None = None, limit: int = history.PAGE) -> dict[str, Any]:
        """See ``state.history``."""
        return state.history(self.session, before=before, limit=limit, name=self.name)

    def read_at(self, version: int | str) -> Any:
        """See ``state.read_at``."""
        return state.read_at(self.session, version, name=self.name)

    def diff(self, first: int, second: int) -> list[dict[str, Any]]:
        """See ``state.diff``."""
        return state.diff(self.session, first, second, name=self.name)

    def persist(self, label: str | None = None) -> int:
        """See ``state.persist``."""
        return state.persist(self.session, label, name=self.name)

    def checkpoints(self) -> list[dict[str, Any]]:
        """See ``state.checkpoints``."""
        return state.checkpoints(self.session, name=self.name)

    def forget(self, label: str) -> bool:
        """See ``state.forget``."""
        return state.forget(self.session, label, name=self.name)

    def restore(self, to: int | str) -> Position | Ticket:
        """See ``state.restore``."""
        return state.restore(self.session, to, name=self.name)

    def compress(self) -> int:
        """See ``state.compress``."""
        return state.compress(self.session, name=self.name)

    def conflicts(self, *, include_resolved: bool = False) -> list[dict[str, Any]]:
        """See ``state.conflicts``."""
        return state.conflicts(self.session, include_resolved=include_resolved, name=self.name)

    def resolve(self, conflict: uuid.UUID | str, keep: str, value: Any = MISSING) -> Position:
        """See ``state.resolve``."""
        return state.resolve(self.session, conflict, keep, value, name=self.name)

    def size(self) -> int:
        """See ``state.size``."""
        return state.size(self.session, name=self.name)


def session_state(session: Session, name: str = "main") -> SessionState:
    """Return a handle of one document: ``session_state(session, "cart").update({"coupon": "WELCOME"})``."""
    return SessionState(session, name)
