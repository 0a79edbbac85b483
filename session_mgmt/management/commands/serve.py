"""``manage.py serve``: run the project under uvicorn with the options that session clients need."""

from __future__ import annotations

import re
import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import CommandError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from session_mgmt.conf import settings
from session_mgmt.management import json_lines
from session_mgmt.management.base import DatabaseCommand, WrongArgument

WEBSOCKETS = "session_mgmt.uvicorn:WebSocketProtocol"
# uvicorn collects a whole message before the app can refuse it, so allow the largest frame twice.
LEAST_MESSAGE = 1024 * 1024
# One hour; anyone who does not want to wait that long kills the process.
LONGEST_DRAIN = 3600
_PLACE = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]]+):)?(?P<port>[0-9]{1,5})")


class Command(DatabaseCommand):
    help = "Serve HTTP and WebSockets with uvicorn. At SIGTERM or Ctrl-C it tells clients when to reconnect, and stops."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "place", nargs="?", default="127.0.0.1:8000", help="[host:]port. The default is 127.0.0.1:8000."
        )
        parser.add_argument("--workers", type=int, default=1, help="Number of processes.")
        parser.add_argument("--drain", type=int, default=30, help="Seconds that a stop waits for requests and clients.")
        parser.add_argument("--proxies", default="127.0.0.1", help="Addresses whose X-Forwarded headers are trusted.")
        parser.add_argument("--reload", action="store_true", help="Restart when a file changes. Only with one process.")
        parser.add_argument("--json", action="store_true", help="Log one JSON object per line.")
        parser.add_argument(
            "--level",
            default="info",
            choices=["debug", "info", "warning", "error"],
            help="Lowest level of the lines to log.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = read_place(options["place"])
        self._refuse_contradictions(options)
        uvicorn = _import_uvicorn()
        application = find_application()
        _refuse_unmigrated()
        _refuse_taken(host, port)
        if not options["json"]:
            processes = "1 process" if options["workers"] == 1 else f"{options['workers']} processes"
            self.stdout.write(f"Serving {application} on http://{host}:{port} with {processes}.")
            self.stdout.flush()
        uvicorn.run(application, host=host.strip("[]"), port=port, **build_options(options))

    def _refuse_contradictions(self, options: dict[str, Any]) -> None:
        if options["workers"] < 1:
            raise WrongArgument("--workers must be 1 or more.")
        if not 0 <= options["drain"] <= LONGEST_DRAIN:
            raise WrongArgument(f"--drain must be 0 to {LONGEST_DRAIN} seconds.")
        if options["reload"] and options["workers"] > 1:
            raise WrongArgument("--reload starts one process. Omit --workers.")


def read_place(text: str) -> tuple[str, int]:
    """Return host and port. Raises ``CommandError``."""
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise WrongArgument(
            f"{text!r} is not an address. Write a port or host:port, such as 0.0.0.0:8000 or [::1]:8000."
        )
    return found["host"] or "127.0.0.1", int(found["port"])


def build_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of ``uvicorn.run``."""
    told: dict[str, Any] = {"log_config": json_lines.build_config(options["level"])} if options["json"] else {}
    return {
        "workers": options["workers"],
        "reload": options["reload"],
        "ws": WEBSOCKETS,
        # Each entry is encoded once for all readers; compression would encode it again for each of them.
        "ws_per_message_deflate": False,
        "ws_max_size": max(LEAST_MESSAGE, 2 * settings().max_frame_bytes),
        # The app sends its own heartbeats; pings of the server would hide that they are lost.
        "ws_ping_interval": None,
        "timeout_graceful_shutdown": options["drain"],
        "proxy_headers": True,
        "forwarded_allow_ips": options["proxies"],
        "access_log": False,
        "log_level": options["level"],
        **told,
    }


def find_application() -> str:
    """Return the import string of the project's ASGI application. Raises ``CommandError`` if it does not serve this
    app.
    """
    name = getattr(django_settings, "ASGI_APPLICATION", None)
    if not name:
        raise CommandError("ASGI_APPLICATION is not set. Set it, for example to 'shop.asgi.application'.")
    try:
        application = import_string(name)
    # The file is the project's, and may fail in any way.
    except Exception as error:
        told = f"{type(error).__name__}: {error}. --traceback shows where."
        raise CommandError(f"ASGI_APPLICATION {name!r} cannot be imported: {told}") from error
    kinds = getattr(application, "application_mapping", {})
    if "websocket" not in kinds or "lifespan" not in kinds:
        raise CommandError(
            f"{name} does not serve session clients. Wrap it in session_mgmt.asgi.application (docs/howto/serve.md)."
        )
    module, _, attribute = name.rpartition(".")
    return f"{module}:{attribute}"


def _import_uvicorn() -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise CommandError("uvicorn is not installed: pip install 'uvicorn[standard]'.") from error
    return uvicorn


def _refuse_unmigrated() -> None:
    connection = connections[settings().database]
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes("session_mgmt"))
    # Close this connection, because the server opens its own, in other threads.
    connection.close()
    if waiting:
        told = "1 migration is not applied" if len(waiting) == 1 else f"{len(waiting)} migrations are not applied"
        raise CommandError(f"{told}: run manage.py migrate first.")


def _refuse_taken(host: str, port: int) -> None:
    """Refuse an address on which another program listens. uvicorn would report it late, and once per process."""
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((bare, port))
        except (OSError, TypeError, ValueError) as error:
            # A host name that cannot be encoded raises `TypeError`.
            reason = getattr(error, "strerror", None) or error
            raise CommandError(f"Cannot listen on {host!r}, port {port}: {reason}.") from error
