"""A worker under gevent rings through the channel layer, and its ORM works on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gevent", reason="gevent is not installed")

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import asyncio, os
import gevent, gevent.os
import django
django.setup()
from django.db import transaction
from channels.layers import get_channel_layer
from session_mgmt.backends.channel_layer import build_group
from session_mgmt.backends.doorbell import doorbell
from session_mgmt.models import ClientSession
from session_mgmt.shortcuts import create_session, drain, publish, state, topic

topic("room:{name}")(lambda session, name: True)
session = create_session().session
layer = get_channel_layer()
# Pipes, because no lock of gevent's holds between threads: one tells that a ring is under way, one lets it go on.
(told, tell), (may, let) = os.pipe(), os.pipe()
gevent.os.make_nonblocking(told)

async def group_send(group, message):
    if group.startswith(build_group("s:")):  # the log of a topic
        os.write(tell, b".")
        loop = asyncio.get_running_loop()
        go_on = loop.create_future()
        loop.add_reader(may, go_on.set_result, None)
        await go_on
        loop.remove_reader(may)
        os.read(may, 1)

def wait_for_ring():
    with gevent.Timeout(30):
        gevent.os.nb_read(told, 1)

layer.group_send = group_send
for number in range(5):
    publish("room:1", number)
    wait_for_ring()
    ClientSession.objects.count()
    with transaction.atomic():
        state.update(session, {"n": number})
    drain()
    os.write(let, b".")
assert state.get(session) == {"n": 4}

# Greenlets that switch meanwhile, as those of a busy worker do.
for _ in range(3):
    gevent.spawn(lambda: [gevent.sleep() for _ in iter(int, 1)])
for number in range(500):
    doorbell().ring({"s:1": number})
    wait_for_ring()
    os.write(let, b".")
print("fine", flush=True)
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
