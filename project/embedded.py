"""Web server, Celery worker and beat in one process: `python -m project.embedded --port 8000`.

The worker and beat are threads, so the broker may be the memory of this process. `celery worker -B` would not work:
its beat is a child process with its own memory, so the worker would never see its messages. With `--part` a process
is one of the three alone; then they need a broker that they share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import django
import uvicorn
from celery.beat import Scheduler, Service

from project.celery import app

# Longer than a drain needs, shorter than the patience of the person who pressed Ctrl-C.
SHUTDOWN_SECONDS = 3
# Seconds after which a process whose parent is gone ends without any order.
ORPHAN_SECONDS = 10
ENDS = (signal.SIGTERM, signal.SIGINT)


def build_worker() -> Any:
    """Build a Celery worker that knows of no other."""
    return app.WorkController(pool="solo", without_heartbeat=True, without_mingle=True, without_gossip=True)


def build_beat() -> Any:
    """Build a beat whose scheduler keeps no file, which a kill could leave half written.

    It checks for its end every second.
    """
    return Service(app, max_interval=1, scheduler_cls=Scheduler)


@contextlib.contextmanager
def run_celery_threads() -> Iterator[None]:
    """Run a Celery worker and beat in threads of this process while the block runs."""
    worker, beat = build_worker(), build_beat()
    starts = {"celery worker": worker.start, "celery beat": beat.start}
    threads = [threading.Thread(target=start, name=name, daemon=True) for name, start in starts.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        beat.stop()
        worker.stop()
        for thread in threads:
            thread.join(SHUTDOWN_SECONDS)


def end_with_parent() -> None:
    """Shut down when standard input ends: a parent that was killed cannot tell its children."""

    def watch_input() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch_input, name="parent watch", daemon=True).start()


def build_server(host: str, port: int) -> uvicorn.Server:
    """Build the reference server: uvloop if installed, the app's own WebSocket class, no compression of frames."""
    config = uvicorn.Config(
        "project.asgi:application",
        host=host,
        port=port,
        ws="session_mgmt.uvicorn:WebSocketProtocol",
        ws_per_message_deflate=False,
        # The server collects a whole message before the app can refuse it; its own default is 16 MB.
        ws_max_size=1 << 20,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)


def serve(options: argparse.Namespace, beside: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Serve until SIGTERM or Ctrl-C, with something that runs beside the server."""
    serving = build_server(options.host, options.port)
    # Celery's threads use models, so Django must be set up first; loading the application does that.
    serving.config.load()
    with beside():
        serving.run(None if options.socket is None else [socket.socket(fileno=options.socket)])


def run_alone(part: Any) -> None:
    """Run a worker or a beat until one of ENDS comes, or until it ends by itself."""
    thread = threading.Thread(target=part.start, daemon=True)
    thread.start()
    while thread.is_alive() and signal.sigtimedwait(ENDS, 1) is None:
        pass
    part.stop()
    thread.join(SHUTDOWN_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Web server, Celery worker and beat in one process.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--socket", type=int, metavar="FD", help="an inherited socket, already bound, in their place")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--part", choices=["web", "worker", "beat"], help="this one alone")
    options = parser.parse_args()
    is_celery = options.part in ("worker", "beat")
    if is_celery:
        # No thread may take them: they are waited for.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    if options.with_parent:
        end_with_parent()
    if is_celery:
        django.setup()
        run_alone(build_worker() if options.part == "worker" else build_beat())
    else:
        serve(options, contextlib.nullcontext if options.part else run_celery_threads)


if __name__ == "__main__":
    main()
