"""Every command ends with a line and a code: stopped by a signal, with nobody to read it, with JSON for programs."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import load_command_class
from django.core.management.base import CommandError
from django.db import OperationalError, connections

from session_mgmt.actions import cleanup
from session_mgmt.actions.keys import rotation
from session_mgmt.actions.privacy import erasure
from session_mgmt.actions.sessions import devices, lifecycle
from session_mgmt.actions.webhooks import endpoints, sending
from session_mgmt.management import stopping
from session_mgmt.management.base import CLOSED_PIPE
from session_mgmt.management.stopping import Stopped
from session_mgmt.models import AuditEntry, ClientSession, WebhookEndpoint
from tests.commands.test_commands import due
from tests.docs.tables import COMMANDS

pytestmark = pytest.mark.sqlite
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Arguments with which each one begins its work.
ARGUMENTS: dict[str, list[str]] = {
    "cleanup_sessions": [],
    "erase_user": ["ann"],
    "export_user": ["ann"],
    "rotate_state_keys": [],
    "serve": [],
    "session_stats": [],
    "session_types": [],
    "session_webhooks": ["list"],
    "terminate_session": ["--user", "ann"],
    "verify_state": [],
}
REPORTS = sorted(ARGUMENTS.keys() - {"serve", "session_types"})


@pytest.fixture(autouse=True)
def connections_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """``manage.py`` closes them when a command has ended."""
    monkeypatch.setattr(connections, "close_all", lambda: None)


@pytest.fixture(autouse=True)
def signals_arrive() -> Iterator[None]:
    """Whoever starts the tests in the background may have them ignore SIGINT, and commands leave it ignored then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def freezes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A command takes all that is loaded out of the garbage collector's sight; the objects of the tests stay in it."""
    made: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: made.append(True))
    return made


def run(command: Any, *given: str) -> tuple[int, str, str]:
    """Run a command as ``manage.py`` does; return its exit code, output and errors."""
    command.stdout._out, command.stderr._out = StringIO(), StringIO()
    code = 0
    try:
        command.run_from_argv(["manage.py", "command", *given, "--skip-checks"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, command.stdout._out.getvalue(), command.stderr._out.getvalue()


def load(name: str) -> Any:
    return load_command_class("session_mgmt", name)


@pytest.mark.parametrize("name", REPORTS)
def test_no_transaction_of_a_command_waits_while_the_collector_looks_at_all_that_is_loaded(
    name: str, freezes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = load(name)
    frozen_before: list[list[bool]] = []
    monkeypatch.setattr(command, "handle", lambda *_, **__: frozen_before.append(freezes[:]))
    run(command, *ARGUMENTS[name])
    assert frozen_before == [[True]]


def test_the_table_has_every_command() -> None:
    assert sorted(ARGUMENTS) == sorted(path.stem for path in COMMANDS.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_signal_ends_a_command_with_a_line_and_its_code(name: str, number: int) -> None:
    command = load(name)
    command.handle = lambda *args, **options: signal.raise_signal(number)
    code, out, told = run(command, *ARGUMENTS[name])
    assert (code, out) == (128 + number, "")
    assert told.startswith(f"Stopped by {signal.Signals(number).name}. ")
    assert told.count("\n") == 1
    assert "Run it again" in told
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = load("session_stats")
        command.handle = lambda *args, **options: signal.raise_signal(signal.SIGINT)
        assert run(command)[0] == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_nobody_has_to_read_the_output(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        command = load(name)
        command.handle = lambda *args, **options: print("a line")
        command.stderr._out = StringIO()
        with pytest.raises(SystemExit) as ended:
            command.run_from_argv(["manage.py", name, *ARGUMENTS[name], "--skip-checks"])
    assert ended.value.code == CLOSED_PIPE
    assert command.stderr._out.getvalue() == ""


@pytest.mark.usefixtures("on_this_thread")
def test_a_command_goes_on_when_nobody_reads_its_progress() -> None:
    class Closed(StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    due(3)
    command = load("cleanup_sessions")
    command.stderr._out = Closed()
    command.stdout._out = StringIO()
    command.run_from_argv(["manage.py", "cleanup_sessions", "--skip-checks"])
    assert "expired        3" in command.stdout._out.getvalue()


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    ("error", "code"), [(CommandError("Not so.", returncode=2), 2), (OperationalError("away"), 3), (Stopped(2), 130)]
)
def test_with_json_an_error_is_an_object_too(name: str, error: BaseException, code: int) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    command = load(name)
    command.handle = fail
    ended, out, told = run(command, *ARGUMENTS[name], "--json")
    assert (ended, json.loads(out)["error"] in told) == (code, True)


@pytest.mark.parametrize("name", REPORTS)
def test_with_json_an_argument_that_is_unknown_is_an_object_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    ended, out, _ = run(load(name), *ARGUMENTS[name], "--json", "--no-such-option")
    assert (ended, list(json.loads(out))) == (2, ["error"])
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.usefixtures("on_this_thread")
def test_an_error_after_the_report_makes_no_second_object() -> None:
    code, out, _ = run(load("terminate_session"), "00000000-0000-0000-0000-000000000000", "--json")
    assert (code, list(json.loads(out))) == (1, ["dry_run", "sessions"])


def test_a_cleanup_ends_at_once_where_nothing_may_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(cleanup.clock, "read", lambda using: None)
    monkeypatch.setattr(cleanup.expiry, "expire_due", fail)
    code, _, told = run(load("cleanup_sessions"))
    assert (code, told.count("\n"), caplog.records) == (3, 1, [])
    assert "The database refused: attempt to write a readonly database." in told


# -- arguments that cannot be meant ------------------------------------------------------------------------------------

WRONG: list[tuple[list[str], int, str]] = [
    (["verify_state", "--name", "cart"], 2, "There is no document 'cart'."),
    (["verify_state", "--name", "\udcff"], 2, "There is no document"),
    (["verify_state", "--document", str(10**30)], 2, "There is no document"),
    (["terminate_session", "--user", ""], 2, "Name sessions"),
    (["terminate_session", "--user", "ann", "--reason", "x" * 61], 2, "--reason must have at most 60 characters"),
    (["terminate_session", "--user", "ann", "--reason", "\udcff"], 2, "--reason must have at most 60 characters"),
    (["erase_user", "\udcff"], 1, "There is no user"),
    (["session_types", "a\0b"], 1, "cannot be written: embedded null byte"),
    (["session_types", "/proc/self/mem", "--check"], 1, "is not up to date"),
    (["session_types", "/dev/null/types.ts"], 1, "cannot be written: Not a directory"),
    (["session_webhooks", "send", "--dry-run"], 2, "send does not accept --dry-run. It is for: replay, rotate, start."),
    (["session_webhooks", "send", "--endpoint", "1"], 2, "send does not accept --endpoint"),
    (["session_webhooks", "add", "--dry-run", "--address", "https://a.example"], 2, "add does not accept --dry-run"),
    (["session_webhooks", "list", "--event", "message"], 2, "list does not accept --event"),
    (["session_webhooks", "replay", "--at-once"], 2, "replay does not accept --at-once"),
    (["session_webhooks", "rotate", "--hours", "0"], 2, "rotate does not accept --hours"),
    (["serve", "--drain", str(10**30)], 2, "--drain must be 0 to 3600 seconds"),
    (["serve", "--workers", "0"], 2, "--workers must be 1 or more"),
    (["serve", "--workers", "2", "--reload"], 2, "--reload starts one process"),
    (["serve", "99999"], 2, "'99999' is not an address"),
    (["session_types", "--check"], 2, "--check needs the name of a file"),
    (["session_webhooks", "add"], 2, "Name the address"),
    (["session_webhooks", "add", "--address", "nope"], 2, "The address begins with https://"),
    (["session_webhooks", "add", "--address", "https://a.example", "--event", "no"], 2, "no event type 'no'"),
    (["session_webhooks", "add", "--address", "https://a.example", "--tenant", "x" * 101], 2, "The tenant has"),
    (["session_webhooks", "rotate"], 2, "Name an endpoint"),
    (["session_webhooks", "start"], 2, "Name an endpoint"),
    (["session_webhooks", "start", "--hours", "1"], 2, "start does not accept --hours"),
    (["serve", "sh\udcffop:8000"], 1, "Cannot listen on"),
    (["rotate_state_keys"], 1, "Name one in state_keys"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("given", "code", "told"), WRONG, ids=[" ".join(given)[:40] for given, _, _ in WRONG])
def test_a_wrong_argument_is_refused_in_a_line(
    given: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_mgmt.management.commands.serve._refuse_unmigrated", lambda: None)
    ended, out, error = run(load(given[0]), *given[1:])
    assert (ended, out, error.count("\n")) == (code, "", 1)
    assert told in error


# -- nothing is left half done -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_this_thread")
def test_a_stopped_cleanup_tells_and_records_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup.closing, "close_dead", lambda **_: signal.raise_signal(signal.SIGTERM))
    due(2)
    code, _, told = run(load("cleanup_sessions"), "--verbosity", "0")
    assert (code, told) == (143, "Stopped by SIGTERM. Done so far: expired 2. Run it again for the rest.\n")
    assert AuditEntry.objects.get().data == {"expired": 2}


@pytest.mark.usefixtures("on_this_thread")
def test_a_stopped_erasure_records_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle.create_session(user=get_user_model().objects.create_user("ann"))
    monkeypatch.setattr(erasure._Erasure, "erase_logins", lambda _: signal.raise_signal(signal.SIGTERM))
    assert run(load("erase_user"), "ann")[0] == 128 + signal.SIGTERM
    assert AuditEntry.objects.get(action="erase_user").data == {"rows": {"sessions": 1}}


@pytest.mark.usefixtures("on_this_thread")
@pytest.mark.parametrize("name", ["cleanup_sessions", "erase_user", "rotate_state_keys"])
def test_a_stopped_dry_run_records_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get_user_model().objects.create_user("ann")
    for module, work in ((cleanup, "_count_due"), (erasure._Erasure, "count_rows"), (rotation, "_list_due_documents")):
        monkeypatch.setattr(module, work, lambda *_: signal.raise_signal(signal.SIGTERM))
    assert run(load(name), *ARGUMENTS[name], "--dry-run")[0] == 128 + signal.SIGTERM
    assert not AuditEntry.objects.exists()


@pytest.mark.usefixtures("on_this_thread")
def test_sessions_that_are_being_ended_are_ended_with_their_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.ending, "TOGETHER", 1)
    user = get_user_model().objects.create_user("ann")
    for _ in range(2):
        lifecycle.create_session(user=user)
    end_group = devices._end_group

    def end_and_stop(*args: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return end_group(*args)

    monkeypatch.setattr(devices, "_end_group", end_and_stop)
    code, _, told = run(load("terminate_session"), "--user", "ann")
    stopped = "Stopped by SIGINT. Done so far: terminated 1. Run it again for the rest."
    assert (code, told.splitlines()) == (130, ["terminated: 1 more", stopped])
    assert ClientSession.objects.filter(state="terminated").count() == 1
    assert AuditEntry.objects.count() == 1


@pytest.mark.usefixtures("on_this_thread")
def test_an_export_holds_one_record_and_ends_its_object_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    get_user_model().objects.create_user("ann")
    command, written = load("export_user"), list[int]()

    def yield_records(user: Any) -> Iterator[dict[str, Any]]:
        for number in range(3):
            written.append(command.stdout._out.getvalue().count("{"))
            yield {"number": number}
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("session_mgmt.management.commands.export_user.export_user", yield_records)
    code, out, _ = run(command, "ann", "--json")
    assert (code, written) == (130, [1, 2, 3])
    assert [len(json.loads(out)["records"]), json.loads(out)["error"]] == [3, "SIGINT"]


@pytest.mark.usefixtures("on_this_thread")
@pytest.mark.parametrize("do", ["add", "rotate"])
def test_a_secret_that_was_made_is_shown(do: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = "add_endpoint" if do == "add" else "rotate_secret"
    existing = endpoints.add_endpoint("https://a.example", [])
    make = getattr(endpoints, made)

    def make_and_stop(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return make(*args, **options)

    monkeypatch.setattr(endpoints, made, make_and_stop)
    given = ["--address", "https://b.example"] if do == "add" else ["--endpoint", str(existing.endpoint.pk)]
    code, out, _ = run(load("session_webhooks"), do, *given)
    assert code == 130
    assert "whsec_" in out
    assert WebhookEndpoint.objects.count() == (2 if do == "add" else 1)


@pytest.mark.usefixtures("on_this_thread")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_waits_for_the_calls_that_are_under_way(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command = load("session_webhooks")
    asked: list[bool] = []
    told_before: list[str] = []

    def send(progress: Any, *, seconds: float, stop: Any) -> sending.SendingReport:
        asked.append(stop())
        signal.raise_signal(number)
        asked.append(stop())
        told_before.append(command.stderr._out.getvalue())
        progress("sent")
        return sending.SendingReport(sent=1)

    monkeypatch.setattr(sending, "send_due", send)
    code, _, told = run(command, "send")
    assert (code, asked) == (128 + number, [False, True])
    assert told_before == ["Stopping after the calls in progress. A second signal ends at once.\n"]
    assert "sent 1" in told


@pytest.mark.usefixtures("on_this_thread")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_stop_waits_for_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[Any, ...]] = []

    def send(progress: Any, *, seconds: float, stop: Any) -> sending.SendingReport:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)
        killed.append((signal.getsignal(number),))
        return sending.SendingReport()

    monkeypatch.setattr(stopping.os, "kill", lambda *given: killed.append(given))
    monkeypatch.setattr(sending, "send_due", send)
    _, _, told = run(load("session_webhooks"), "send")
    assert killed == [(os.getpid(), number), (signal.SIG_DFL,)]
    assert "Ended at once. Calls that were in progress may be repeated.\n" in told
