"""Updates that gather before they are sent: nothing of them is lost, whatever happens while they wait."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.plain import Plain
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

# So long that within a test only what is under test can send an update.
PATIENT = '{"name":"delayed","sync":{"mode":"delayed","delay":600000,"maxDelay":600000}}'
QUICK = '{"name":"delayed","sync":{"mode":"delayed","delay":100,"maxDelay":300}}'
HIDE = """() => {
  Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def drag(plain: Plain, times: int = 50) -> None:
    """Change two places often. A function, for a page waits for the promise that a script's last line gives."""
    steps = "session.state.set('/slider', n); session.state.inc('/n');"
    plain.run(f"() => {{ for (let n = 1; n <= {times}; n += 1) {{ {steps} }} }}")


@pytest.fixture
def patient(context: BrowserContext, demo: Demo) -> Plain:
    plain = Plain.enter(context, demo, PATIENT)
    plain.until("session.status === 'connected'")
    drag(plain)
    assert plain.run("[session.pending, session.stats().receipts]") == [1, 0]
    assert plain.on_the_server() == {}
    return plain


def test_a_hundred_updates_arrive_as_one_version_when_the_delay_has_passed(context: BrowserContext, demo: Demo) -> None:
    plain = Plain.enter(context, demo, QUICK)
    plain.until("session.status === 'connected'")
    drag(plain)
    plain.is_settled()
    assert plain.on_the_server() == {"slider": 50, "n": 50}
    assert plain.run("[session.state.version, session.stats().receipts]") == [1, 1]


def test_a_page_that_is_hidden_sends_what_waits(patient: Plain) -> None:
    patient.run(HIDE)
    patient.is_settled()
    assert patient.on_the_server() == {"slider": 50, "n": 50}


def test_a_page_that_is_left_loses_nothing_of_what_waits(patient: Plain) -> None:
    patient.reload()
    patient.is_settled()
    assert patient.run("session.state.get()") == patient.on_the_server() == {"slider": 50, "n": 50}


def test_a_closed_tab_has_sent_what_waited(patient: Plain, context: BrowserContext, demo: Demo) -> None:
    other = Plain.enter(context, demo, PATIENT)
    other.until("session.status === 'connected'")
    patient.page.close(run_before_unload=True)
    other.until("session.state.get('/n') === 50")
    assert other.on_the_server() == {"slider": 50, "n": 50}


def test_a_server_that_is_killed_while_updates_wait_gets_them_once(patient: Plain) -> None:
    patient.control("kill")
    drag(patient)
    patient.until("session.status === 'connected' && session.stats().connections > 1")
    patient.run("session.flush()")
    patient.is_settled()
    assert patient.run("session.state.get()") == patient.on_the_server() == {"slider": 50, "n": 100}


def test_what_the_server_has_answered_is_there_though_it_is_killed_at_once(patient: Plain) -> None:
    patient.run("session.flush()")
    patient.until("session.pending === 0")
    patient.control("kill")
    patient.until("session.status === 'connected' && session.stats().connections > 1")
    assert patient.on_the_server() == {"slider": 50, "n": 50}


def test_what_waits_without_a_network_survives_a_reload_and_arrives_once(patient: Plain) -> None:
    patient.control("cut")
    patient.run("session.flush()")
    drag(patient)
    patient.reload()
    assert patient.run("session.state.get()") == {"slider": 50, "n": 100}
    patient.control("mend")
    patient.is_settled()
    assert patient.run("session.state.get()") == patient.on_the_server() == {"slider": 50, "n": 100}
