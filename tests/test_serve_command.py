"""``manage.py serve``: what it refuses with a hint, and the options that it gives uvicorn."""

from __future__ import annotations

import json
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol
from session_mgmt.management.commands import serve
from session_mgmt.management.json_lines import JsonLines
from tests.ports import take_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Start no server; keep what uvicorn was asked for."""
    import uvicorn

    settings.ASGI_APPLICATION = "project.asgi.application"
    kept: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(uvicorn, "run", lambda application, **options: kept.append((application, options)))
    return kept


@pytest.fixture
def free_port() -> int:
    return take_port()


def test_uvicorn_is_given_what_session_clients_need(ran: Any, free_port: int, capsys: Any) -> None:
    call_command("serve", str(free_port), "--workers", "3", "--drain", "12")
    ((application, options),) = ran
    assert application == "project.asgi:application"
    assert (options["host"], options["port"], options["workers"]) == ("127.0.0.1", free_port, 3)
    assert options["timeout_graceful_shutdown"] == 12
    assert options["ws_ping_interval"] is None and options["ws_per_message_deflate"] is False
    assert "3 processes" in capsys.readouterr().out
    import uvicorn

    given = {name: value for name, value in options.items() if name not in ("workers", "reload")}
    config = uvicorn.Config(application, **given)
    config.load()
    assert config.ws_protocol_class is WebSocketProtocol
    assert config.ws_max_size >= 2 * 256 * 1024


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["8000x"], "is not an address"),
        (["99999"], "is not an address"),
        (["--workers", "0"], "--workers must be 1 or more"),
        (["--workers", "2", "--reload"], "--reload starts one process"),
        (["--drain", "-1"], "--drain must be 0 to 3600"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_refused_with_a_hint(ran: Any, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        call_command("serve", *arguments)
    assert ran == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (None, "ASGI_APPLICATION is not set"),
        ("nowhere.asgi.application", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("no_path", "cannot be imported: ImportError: no_path doesn't look like a module path"),
        (3, "cannot be imported: AttributeError"),
        ("django.core.asgi.get_asgi_application", "does not serve session clients"),
    ],
)
def test_an_application_that_serves_no_clients_is_refused(ran: Any, settings: Any, name: Any, told: str) -> None:
    settings.ASGI_APPLICATION = name
    with pytest.raises(CommandError, match=told):
        call_command("serve")
    assert ran == []


@pytest.mark.parametrize(
    ("text", "told"), [("1 / 0", "ZeroDivisionError: division by zero"), ("def (", "SyntaxError: .* line 1")]
)
def test_a_fault_of_the_application_is_told_in_a_line(
    text: str, told: str, ran: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_shop.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = "faulty_shop.application"
    with pytest.raises(CommandError, match=f"cannot be imported: {told}.*--traceback"):
        call_command("serve")
    assert ran == []


def test_a_place_that_is_taken_is_refused_before_any_process_starts(ran: Any, free_port: int) -> None:
    place = ("127.0.0.1", free_port)
    with socket.create_server(place), pytest.raises(CommandError, match="Cannot listen"):
        call_command("serve", f"127.0.0.1:{free_port}")
    assert ran == []


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 migration is not applied: run"), (2, "2 migrations are not applied: run")]
)
def test_a_database_without_the_migrations_is_refused(
    count: int, told: str, ran: Any, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve.MigrationExecutor, "migration_plan", lambda *args: [object()] * count)
    with pytest.raises(CommandError, match=told):
        call_command("serve", str(free_port))
    assert ran == []


def test_without_uvicorn_its_name_is_told(ran: Any, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(CommandError, match="pip install"):
        call_command("serve", str(free_port))


def test_a_line_of_the_log_is_one_json_object(ran: Any, free_port: int) -> None:
    call_command("serve", str(free_port), "--json", "--level", "warning")
    config = ran[0][1]["log_config"]
    assert config["root"]["level"] == "WARNING"
    try:
        raise ValueError("no\nway")
    except ValueError:
        record = logging.LogRecord("shop", logging.ERROR, __file__, 1, "a\n%s", ("line",), sys.exc_info())
    text = JsonLines().format(record)
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["logger"], line["message"]) == ("error", "shop", "a\nline")
    assert line["error"].endswith("no\nway")
