"""Erase all that concerns a user, in chunks with a transaction each: one that is killed is run again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from session_mgmt.actions import audit
from session_mgmt.actions.pacing import make_pace
from session_mgmt.actions.privacy import personal
from session_mgmt.actions.sessions import deletion
from session_mgmt.actions.topics import retention
from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, Login, Outbox, Publication, Stream
from session_mgmt.models.isolation import open_transaction

Progress = Callable[[str, int], None]
# Most rows of a transaction.
CHUNK = 200


@dataclass(slots=True)
class ErasureReport:
    """Number of rows of each kind that were erased; in a dry run, that would be. Other rows hang on the sessions."""

    sessions: int = 0
    logins: int = 0
    publications: int = 0
    audit: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def erase_user(
    user: Any, progress: Progress | None = None, *, dry_run: bool = False, by: Any = None, ip: str | None = None
) -> ErasureReport:
    """Erase the sessions of a user with all that hangs on them, logins, personal publications, and traces in the trail.

    ``by`` is the person who does it, at the address ``ip``. The account itself is the project's. Entries of the audit
    trail stay, without person, address and facts: that something was done, and when, concerns others too. Raises
    ``IntegrityError`` if rows of the project protect a session.
    """
    run = _Erasure(user, progress or _ignore_progress)
    if dry_run:
        return run.count_rows()
    # Connections first, for they make new rows: whoever is still connected is sent away.
    run.erase_sessions()
    run.erase_logins()
    run.erase_publications()
    run.veil_entries()
    # Somebody who erases the own data leaves no trace either.
    actor = None if by is None or by.pk == user.pk else by
    audit.add_entry(audit.ERASE_USER, user=actor, ip=None if actor is None else ip, rows=run.report.as_dict())
    return run.report


def _ignore_progress(step: str, rows: int) -> None:
    """Do nothing: nobody watches."""


class _Erasure:
    def __init__(self, user: Any, progress: Progress) -> None:
        self.report = ErasureReport()
        self._user, self._progress, self._using = user, progress, settings().database
        self._gone: list[uuid.UUID] = []

    def count_rows(self) -> ErasureReport:
        """Count the rows that would be erased."""
        self._gone = list(self._find_sessions().values_list("pk", flat=True))
        streams = [stream.pk for stream in personal.find_streams(self._using, self._user)]
        publications = Publication.objects.using(self._using).filter(stream__in=streams).count()
        entries = self._find_entries(self._gone).count()
        return ErasureReport(len(self._gone), self._find_logins().count(), publications, entries)

    def erase_sessions(self) -> None:
        """Delete sessions, chunk by chunk, and the traces of each chunk in the audit trail with it."""
        self._work_off(self._erase_some_sessions)

    def _erase_some_sessions(self, limit: int) -> int:
        chunk = list(self._find_sessions().order_by("pk").values_list("pk", flat=True)[:limit])
        if chunk:
            with open_transaction(self._using):
                # In one transaction: a session that is gone could not be looked up by its entries again.
                self._veil(self._find_entries(chunk))
                deletion.delete_sessions(self._using, chunk)
                # It would be refused now, and kept for people to look at.
                personal.find_waiting(self._using, chunk).delete()
            self._count_rows("sessions", len(chunk))
        return len(chunk)

    def erase_logins(self) -> None:
        """Delete logins; a replayed cookie of an ended one finds no user to make a session for once that is deleted."""
        self._work_off(self._erase_some_logins)

    def _erase_some_logins(self, limit: int) -> int:
        chunk = list(self._find_logins().order_by("pk").values_list("pk", flat=True)[:limit])
        if chunk:
            Login.objects.using(self._using).filter(pk__in=chunk).delete()
            self._count_rows("logins", len(chunk))
        return len(chunk)

    def erase_publications(self) -> None:
        """Delete the logs of personal topics: who follows one again learns that its history is lost."""
        for stream in personal.find_streams(self._using, self._user):
            self._work_off(partial(self._erase_some_publications, stream.pk))
            self._count_rows("publications", self._erase_stream(stream))
        # Also those to topics that have no stream yet.
        personal.find_waiting_publications(self._using, self._user).delete()

    def _erase_some_publications(self, stream: int, limit: int) -> int:
        count = retention.cut_front(self._using, stream, limit=limit)
        if count:
            self._count_rows("publications", count)
        return count

    def _erase_stream(self, stream: Stream) -> int:
        """Delete a log, and return the number of publications that came since it was emptied."""
        with open_transaction(self._using):
            # Publishers of this topic wait, and then begin a new log.
            Stream.objects.using(self._using).select_for_update().filter(pk=stream.pk).first()
            count, _ = Publication.objects.using(self._using).filter(stream=stream.pk).delete()
            Stream.objects.using(self._using).filter(pk=stream.pk).delete()
            Outbox.objects.using(self._using).filter(kind=Outbox.Kind.PUBLISH, target=stream.topic).delete()
        return count

    def _work_off(self, chunk: Callable[[int], int]) -> None:
        pace, goes_on = make_pace(self._using, CHUNK), True
        while goes_on:
            _, goes_on = pace.run(chunk)

    def veil_entries(self) -> None:
        """Take person, address and facts out of the entries that the user has made."""
        self._veil(self._find_entries([]))

    def _veil(self, entries: Any) -> None:
        count = entries.update(actor=None, ip=None, data={"erased": True})
        if count:
            self._count_rows("audit", count)

    def _find_sessions(self) -> Any:
        return ClientSession.objects.using(self._using).filter(user=self._user.pk)

    def _find_logins(self) -> Any:
        return Login.objects.using(self._using).filter(user=self._user.pk)

    def _find_entries(self, sessions: list[uuid.UUID]) -> Any:
        return personal.find_entries(self._using, self._user, sessions).exclude(data__has_key="erased")

    def _count_rows(self, step: str, rows: int) -> None:
        setattr(self.report, step, getattr(self.report, step) + rows)
        self._progress(step, rows)
