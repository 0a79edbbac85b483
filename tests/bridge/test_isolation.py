"""The app's own transactions are READ COMMITTED, whatever level the project has."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
import django
from django.conf import settings
from psycopg import IsolationLevel
import project.settings
level = sys.argv[1]
if level.startswith("server "):
    project.settings.DATABASES["default"]["OPTIONS"]["options"] = "-c default_transaction_isolation=" + level[7:]
else:
    project.settings.DATABASES["default"]["OPTIONS"]["isolation_level"] = IsolationLevel[level]
django.setup()
from django.db import connection, transaction
from session_mgmt.bridge import bridge
from session_mgmt.shortcuts import create_session, drain, publish, state, topic
topic("room:{name}")(lambda session, name: True)
session = create_session().session

def work(number):
    for turn in range(10):
        state.update(session, ops=[["inc", "/n", 1]])
        publish("room:1", [number, turn])
    connection.close()

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
drain()
print(state.get(session)["n"])
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("SHOW transaction_isolation")
    print(cursor.fetchone()[0])
bridge().close()
"""


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("level", "own"),
    [
        ("REPEATABLE_READ", "repeatable read"),
        ("SERIALIZABLE", "serializable"),
        ("server serializable", "serializable"),
    ],
)
def test_two_processes_write_at_once_and_the_project_keeps_its_level(
    database_environment: dict[str, str], level: str, own: str
) -> None:
    environment = {**database_environment, "DJANGO_SETTINGS_MODULE": "project.settings"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, level],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for program in both:
        out, errors = program.communicate(timeout=60)
        assert out.split("\n")[:2] == ["40", own], errors
        assert "could not serialize" not in errors
