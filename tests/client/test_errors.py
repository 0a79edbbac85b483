"""Errors and states of the Python client: each is on its page, with what to do, and the page has no others."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from session_mgmt import client as package
from session_mgmt.client import ClientError, FileStorage, Refused, SessionClient, Stopped, TooSlow, Unanswered, Unsent
from session_mgmt.client.errors import ADVICE
from session_mgmt.client.rest import Rest
from session_mgmt.client.stats import Status
from session_mgmt.client.storage import Saved
from tests.client.fake_server import WAIT, fake_server
from tests.docs.pages import ROOT
from tests.test_vocabulary import TYPINGS, read_rows

SOURCES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "session_mgmt/client").rglob("*.py")}
SCRIPTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "session_mgmt/js/src").rglob("*.ts")
    if "testing" not in path.parts
}
PAGES = {name: (ROOT / f"docs/reference/{name}-client.md").read_text(encoding="utf-8") for name in ("python", "js")}
# Doubts and changes that end no connection for the application, and the name of a close code.
INNER = {"switch", "change", "replaced"}
REASON = re.compile(r'(?:Leave\([^()"]*|build_lost\(|LOGGED_OUT = |NOT_OURS = |BUFFERED = )"([a-z_]+)"')


def read_table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    section = page.split(f"{heading}\n", 1)[1]
    lines = re.search(r"^\|.*?(?=\n\n)", section, re.MULTILINE | re.DOTALL)
    assert lines
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def test_every_exception_of_the_client_is_on_its_page_with_what_to_do() -> None:
    rows = read_table(PAGES["python"], "\n## Errors")
    classes = {
        name for name, value in vars(package).items() if isinstance(value, type) and issubclass(value, ClientError)
    }
    assert {row[0].strip("`") for row in rows} == classes - {"ClientError"}
    assert [row for row in rows if not re.search(r"\. .*\.$", row[2])] == []


def test_every_name_that_the_client_gives_an_error_is_on_its_page() -> None:
    rows = read_table(PAGES["python"], "\n## Errors")
    named = {(row[0].strip("`"), row[1].strip("`")) for row in rows if row[1].startswith("`")}
    text = "\n".join(SOURCES.values())
    made = re.findall(r'(?:Refused\(\s*\{"name": |_build_refusal\(\s*|^NOT_OURS = )"(\w+)"', text, re.MULTILINE)
    refused = {name for class_, name in named if class_ == "Refused"}
    assert refused == {*made, "http_502` and others"} and 'f"http_{answer.status_code}"' in SOURCES["rest.py"]
    assert {name for class_, name in named if class_ == "Stopped"} == set(ADVICE)
    others = {(type(error).__name__, error.name) for error in (Unanswered(), TooSlow(1), Unsent({}))}
    assert {pair for pair in named if pair[0] not in ("Refused", "Stopped")} == others


def test_every_reason_of_a_status_is_in_the_vocabulary() -> None:
    javascript, python, _ = ({row[side] for row in read_rows("Reasons") if row[side]} for side in range(3))
    found = {name for text in SOURCES.values() for name in REASON.findall(text)} - INNER
    assert found | {"connection_lost", "closed"} == python - {"handshake"}
    assert 'f"handshake_{status}"' in SOURCES["socket.py"]
    scripts = "\n".join(SCRIPTS.values())
    assert [name for name in javascript if f'"{name}"' not in scripts] == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_both_clients_have_the_same_few_states_each_with_its_reason(page: str) -> None:
    declared = re.search(r"^export type Status = (.*);$", TYPINGS, re.MULTILINE)
    assert declared
    states = re.findall(r'"(\w+)"', declared[1])
    assert list(get_args(Status)) == states
    rows = read_table(page, "\n### Status")
    assert [row[0].strip("`") for row in rows] == states
    assert all(len(row) == 3 and row[1] and row[2] for row in rows)


async def hear(told: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(told.get(), WAIT)


async def test_each_state_is_told_with_its_reason() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    lost = {"code": 1006, "name": "connection_lost"}
    async with fake_server() as server:
        listeners = {"status": told.put_nowait}
        starting = asyncio.create_task(
            SessionClient.start(server.url, token="token", listeners=listeners, transports=["websocket"])
        )
        peer = await server.accept()
        await peer.receive("connect")
        peer.cut()
        assert await hear(told) == {"status": "connecting", "reason": lost}
        peer = await server.accept()
        await peer.welcome()
        client = await starting
        assert (client.status, client.reason) == ("connected", None)
        assert await hear(told) == {"status": "connected", "reason": None}
        peer.cut()
        assert await hear(told) == {"status": "reconnecting", "reason": lost}
        assert (client.status, client.reason) == ("reconnecting", lost)
        await (await server.accept()).welcome()
        assert await hear(told) == {"status": "connected", "reason": None}
        await client.close()
    assert await hear(told) == {"status": "disconnected", "reason": {"code": 1000, "name": "closed"}}
    assert (client.status, told.empty()) == ("disconnected", True)


async def test_a_client_that_does_not_come_back_says_why() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    async with fake_server() as server:
        listeners = {"status": told.put_nowait}
        starting = asyncio.create_task(SessionClient.start(server.url, token="token", listeners=listeners))
        peer = await server.accept()
        await peer.welcome()
        client = await starting
        assert (await hear(told))["status"] == "connected"
        await peer.close(4506)
        reason = {"code": 4506, "name": "unsupported_version"}
        assert await hear(told) == {"status": "failed", "reason": reason}
        assert (client.status, client.reason, told.empty()) == ("failed", reason, True)
        await client.close()


def test_an_end_says_what_to_do() -> None:
    assert str(Stopped(4507, "replaced")).endswith("give each client one of its own.")
    assert "errors.md" in str(Stopped(4999, "of_a_later_version"))
    assert "update of main" in str(Unsent({"type": "update", "doc": "main"}))


async def test_a_call_without_an_answer_names_its_address() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as http:
        with pytest.raises(Unanswered, match=r"GET http://shop\.test/api/sessions/1/ \(refused\): try again") as found:
            await Rest(http, "http://shop.test/api/", lambda: "t").call("GET", "sessions/1/")
    assert (found.value.name, found.value.code, found.value.temporary) == ("network_error", 0, True)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"no JSON",
            b"[1]",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"other": 1}',
            b'{"token": 1}',
            b'{"next_seq": null}',
        ),
        *(b'{"writes": 5}', b'{"writes": [5]}', b'{"writes": [{}]}', b'{"positions": []}', b'{"way": "websocket"}'),
        *(b'{"since": "now"}', b'{"login_due": "now"}', b'{"token": "sma_1", "writes": [{"type": "send"'),
    ],
    ids=lambda content: content[:20].decode(errors="replace"),
)
def test_a_file_that_holds_something_else_is_named_with_what_to_do(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.json does not hold .*: name another file, or remove it"):
        FileStorage(path).load()


def test_a_file_that_cannot_be_written_stays_as_it_was_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FileStorage(tmp_path / "client.json")
    storage.save(Saved(token="sma_1"))

    def fill_disk(record: Any, file: Any, **_: Any) -> None:
        file.write("sma_2")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(json, "dump", fill_disk)
        storage.save(Saved(token="sma_2"))
    assert [path.name for path in tmp_path.iterdir()] == ["client.json"]
    assert storage.load() == Saved(token="sma_1")
    assert not storage.is_taken()


def test_a_refusal_of_the_server_is_told_with_its_name_and_number() -> None:
    assert (
        str(Refused({"name": "conflict", "code": 240, "message": "Somebody else."})) == "conflict (240): Somebody else."
    )
