"""Looking at documents: what is shown, in which pieces, to whom, and what of it leaves a trace."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import translation
from django.utils.formats import date_format
from django.utils.timezone import localtime

from session_mgmt.models import AuditEntry, StateDocument, StateSnapshot, clock
from session_mgmt.shortcuts import state, terminate_session
from tests.admin.conftest import SEEING, Paper, deeds, live_parts, queries, seen_on, staff, told

pytestmark = pytest.mark.usefixtures("on_this_thread")
LIST = "/admin/session_mgmt/statedocument/"
SESSIONS = "/admin/session_mgmt/clientsession/"
PAGES = ("change", "versions", "compare", "download")

HOSTILE = {
    "<script>alert(1)</script>": "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)': "</bdi></li></ul><svg/onload=alert(1)>",
    "{{ settings.SECRET_KEY }}": "{% debug %}",
    "constructor": {"prototype": {"x": 1}},
}


def html_of(http: Client, address: str, **query: Any) -> str:
    answer = http.get(address, query)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


# -- what is shown


def test_the_page_shows_content_and_the_facts_beside_it(operator: Client, paper: Paper) -> None:
    state.persist(paper.session, "before the sale")
    html = html_of(operator, paper.at())
    row = paper.row
    for text in ("coupon", "&quot;GOODBYE&quot;", "alice", row.epoch, "before the sale", "in 2 versions", "none yet"):
        assert text in html
    state.compress(paper.session)
    assert paper.row.checksum in html_of(operator, paper.at())


@pytest.mark.sqlite
def test_times_are_told_in_the_language_and_the_zone_of_the_site(operator: Client, paper: Paper, settings: Any) -> None:
    settings.LANGUAGE_CODE, settings.TIME_ZONE = "de", "Asia/Tokyo"
    with translation.override("de"):
        told = date_format(localtime(paper.row.last_modified), "j. F Y H:i:s")
    for address in (paper.at("versions"), paper.at("compare"), f"{SESSIONS}{paper.session.pk}/change/"):
        html = html_of(operator, address)
        assert told in html
        assert '<html lang="de"' in html


def test_the_list_leads_from_names_and_sessions_to_pages(operator: Client, paper: Paper) -> None:
    other = Paper(name="drafts")
    other.put({"x": 1})
    assert paper.at() in html_of(operator, LIST)
    for term in ("drafts", str(other.session.pk)):
        html = html_of(operator, LIST, q=term)
        assert other.at() in html and paper.at() not in html


def test_an_old_version_is_shown_as_it_was_and_says_so(operator: Client, paper: Paper) -> None:
    html = html_of(operator, paper.at(), version=1)
    assert "WELCOME" in html and "GOODBYE" not in html
    assert "Version 1 as it was" in html and "The newest is version 2" in html
    assert json.loads(operator.get(paper.at("download"), {"version": 1}).content)["cart"]["coupon"] == "WELCOME"


@pytest.mark.parametrize("query", [{"version": 9}, {"at": "7"}, {"at": "0.0.0.0"}, {"at": "x"}, {"at": "." * 99}])
def test_a_version_or_place_that_is_not_there_is_a_page_that_says_so(
    operator: Client, paper: Paper, query: dict[str, Any]
) -> None:
    answer = operator.get(paper.at(), query)
    assert answer.status_code == 404
    assert "not_found" in answer.content.decode()


@pytest.mark.parametrize("query", ["version=", "version=-1", "skip=x", "skip=999999", "open=1", "at=", "version=%00"])
def test_strange_queries_fail_nowhere(operator: Client, paper: Paper, query: str) -> None:
    assert operator.get(f"{paper.at()}?{query}").status_code == 200


@pytest.mark.parametrize("address", [f"{LIST}0/change/", f"{LIST}x/change/", f"{LIST}0/versions/", f"{LIST}x/find/"])
def test_a_document_that_is_not_there_is_a_404(operator: Client, address: str) -> None:
    answer = operator.get(address, follow=True)
    assert answer.status_code in (404, 200) and "Content" not in answer.content.decode()


# -- what is large


def test_of_a_wide_document_each_page_shows_a_part_and_leads_to_the_rest(operator: Client, paper: Paper) -> None:
    paper.put({"wide": {f"key-{number}": number for number in range(250)}})
    html = html_of(operator, paper.at())
    assert "key-99" in html and "key-100" not in html
    more = re.search(r'href="([^"]+)">… 150 more', html)
    assert more is not None
    html = html_of(operator, unescape(more[1]))
    assert "key-100" in html and "key-199" in html and "key-99<" not in html and "100 before" in html


def test_a_place_is_shown_with_the_way_to_it(operator: Client, paper: Paper) -> None:
    paper.put({"a": {"b": {"c": {"deep": "down"}}}})
    html = html_of(operator, paper.at(), at="1.0.0")
    assert "down" in html and "GOODBYE" not in html
    assert [name for name in ("at=1&", 'at=1"', 'at=1.0"') if f"version=3&amp;{name}" in html]


def test_a_document_beyond_what_a_page_opens_is_folded_with_links(operator: Client, paper: Paper) -> None:
    paper.put({"deep": [[list(range(50)) for _ in range(50)] for _ in range(50)]})
    html = html_of(operator, paper.at())
    assert "look inside" in html
    assert len(html) < 400_000


def test_a_document_of_megabytes_is_shown_from_its_top(operator: Client, paper: Paper) -> None:
    paper.put({"rows": [{"number": number, "text": "x" * 100} for number in range(20_000)], "last": "the end"})
    html = html_of(operator, paper.at())
    assert "[20000]" in html and "the end" in html and "2.4 MB of JSON" in html
    assert len(html) < 400_000
    assert operator.get(paper.at("download")).json()["last"] == "the end"


def test_a_string_of_a_megabyte_is_cut_and_can_be_looked_at_alone(operator: Client, paper: Paper) -> None:
    paper.put({"long": "é" * 500_000})
    html = html_of(operator, paper.at())
    assert "é" * 300 in html and "é" * 301 not in html and "cut, 500,000 characters" in html
    link = re.search(r'href="([^"]+)">cut, 500,000', html)
    assert link is not None
    assert "é" * 60_000 in html_of(operator, unescape(link[1]))


# -- what is hostile


@pytest.mark.parametrize("page", ["change", "versions", "compare", "found"])
def test_hostile_content_is_text_on_every_page(operator: Client, page: str) -> None:
    paper = Paper(name="<b onclick=alert(1)>")
    paper.put({"title": "plain"})
    paper.put(HOSTILE)
    paper.put(dict.fromkeys(HOSTILE, "<script>alert(2)</script>"))
    answer = operator.post(paper.at("find"), {"text": "alert"}) if page == "found" else operator.get(paper.at(page))
    html = answer.content.decode()
    assert "alert(1)" in html
    assert live_parts(html) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abc\u202etxt.exe", "\\u202e"), ("in\u200bvisible", "\\u200b"), ("\u2066x", "\\u2066"), ("مرحبا", "مرحبا")],
)
def test_what_deceives_the_eye_is_written_out_and_scripts_are_left_alone(
    operator: Client, paper: Paper, text: str, shown: str
) -> None:
    paper.put({text: text})
    html = html_of(operator, paper.at())
    assert html.count(shown) >= 2
    assert (text in html) is (shown == text)


def test_pages_hold_no_inline_script_style_or_foreign_address(operator: Client, paper: Paper) -> None:
    for page in ("change", "versions", "compare"):
        assert live_parts(html_of(operator, paper.at(page))) == []


def test_no_address_holds_content(operator: Client, paper: Paper) -> None:
    paper.put({"diagnosis": {"finding": [["x" * 400] * 3] * 200}})
    found = operator.post(paper.at("find"), {"text": "finding"}).content.decode()
    for html in (found, *(html_of(operator, paper.at(page)) for page in ("change", "versions", "compare"))):
        addresses = re.findall(r'(?:href|action)="([^"]*)"', html)
        assert addresses and not [address for address in addresses if "diagnosis" in address or "finding" in address]


# -- finding


def test_finding_tells_where_a_text_stands_in_keys_and_values(operator: Client, paper: Paper) -> None:
    html = operator.post(paper.at("find"), {"text": "goodbye"}).content.decode()
    assert "/cart/coupon" in html
    assert "/cart/items" in operator.post(paper.at("find"), {"text": "ITEMS"}).content.decode()
    assert "WELCOME" in operator.post(paper.at("find"), {"text": "welcome", "version": 1}).content.decode()
    assert "Nothing." in operator.post(paper.at("find"), {"text": "nowhere"}).content.decode()
    assert operator.post(paper.at("find"), {"text": ""}).status_code == 200


def test_what_is_searched_for_is_sent_in_no_address(operator: Client, paper: Paper) -> None:
    assert operator.get(paper.at("find"), {"text": "GOODBYE"}).status_code == 403


# -- rights and traces


@pytest.mark.parametrize("rights", [(), SEEING[:1], SEEING[1:], ("view_clientsession", "view_stateconflict")])
@pytest.mark.parametrize("page", PAGES)
def test_content_needs_both_rights(paper: Paper, rights: tuple[str, ...], page: str) -> None:
    assert staff(*rights).get(paper.at(page)).status_code == 403
    assert staff(*rights).get(LIST).status_code == 403
    assert staff(*rights).post(paper.at("find"), {"text": "x"}).status_code == 403
    assert deeds() == []


def test_those_who_may_look_are_offered_nothing_else(paper: Paper) -> None:
    http = staff(*SEEING)
    state.persist(paper.session, "kept")
    html = "".join(html_of(http, paper.at(page)) for page in ("change", "compare"))
    for word in ("Forget", "Compact", "Verify", "Restore"):
        assert word not in html


@pytest.mark.parametrize("page", PAGES)
def test_nobody_looks_without_a_trace(paper: Paper, page: str) -> None:
    staff(*SEEING).get(paper.at(page))
    entry = AuditEntry.objects.get()
    assert entry.session == paper.session.pk and entry.actor is not None and entry.ip == "127.0.0.1"
    assert entry.data["document"] == "main"
    assert "GOODBYE" not in json.dumps(entry.data) and "coupon" not in json.dumps(entry.data)


def test_nobody_searches_without_a_trace(paper: Paper) -> None:
    staff(*SEEING).post(paper.at("find"), {"text": "GOODBYE"})
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.session, entry.data["document"]) == ("read_state", paper.session.pk, "main")
    assert "GOODBYE" not in json.dumps(entry.data)


def test_pages_with_content_are_kept_by_nobody(operator: Client, paper: Paper) -> None:
    for page in PAGES:
        assert "no-store" in operator.get(paper.at(page))["Cache-Control"]


@pytest.mark.parametrize("page", ["find", "act", "verify", "restore"])
def test_without_a_token_against_forgery_nothing_is_done(operator: Client, paper: Paper, page: str) -> None:
    operator.handler.enforce_csrf_checks = True
    answer = operator.post(paper.at(page), {"do": "compact", "text": "x", "to": "1"})
    assert answer.status_code == 403
    assert deeds() == [] and paper.row.version == 2


def test_nothing_can_be_changed_as_a_row(operator: Client, paper: Paper) -> None:
    operator.post(paper.at(), {"version": 7, "name": "other"})
    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(paper.at("delete"), {"post": "yes"}).status_code == 403
    assert (paper.row.version, paper.row.name) == (2, "main")


# -- what cannot be read


@pytest.fixture
def locked(settings: Any) -> Paper:
    """An encrypted document whose key is lost."""
    settings.SESSION_MGMT = {"STATE_KEYS": [("old", b64encode(b"o" * 32).decode())], "ENCRYPT_STATE": True}
    paper = Paper()
    paper.put({"diagnosis": "telling"})
    state.persist(paper.session, "kept")
    paper.put({"more": 1})
    settings.SESSION_MGMT = {"STATE_KEYS": [("new", b64encode(b"n" * 32).decode())], "ENCRYPT_STATE": True}
    return paper


@pytest.mark.parametrize("page", PAGES)
def test_a_lost_key_is_a_page_that_says_what_to_do(operator: Client, locked: Paper, page: str) -> None:
    html = html_of(operator, locked.at(page))
    assert "state_unreadable" in html and "state_keys" in html and "telling" not in html


def test_with_a_lost_key_the_facts_are_there_and_nothing_is_written(operator: Client, locked: Paper) -> None:
    html = html_of(operator, locked.at())
    assert "yes, under key old" in html and locked.row.epoch in html
    assert "state_unreadable" in operator.post(locked.at("find"), {"text": "x"}).content.decode()
    for do in ("persist", "compact"):
        assert "state_unreadable" in told(operator.post(locked.at("act"), {"do": do}, follow=True))[0]
    assert "unreadable" in operator.post(locked.at("verify")).content.decode()
    assert locked.row.version == 2


def test_a_damaged_body_is_named_and_breaks_no_page(operator: Client, paper: Paper) -> None:
    at = clock.read("default")
    StateSnapshot.objects.create(document=paper.row, version=2, body=b"{}", digest=b"wrong", created_at=at)
    assert "state_unreadable" in html_of(operator, paper.at())
    assert "state_unreadable" in html_of(operator, paper.at("compare"))
    assert "GOODBYE" not in html_of(operator, paper.at())


def test_documents_of_ended_sessions_are_read_and_not_restored(operator: Client, paper: Paper) -> None:
    terminate_session(paper.session)
    assert "GOODBYE" in html_of(operator, paper.at())
    html = html_of(operator, paper.at("compare"))
    answer = operator.post(paper.at("restore"), {"to": 1, "seen": seen_on(html)}, follow=True)
    assert "session_terminated" in told(answer)[0]
    assert paper.row.version == 2


# -- what it costs


def test_pages_cost_the_same_for_few_and_many(operator: Client, alice: Any) -> None:
    small, large = Paper(alice), Paper(alice)
    for number in range(2):
        small.put({"n": number})
    for number in range(60):
        large.put({f"key-{number}": {"n": [number] * 10}})
    for label in "abc":
        large.put({"label": label})
        state.persist(large.session, label)
    for number in range(3):
        large.put({"n": number})
    operator.get(small.at())
    for page in ("change", "versions", "compare"):
        few, many = (queries(lambda paper=paper: operator.get(paper.at(page))) for paper in (small, large))  # noqa: B023
        assert few == many <= 16, page
    before = queries(lambda: operator.get(LIST))
    for _ in range(5):
        Paper(alice).put({"x": 1})
    assert queries(lambda: operator.get(LIST)) == before
    assert StateDocument.objects.count() == 7
