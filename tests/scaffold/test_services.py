"""The launcher of real servers: what outage tests rely on."""

from __future__ import annotations

import socket
from contextlib import closing

import psycopg
import pytest
from django.db import connection

from tests import services
from tests.settings import DATABASE


def ask(server: services.Redis, command: bytes) -> bytes:
    with closing(socket.create_connection((services.HOST, server.port), timeout=60)) as link:
        link.sendall(command + b"\r\n")
        return link.recv(64)


@pytest.mark.django_db
def test_the_run_uses_the_database_it_was_told_to_use() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    assert connection.vendor == {"sqlite": "sqlite", "postgres": "postgresql"}[DATABASE]


@pytest.mark.redis
def test_a_killed_redis_comes_back_empty_on_the_same_port(redis_server: services.Redis) -> None:
    assert ask(redis_server, b"SET cart full") == b"+OK\r\n"
    redis_server.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(redis_server, b"PING")
    redis_server.start()
    assert ask(redis_server, b"GET cart") == b"$-1\r\n"


@pytest.mark.redis
def test_a_paused_redis_accepts_and_stays_silent_until_resumed(redis_server: services.Redis) -> None:
    with closing(socket.create_connection((services.HOST, redis_server.port), timeout=60)) as link:
        redis_server.pause()
        link.sendall(b"PING\r\n")
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(64)
        redis_server.resume()
        link.settimeout(60)
        assert link.recv(64) == b"+PONG\r\n"


@pytest.mark.postgres
def test_a_killed_postgres_comes_back_with_what_was_committed(postgres_server: services.Postgres) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as link:
        link.execute("CREATE TABLE kept AS SELECT 1 AS one")
    postgres_server.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_server.url, connect_timeout=60)
    postgres_server.start()
    with psycopg.connect(postgres_server.url) as link:
        assert link.execute("SELECT one FROM kept").fetchone() == (1,)
