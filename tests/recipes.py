"""Try the recipes of docs/howto that need a server which the tests do not install: `python -m tests.recipes`.

Each one is tried where its program is found, and named where it is not.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.pages import ROOT, blocks
from tests.docs.test_serve import PAGE, Served, make_project, name_server, try_server
from tests.proxied import find_program, read_block, try_proxies


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
        # A worker class of gunicorn is a package of its own.
        needed = [name, *re.findall(r"(\w+)\.\w+Worker", line)]
        missing = [module for module in needed if importlib.util.find_spec(module) is None]
        if missing:
            told[name] = f"not installed: {', '.join(missing)}"
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


def try_unit(folder: Path) -> str:
    """Have systemd check its unit; the page's path is that of a deployment."""
    program = find_program("systemd-analyze")
    if program is None:
        return "not installed"
    unit = read_block("ini").replace("/srv/shop/.venv/bin/python", sys.executable).replace("/srv/shop", str(ROOT))
    path = folder / "shop@.service"
    path.write_text(unit, encoding="utf-8")
    answer = subprocess.run([program, "verify", str(path)], capture_output=True, text=True)
    return "accepts its unit" if answer.returncode == 0 else f"refuses: {answer.stderr.strip()}"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        told = try_commands(Path(folder)) | try_proxies(Path(folder)) | {"systemd": try_unit(Path(folder))}
    for name, answer in told.items():
        print(f"{name:<18} {answer}")
    return any(answer.startswith("refuses") for answer in told.values())


if __name__ == "__main__":
    sys.exit(main())
