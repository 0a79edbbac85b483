"""A worker under gevent rings through the channel layer, and its ORM works on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gevent", reason="gevent is not installed")

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent
import django
django.setup()
from django.db import transaction
from channels.layers import get_channel_layer
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import create_session, drain, publish, state, topic

topic("room:{name}")(lambda session, name: True)
session = create_session().session
rung = []
layer = get_channel_layer()

async def group_send(group, message):
    rung.append(group)
    # Long enough for the other greenlets to run meanwhile.
    import asyncio
    await asyncio.sleep(0.05)

layer.group_send = group_send
for number in range(5):
    publish("room:1", number)
    ClientSession.objects.count()
    gevent.sleep(0.02)
    with transaction.atomic():
        state.update(session, {"n": number})
    drain()
assert state.get(session) == {"n": 4}
while not rung:
    gevent.sleep(0.01)
print("fine", flush=True)
import os
os._exit(0)
"""


def test_a_publish_with_a_shared_layer_poisons_no_later_call(database_environment: dict[str, str]) -> None:
    environment = {
        **database_environment,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "fine\n", done.stderr
