"""People see their devices and end them; a device that was ended does not come back by the cookie that it still has."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from session_mgmt.actions import agents, audit
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.models import AuditEntry, ClientSession
from session_mgmt.signals import new_device
from tests.api.calls import Caller, caller, refused
from tests.identity.browser import Browser
from tests.identity.conftest import alice, bob, later, peers

__all__ = ["alice", "bob", "peers"]

pytestmark = pytest.mark.django_db(transaction=True)

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
PHONE = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36"
NEWER = PHONE.replace("126.0", "127.0")
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/17.5 Safari/605.1.15"
PAGE = "/account/devices/"
ALLOWED = {"session_id", "label", "browser", "system", "place", "connection_state", "is_current"}
ALLOWED |= {"first_seen", "last_seen"}


def find_town(session: ClientSession) -> str:
    return f"Leiden ({session.ip})"


def find_nothing(session: ClientSession) -> str:
    raise LookupError(session.ip)


def open_browser(name: str, agent: str = LAPTOP, address: str = "192.0.2.1") -> Browser:
    browser = Browser()
    browser.http = Client(headers={"User-Agent": agent}, REMOTE_ADDR=address)
    browser.log_in(name)
    assert browser.enter()["verdict"] == "created"
    return browser


def devices_of(browser: Browser) -> list[dict[str, Any]]:
    return list(Caller(browser.http).get("devices/").json()["results"])


def make_stale(browser: Browser) -> None:
    """Move the login of a browser an hour back."""
    session = browser.http.session
    session["_session_mgmt"] = {**session["_session_mgmt"], "at": (later(hours=-1)).timestamp()}
    session.save()


@pytest.mark.parametrize("has_parser", [True, False])
@pytest.mark.parametrize(
    ("text", "browser", "system"),
    [
        (LAPTOP, "Firefox", "Linux"),
        (MAC, "Safari", "Mac OS X"),
        (PHONE, "Chrome", "Android"),
        ("", "", ""),
        ("curl/8.9.1", "", ""),
        ("\x00" * 400, "", ""),
    ],
)
def test_a_browser_has_its_name_with_and_without_the_library(
    text: str, browser: str, system: str, has_parser: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_parser:
        pytest.importorskip("ua_parser")
    else:
        monkeypatch.setattr(agents, "parser", None)
    agents.name_agent.cache_clear()
    found = agents.name_agent(text)
    agents.name_agent.cache_clear()
    # The library names programs as well, and a browser of a phone by its own name.
    assert (found.browser.removesuffix(" Mobile") if browser else "", found.system) == (browser, system)


@pytest.mark.requirement("ASVS 7.5.2")
def test_people_see_their_own_devices_and_nothing_secret(settings: Any) -> None:
    settings.SESSION_MGMT = {"place_of": "tests.identity.test_device_list.find_town"}
    phone, laptop = open_browser("alice", PHONE, "192.0.2.7"), open_browser("alice")
    open_browser("bob")
    listed = devices_of(laptop)
    assert [device["session_id"] for device in listed] == [laptop.kept["session"], phone.kept["session"]]
    assert [device["is_current"] for device in listed] == [True, False]
    assert [device["place"] for device in listed] == ["Leiden (192.0.2.1)", "Leiden (192.0.2.7)"]
    assert set(listed[0]) == ALLOWED
    text = str(listed)
    for browser in (phone, laptop):
        assert browser.kept["token"] not in text


def test_a_session_token_sees_the_same_and_nobody_sees_nothing(settings: Any) -> None:
    settings.SESSION_MGMT = {"anonymous_sessions": True}
    laptop = open_browser("alice")
    mine = caller(lifecycle.create_session(user=laptop.row().user))
    listed = mine.get("devices/").json()["results"]
    assert [(device["session_id"], device["is_current"]) for device in listed] == [
        (mine.session, True),
        (laptop.kept["session"], False),
    ]
    assert Caller(Client()).get("devices/").status_code == 401
    visitor = caller(lifecycle.create_session())
    # Nobody's sessions have no sisters: there is nothing to see, whether or not they may look.
    assert visitor.get("devices/").json().get("results", []) == []


def test_a_place_that_fails_is_no_place(settings: Any) -> None:
    settings.SESSION_MGMT = {"place_of": "tests.identity.test_device_list.find_nothing"}
    assert devices_of(open_browser("alice"))[0]["place"] == ""


def test_s18_a_device_that_is_ended_does_not_come_back_by_its_cookie() -> None:
    laptop, phone = open_browser("alice"), open_browser("alice", PHONE)
    answer = Caller(laptop.http).delete(f"devices/{phone.kept['session']}/", X_CSRFToken="")
    assert answer.status_code == 204
    assert phone.row().end_reason == "device_ended"
    assert phone.enter()["name"] == "login_ended"
    assert laptop.enter()["verdict"] == "continued"
    entry = AuditEntry.objects.get(action=audit.END_DEVICE)
    assert (str(entry.session), entry.actor.get_username(), entry.ip) == (phone.kept["session"], "alice", "192.0.2.1")


def test_all_others_end_also_those_that_have_no_session_now() -> None:
    laptop, phone, tablet = open_browser("alice"), open_browser("alice", PHONE), open_browser("alice", MAC)
    other = open_browser("bob")
    lifecycle.terminate_session(lifecycle.access.SERVER, uuid.UUID(tablet.kept["session"]))
    answer = Caller(laptop.http).delete("devices/")
    assert answer.json() == {"ended": 1}
    assert phone.enter()["name"] == "login_ended"
    assert tablet.enter()["name"] == "login_ended"
    assert laptop.enter()["verdict"] == "continued"
    assert other.enter()["verdict"] == "continued"


@pytest.mark.requirement("ASVS 8.2.2")
def test_nobody_ends_a_device_of_somebody_else() -> None:
    mine, theirs = open_browser("alice"), open_browser("bob")
    asked = [theirs.kept["session"], str(uuid.uuid4()), "nonsense"]
    answers = [Caller(mine.http).delete(f"devices/{key}/") for key in asked]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert theirs.row().state == ClientSession.State.ACTIVE


@pytest.mark.requirement("ASVS 7.5.3")
def test_s42_ending_needs_a_recent_login_by_cookie_and_by_token() -> None:
    laptop, phone = open_browser("alice"), open_browser("alice", PHONE)
    mine = caller(lifecycle.create_session(user=laptop.row().user, auth_time=later(minutes=-16)))
    make_stale(laptop)
    for client in (mine, Caller(laptop.http)):
        for path in (f"devices/{phone.kept['session']}/", "devices/"):
            assert refused(client.delete(path), "reauth_required", 401)
    assert phone.row().state == ClientSession.State.ACTIVE
    laptop.log_in("alice")
    assert Caller(laptop.http).delete(f"devices/{phone.kept['session']}/").status_code == 204


# -- the page ----------------------------------------------------------------------------------------------------------


def post_form(browser: Browser, end: str) -> Any:
    """Send the page's form; its CSRF cookie has the token, also when no device is left to end."""
    browser.http.get(PAGE)
    return browser.http.post(PAGE, {"end": end}, follow=True)


def test_the_page_needs_a_login_and_says_where_to_get_one() -> None:
    answer = Client().get(PAGE)
    assert (answer.status_code, answer.url) == (302, f"/accounts/login/?next={PAGE}")


def test_the_page_ends_a_device_by_a_form() -> None:
    laptop, phone = open_browser("alice"), open_browser("alice", PHONE)
    answer = laptop.http.get(PAGE)
    page = answer.content.decode()
    assert page.count("<li class=") == 2 and "This device" in page and "Firefox on Linux" in page
    assert "<script" not in page and laptop.kept["token"] not in page
    assert answer.headers["Cache-Control"].count("no-store") == 1
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    told = post_form(laptop, phone.kept["session"]).content.decode()
    assert "The device was logged out." in told
    assert phone.enter()["name"] == "login_ended"
    assert "was logged out before" in post_form(laptop, phone.kept["session"]).content.decode()


def test_the_page_ends_all_others() -> None:
    laptop, phone, tablet = open_browser("alice"), open_browser("alice", PHONE), open_browser("alice", MAC)
    assert "2 other devices were logged out." in post_form(laptop, "others").content.decode()
    assert [browser.enter().get("name") for browser in (phone, tablet)] == ["login_ended"] * 2
    assert "Log out all other" not in laptop.http.get(PAGE).content.decode()


@pytest.mark.requirement("ASVS 3.5.1")
def test_the_page_changes_nothing_without_the_csrf_token_or_by_get_or_after_a_while() -> None:
    laptop, phone = open_browser("alice"), open_browser("alice", PHONE)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = laptop.http.cookies
    assert strict.post(PAGE, {"end": phone.kept["session"]}).status_code == 403
    laptop.http.get(PAGE, {"end": phone.kept["session"]})
    make_stale(laptop)
    answer = post_form(laptop, phone.kept["session"])
    assert answer.status_code == 403 and "Log in again" in answer.content.decode()
    assert phone.row().state == ClientSession.State.ACTIVE


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_a_label_is_only_text(label: str) -> None:
    laptop = open_browser("alice")
    ClientSession.objects.update(label=label)
    assert label not in laptop.http.get(PAGE).content.decode()


# -- new devices and changed ones --------------------------------------------------------------------------------------


@pytest.fixture
def noticed() -> Any:
    found: list[dict[str, Any]] = []

    def note(sender: Any, **facts: Any) -> None:
        found.append(facts)

    new_device.connect(note)
    yield found
    new_device.disconnect(note)


def test_a_new_device_is_told_once(noticed: list[dict[str, Any]], alice: Any) -> None:
    for agent in (LAPTOP, PHONE, NEWER, LAPTOP):
        lifecycle.create_session(user=alice, device=Device(user_agent=agent, ip="192.0.2.1"))
    lifecycle.create_session(device=Device(user_agent=MAC))
    assert [(facts["system"], facts["is_first"]) for facts in noticed] == [("Linux", True), ("Android", False)]
    assert noticed[0]["user_id"] == alice.pk and noticed[0]["ip"] == "192.0.2.1"


@pytest.mark.parametrize("policy", ["ignore", "audit", "reauth"])
@pytest.mark.requirement("OWASP sessions: anomalies")
def test_a_token_that_comes_from_another_browser(policy: str, settings: Any) -> None:
    settings.SESSION_MGMT = {"device_change": policy}
    laptop = open_browser("alice")
    thief = Browser()
    thief.http, thief.kept = Client(headers={"User-Agent": MAC}), laptop.kept
    answer = thief.refresh()
    changes = AuditEntry.objects.filter(action=audit.DEVICE_CHANGED)
    assert changes.count() == (policy != "ignore")
    if policy != "reauth":
        assert answer.status_code == 200
        return
    assert refused(answer, "login_check", 401)
    assert changes.get().data["parts"] == ["device"]
    # Nor does it go on by enter, and the browser that is logged in has lost nothing.
    assert thief.enter().get("name") == "auth_required"
    assert laptop.refresh().status_code == 200
    assert laptop.row().user_agent == LAPTOP


def test_an_update_of_the_browser_and_a_journey_are_no_change(settings: Any) -> None:
    settings.SESSION_MGMT = {"device_change": "reauth"}
    phone = open_browser("alice", PHONE)
    phone.http.defaults["REMOTE_ADDR"] = "198.51.100.9"
    phone.http.headers = {}
    phone.http.defaults["HTTP_USER_AGENT"] = NEWER
    assert phone.refresh().status_code == 200
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(("address", "count"), [("192.0.2.99", 0), ("198.51.100.9", 1), ("2001:db8::1", 1)])
def test_another_network_is_written_down_if_wanted(address: str, count: int, settings: Any) -> None:
    settings.SESSION_MGMT = {"address_change": "audit"}
    phone = open_browser("alice", PHONE)
    phone.http.defaults["REMOTE_ADDR"] = address
    for _ in range(2):
        answer = phone.refresh()
        assert answer.status_code == 200
        phone.kept = {**phone.kept, "token": answer.json()["refresh"]}
    assert AuditEntry.objects.filter(action=audit.DEVICE_CHANGED).count() == count
