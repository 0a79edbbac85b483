"""The proxy's configuration in docs/howto/deploy.md fits the app's own settings."""

from __future__ import annotations

import re

from session_mgmt.checks import databases
from session_mgmt.conf import Settings
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "howto" / "deploy.md"
(NGINX,) = (block.text for block in blocks("nginx", [PAGE]))
# A document has a little white space and, in a patch, the operation around it.
SLACK = 1.05


def read_value(directive: str) -> str:
    found = re.search(rf"\b{directive} ([^;]+);", NGINX)
    assert found, directive
    return found[1]


def test_the_proxy_passes_the_host_with_its_port() -> None:
    passed = NGINX.count("proxy_pass ")
    assert passed == NGINX.count("proxy_set_header Host $http_host;") == 3
    assert "Host $host" not in NGINX


def test_the_proxy_keeps_a_quiet_connection_longer_than_a_heartbeat_takes() -> None:
    longest = Settings().heartbeat_interval * 1.2
    assert int(read_value("proxy_read_timeout").removesuffix("s")) > 2 * longest


def test_the_proxy_lets_a_whole_document_pass() -> None:
    assert int(read_value("client_max_body_size").removesuffix("m")) << 20 >= Settings().max_document_bytes * SLACK


def test_the_connections_of_a_process_are_told_as_the_check_counts_them() -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")}
    told = [
        *re.findall(r"connections for the app, (\d+) with the default", texts["deploy.md"].replace("\n", " ")),
        *re.findall(r"at most (\d+)[^\]]*\]\([./a-z]*deploy\.md#the-database\)", "".join(texts.values())),
        *re.findall(r"\d+ . (\d+) = \d+ connections", texts["scaling.md"]),
    ]
    assert told == [str(databases.count_kept(Settings()))] * 4


def test_every_uvicorn_of_the_pages_bounds_a_message_above_a_frame() -> None:
    texts = [PAGE.read_text(encoding="utf-8"), (PAGE.parent / "serve.md").read_text(encoding="utf-8")]
    commands = [found for text in texts for found in re.findall(r"^uvicorn (?:.+\\\n)*.+$", text, re.MULTILINE)]
    sizes = [int(size) for command in commands for size in re.findall(r"--ws-max-size (\d+)", command)]
    assert len(sizes) == len(commands) == 2
    assert min(sizes) >= 2 * Settings().max_frame_bytes
