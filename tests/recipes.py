"""Try the recipes of docs/howto that need a server which the tests do not install: `python -m tests.recipes`.

Each one is tried where its program is found, and named where it is not.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.docs.pages import ROOT, blocks
from tests.docs.test_serve import PAGE, Served, make_project, name_server, try_server

DEPLOY = ROOT / "docs" / "howto" / "deploy.md"
# What the blocks of the page leave to whoever has certificates and names.
NGINX = """events {{}}
http {{
upstream app {{ server 127.0.0.1:8000; }}
{block}
}}
"""


def list_commands() -> list[str]:
    """Return the lines of serve.md that start a server and are not tried by a test."""
    lines = [line for block in blocks("console", [PAGE]) for line in block.text.splitlines()]
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in found if name_server(line) in ("gunicorn", "hypercorn")]


def try_commands(folder: Path) -> dict[str, str]:
    shop = Served(folder)
    make_project(shop)
    told = {}
    for line in list_commands():
        name = name_server(line)
        if importlib.util.find_spec(name) is None:
            told[name] = "not installed"
            continue
        shop.start_by(line)
        try:
            asyncio.run(try_server(shop))
            told[name] = "serves the SDK, REST and WebSockets"
        finally:
            # Its workers too: gunicorn's would go on without their parent.
            assert shop._server is not None
            shop._server.terminate()
            shop._server.wait()
    return told


def try_configurations(folder: Path) -> dict[str, str]:
    """Have each proxy and systemd check its configuration."""
    return {
        "nginx": check_file("nginx", folder / "nginx.conf", ["-t", "-c"], lambda text: NGINX.format(block=text)),
        "caddy": check_file("caddyfile", folder / "Caddyfile", ["validate", "--config"], program="caddy"),
        # The page's path is that of a deployment.
        "systemd": check_file("ini", folder / "shop.service", ["verify"], _use_python, "systemd-analyze"),
    }


def _use_python(unit: str) -> str:
    return unit.replace("/srv/shop/.venv/bin/python", sys.executable).replace("/srv/shop", str(ROOT))


def check_file(
    language: str, path: Path, options: list[str], wrap: Callable[[str], str] = str, program: str | None = None
) -> str:
    found = shutil.which(program or language, path="/usr/sbin:/usr/bin:/usr/local/bin:/bin")
    if found is None:
        return "not installed"
    (block,) = blocks(language, [DEPLOY])
    path.write_text(wrap(block.text), encoding="utf-8")
    answer = subprocess.run([found, *options, str(path)], capture_output=True, text=True)
    return "accepts its configuration" if answer.returncode == 0 else f"refuses: {answer.stderr.strip()}"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        told = try_commands(Path(folder)) | try_configurations(Path(folder))
    for name, answer in told.items():
        print(f"{name:<12} {answer}")
    return any(answer.startswith("refuses") for answer in told.values())


if __name__ == "__main__":
    sys.exit(main())
