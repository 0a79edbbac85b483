"""One user in two tenants: what a page of one of them lists and ends is of that tenant alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model

from session_mgmt.actions.access import SEE, SERVER, Actor
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.webhooks import endpoints
from session_mgmt.exceptions import SessionNotFound
from session_mgmt.models import AuditEntry, ClientSession, WebhookDelivery, clock
from session_mgmt.registry import topic
from session_mgmt.shortcuts import create_session, state
from tests.api.calls import Caller, refused
from tests.identity.browser import Browser
from tests.identity.conftest import alice, bob, peers, rooms

__all__ = ["alice", "bob", "peers", "rooms"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread", "tenants")]
PAGE = "/account/devices/"
ADMIN = "/admin/session_mgmt/"


@pytest.fixture
def tenants(settings: Any) -> None:
    settings.SESSION_MGMT = {"tenant_of": "tests.identity.test_adapters.tenant_of"}


def open_browser(tenant: str, name: str = "carol") -> Browser:
    browser = Browser()
    browser.http.defaults["HTTP_X_TENANT"] = tenant
    browser.log_in(name)
    assert browser.enter()["verdict"] == "created"
    return browser


@pytest.fixture
def both(db: None) -> tuple[Browser, Browser]:
    """Browsers of one user, each in a tenant."""
    return open_browser("acme"), open_browser("zeta")


def is_active(browser: Browser) -> bool:
    return bool(browser.row().state == ClientSession.State.ACTIVE)


@pytest.mark.requirement("ASVS 8.4.1")
def test_devices_are_listed_and_ended_inside_a_tenant(both: tuple[Browser, Browser]) -> None:
    here, there = both
    page = Caller(here.http)
    assert [one["session_id"] for one in page.get("devices/").json()["results"]] == [here.kept["session"]]
    assert refused(page.delete(f"devices/{there.kept['session']}/"), "session_not_found", 404)
    assert is_active(there)


def test_the_page_of_devices_stays_inside_a_tenant(both: tuple[Browser, Browser]) -> None:
    here, there = both
    page = here.http.get(PAGE).content.decode()
    assert page.count("<li class=") == 1 and there.kept["session"] not in page
    told = here.http.post(PAGE, {"end": there.kept["session"]}, follow=True).content.decode()
    assert "was logged out before" in told
    assert is_active(there)


@pytest.mark.parametrize("by", ["call", "page"])
def test_all_other_devices_are_those_of_the_tenant(both: tuple[Browser, Browser], by: str) -> None:
    here, there = both
    sister, idle, gone = open_browser("acme"), open_browser("acme"), open_browser("zeta")
    for browser in (idle, gone):
        lifecycle.terminate_session(SERVER, browser.row().pk)
    if by == "call":
        assert Caller(here.http).delete("devices/").json() == {"ended": 1}
    else:
        here.http.post(PAGE, {"end": "others"})
    assert [is_active(browser) for browser in (here, sister, there)] == [True, False, True]
    assert [browser.enter()["name"] for browser in (sister, idle)] == ["login_ended"] * 2
    # Its login has sessions of the other tenant only, also where they have ended.
    assert [browser.enter()["verdict"] for browser in (there, gone)] == ["continued", "created"]


def test_a_list_of_one_user_is_the_tenants_and_for_those_who_may_see_it(alice: Any, bob: Any) -> None:
    mine, other = (create_session(user=alice, tenant=name).session.pk for name in ("acme", "zeta"))

    def list_keys(actor: Actor, **more: Any) -> list[Any]:
        return list(lifecycle.list_active(actor, user=alice, **more).values_list("pk", flat=True))

    staff = Actor(user_id=bob.pk, permissions=frozenset([SEE]), tenant="acme")
    assert list_keys(staff) == [mine]
    assert list_keys(staff, before=mine) == []
    with pytest.raises(SessionNotFound):
        list_keys(staff, before=other)
    assert list_keys(Actor(user_id=alice.pk, tenant="zeta")) == [other]
    assert list_keys(Actor(user_id=bob.pk, tenant="acme")) == list_keys(Actor()) == []
    assert list_keys(SERVER) == [other, mine]


@pytest.mark.requirement("ASVS 8.4.1")
def test_lists_of_the_admin_hold_rows_of_the_tenant_only(db: None) -> None:
    browser = open_browser("acme", "root")
    root = get_user_model().objects.get(username="root")
    mine, other = (create_session(user=root, tenant=name).session for name in ("acme", "zeta"))
    for session in (mine, other):
        state.update(session, {"cart": 1})
        AuditEntry.objects.create(action="read_state", session=session.pk, data={}, at=clock.read("default"))
    for model in ("clientsession", "statedocument", "auditentry"):
        page = browser.http.get(f"{ADMIN}{model}/").content.decode()
        assert (str(mine.pk)[-12:] in page, str(other.pk)[-12:] in page) == (True, False), model
        # A superuser who looks for the other one finds nothing either.
        for key, count in ((mine.pk, 1), (other.pk, 0)):
            page = browser.http.get(f"{ADMIN}{model}/?q={key}").content.decode()
            assert page.count('id="result_list"') == count, model
    chosen = {"action": "terminate_selected", "confirmed": "yes", "_selected_action": [str(other.pk)]}
    browser.http.post(f"{ADMIN}clientsession/", chosen)
    other.refresh_from_db()
    assert other.state == ClientSession.State.ACTIVE


def list_models() -> list[Any]:
    return [model for model in admin.site._registry if model._meta.app_label == "session_mgmt"]


@pytest.mark.requirement("ASVS 8.4.1")
@pytest.mark.parametrize("model", list_models(), ids=lambda model: model._meta.model_name)
def test_no_part_of_a_list_in_the_admin_names_another_tenant(model: Any, settings: Any) -> None:
    """Filters, searches and headings are parts of the page too."""
    settings.SESSION_MGMT = {**settings.SESSION_MGMT, "webhooks": True}
    browser = open_browser("acme", "root")
    # Two, because a filter with one choice is not shown.
    made = [endpoints.add_endpoint(f"https://{name}.zeta.example/", tenant="zeta") for name in ("a", "b")]
    session = create_session(tenant="zeta").session
    ClientSession.objects.filter(pk=session.pk).update(label="a tablet of zeta")
    assert WebhookDelivery.objects.filter(endpoint=made[0].endpoint).exists()
    page = browser.http.get(f"{ADMIN}{model._meta.model_name}/")
    assert page.status_code == 200
    assert "zeta" not in page.content.decode()


def test_figures_and_the_cleanup_of_all_are_for_people_without_a_tenant(db: None) -> None:
    browser = open_browser("acme", "root")
    assert "sm-figures" not in browser.http.get(f"{ADMIN}clientsession/").content.decode()
    assert browser.http.post(f"{ADMIN}clientsession/clean/").status_code == 403
    assert Caller(browser.http).get("health/").json() == {"status": "ok"}
    del browser.http.defaults["HTTP_X_TENANT"]
    assert "sm-figures" in browser.http.get(f"{ADMIN}clientsession/").content.decode()
    assert browser.http.post(f"{ADMIN}clientsession/clean/").status_code == 302
    assert "sessions" in Caller(browser.http).get("health/").json()


@pytest.mark.usefixtures("rooms")
def test_staff_publish_to_topics_of_their_own_tenant(db: None) -> None:
    topic("{tenant:slug}:orders", publish=True)(lambda session, tenant: True)
    staff = Caller(open_browser("acme", "root").http)
    assert staff.post("topics/acme:orders/publications/", {"data": 1}).status_code == 201
    assert refused(staff.post("topics/zeta:orders/publications/", {"data": 1}), "publish_denied", 403)
