"""Labels, compaction and the check of stored rows, each with its right and its trace."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from session_mgmt.actions.keys import verification
from session_mgmt.actions.state.stored_rows import HEAVY_BYTES
from session_mgmt.models import AuditEntry, StateRevision
from session_mgmt.shortcuts import state
from tests.admin.conftest import SEEING, Paper, deeds, staff, told

pytestmark = pytest.mark.usefixtures("on_this_thread")


def act(http: Client, paper: Paper, do: str, **form: str) -> str:
    (text,) = told(http.post(paper.at("act"), {"do": do, **form}, follow=True))
    return text


def labels(paper: Paper) -> list[str]:
    return [str(label) for label in paper.row.snapshots.exclude(label=None).values_list("label", flat=True)]


def test_a_version_is_kept_under_a_label_and_given_up(operator: Client, paper: Paper) -> None:
    assert act(operator, paper, "persist", label="before the sale") == "Version 2 is kept as before the sale."
    assert labels(paper) == ["before the sale"]
    assert act(operator, paper, "persist", label="") == "Version 2 is kept as v2."
    assert act(operator, paper, "forget", label="before the sale") == "The label was given up."
    assert act(operator, paper, "forget", label="before the sale") == "There is no such label."
    assert labels(paper) == ["v2"]
    done = AuditEntry.objects.filter(action__in=["persist_state", "forget_state"]).order_by("id")
    assert [entry.data["label"] for entry in done] == ["before the sale", "v2", "before the sale"]


@pytest.mark.parametrize("label", ["x" * 101, "a\u0007b", "taken"])
def test_a_label_that_cannot_be_given_is_refused_with_its_reason(operator: Client, paper: Paper, label: str) -> None:
    state.persist(paper.session, "taken")
    paper.put({"n": 1})
    assert act(operator, paper, "persist", label=label).endswith(("(invalid_field)", "(conflict)"))
    assert labels(paper) == ["taken"]
    assert "persist_state" not in deeds()


def test_compacting_now_keeps_a_snapshot_of_the_head(operator: Client, paper: Paper, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4}
    for number in range(8):
        paper.put({"n": number})
    assert act(operator, paper, "compact").startswith("Compacted. ")
    assert paper.row.snapshot_version == paper.row.version and paper.row.oldest_revision > 1
    assert AuditEntry.objects.get(action="compact_state").data["revisions"] == paper.row.oldest_revision - 1


def test_a_sound_document_is_found_in_order(operator: Client, paper: Paper) -> None:
    html = operator.post(paper.at("verify")).content.decode()
    assert "in order" in html and "2 versions of the log" in html
    assert AuditEntry.objects.get().data == {"document": "main", "findings": 0}


@pytest.mark.parametrize("later", [{"n": 1}, {"text": None}], ids=["still large", "small by now"])
def test_a_large_document_is_not_checked_beside_other_peoples_requests(
    operator: Client, paper: Paper, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper.put({"text": [uuid4().hex for _ in range(HEAVY_BYTES // 10)]})
    state.persist(paper.session)
    paper.put(later)
    state.compress(paper.session)
    monkeypatch.setattr(verification, "verify_document", None)
    (text,) = told(operator.post(paper.at("verify"), follow=True))
    assert f"verify_state --document {paper.row.pk}" in text
    assert deeds() == ["read_state"]


def test_each_bad_row_is_told(operator: Client, paper: Paper) -> None:
    for number in range(3):
        paper.put({"n": number})
    StateRevision.objects.filter(version=4).update(chain=bytes(32))
    StateRevision.objects.filter(version=2).delete()
    answer = operator.post(paper.at("verify"))
    rows = [(found.row, found.version, found.problem) for found in answer.context["findings"]]
    assert ("revision", 2, "gap") in rows and ("revision", 4, "bad_chain") in rows
    html = answer.content.decode()
    assert "in order" not in html and "missing up to 2" in html


@pytest.mark.parametrize("rights", [SEEING, (*SEEING, "restore_statedocument", "change_statedocument")])
def test_upkeep_needs_its_own_right(paper: Paper, rights: tuple[str, ...]) -> None:
    http = staff(*rights)
    for do in ("persist", "forget", "compact"):
        assert http.post(paper.at("act"), {"do": do, "label": "x"}).status_code == 403
    assert http.post(paper.at("verify")).status_code == 403
    assert deeds() == [] and labels(paper) == []


@pytest.mark.parametrize("do", ["", "nothing", "clear"])
def test_only_what_the_page_offers_is_done(operator: Client, paper: Paper, do: str) -> None:
    assert operator.post(paper.at("act"), {"do": do}).status_code == 403
    assert operator.get(paper.at("act"), {"do": "compact"}).status_code == 403
    assert operator.get(paper.at("verify")).status_code == 403
