"""The client in a process that has no Django."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "rest_framework", "channels", "asgiref", "redis"):
            raise ImportError(name)

sys.meta_path.insert(0, Nothing())
from session_mgmt.client import SessionClient, SyncSessionClient, Unanswered, identity
identity.ENTER_ATTEMPTS = 1
identity.Backoff.choose_delay = lambda *_: 0.0

async def main():
    try:
        await SessionClient.start("http://127.0.0.1:9/api/")
    except Unanswered:
        print("tried")

asyncio.run(main())
try:
    SyncSessionClient("http://127.0.0.1:9/api/")
except Unanswered:
    print("tried")
"""


def test_the_client_starts_where_importing_django_fails() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (answer.stdout.split(), answer.stderr) == (["tried", "tried"], "")
