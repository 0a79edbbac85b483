"""A Redis that accepts connections and never says a word holds up nobody, and hides nothing for long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import services
from tests.faults.servers import HOST, AppServer
from tests.faults.test_returns import addition, create, publication, read
from tests.ports import take_port

WRITES = 10

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def two(variables: dict[str, str]) -> Iterator[list[AppServer]]:
    """Two servers whose Redis is a socket that the kernel accepts for, and nobody reads from."""
    port = take_port()
    with socket.create_server((HOST, port), backlog=128), ExitStack() as stack:
        beside = variables | {"REDIS_URL": f"redis://{HOST}:{port}/0"}
        yield [stack.enter_context(services.running(AppServer(name, beside))) for name in "AB"]


async def test_clients_of_two_servers_write_and_hear_of_each_other_beside_a_redis_that_says_nothing(
    two: list[AppServer],
) -> None:
    session = await create(two[0])
    reader = type(session)({"token": session.token, "session": {"session_id": session.id}})
    async with session.connected(two[0]) as (socket, frame), reader.connected(two[1]) as (other, told):
        session.follow(frame)
        reader.follow(told)
        for number in range(WRITES):
            await socket.send(addition(2 * number + 1))
            await socket.send(publication(2 * number + 2))
            session.told = reader.told = number + 1
            await session.hear(socket, {2 * number + 1, 2 * number + 2})
            # On the other server, which no ring reaches.
            await reader.hear(other, set())
    assert reader.heard == session.heard == [2 * number + 2 for number in range(WRITES)]
    assert await read(two[1], session) == {"n": WRITES}
    assert not [line for server in two for line in server.output() if "Traceback" in line]
