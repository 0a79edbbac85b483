"""What somebody who can write to the database does by hand, and how it is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import QuerySet

from session_mgmt.actions.keys import verification
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import AuditEntry, StateConflict, StateRevision
from tests.actions.conftest import SECRET, Case


def flip(body: Any) -> bytes:
    return bytes(body)[:-1] + bytes([bytes(body)[-1] ^ 1])


def change(rows: QuerySet[Any], column: str, value: Callable[[Any], Any]) -> None:
    for row in rows:
        rows.model.objects.filter(pk=row.pk).update(**{column: value(row)})


def revisions(case: Case, *versions: int) -> QuerySet[StateRevision]:
    found = StateRevision.objects.filter(document=case.desk.row)
    return found.filter(version__in=versions) if versions else found


def records(case: Case) -> QuerySet[StateConflict]:
    return StateConflict.objects.filter(document=case.desk.row)


def problems(case: Case) -> set[str]:
    found = [*verification.verify_document(case.desk.row.pk), *verification.verify_loose_rows()]
    return {finding.row for finding in found if finding.problem == "unreadable"}


def assert_refused(case: Case, read: Callable[[], Any]) -> None:
    with pytest.raises(StateUnreadable):
        read()
    entry = AuditEntry.objects.get(action="state_unreadable", session=case.desk.session.pk)
    assert entry.data["document"] == "main" and SECRET not in str(entry.data)
