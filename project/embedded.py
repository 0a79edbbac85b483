"""Web server, Celery worker and beat in one process: `python -m project.embedded --port 8000`.

The worker and beat are threads, so the broker may be the memory of this process. `celery worker -B` would not work:
its beat is a child process with its own memory, so the worker would never see its messages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn
from celery.beat import Scheduler, Service

from project.celery import app

# Longer than a drain needs, shorter than the patience of the person who pressed Ctrl-C.
SHUTDOWN_SECONDS = 3


@contextlib.contextmanager
def run_celery_threads() -> Iterator[None]:
    """Run a Celery worker and beat in threads of this process while the block runs."""
    worker = app.WorkController(pool="solo", without_heartbeat=True, without_mingle=True, without_gossip=True)
    # The plain scheduler keeps no file, which a kill could leave half written. It checks for its end every second.
    beat = Service(app, max_interval=1, scheduler_cls=Scheduler)
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Web server, Celery worker and beat in one process.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--socket", type=int, metavar="FD", help="an inherited socket, already bound, in their place")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    if options.with_parent:
        end_with_parent()
    serving = build_server(options.host, options.port)
    # The threads use models, so Django must be set up first; loading the application does that.
    serving.config.load()
    with run_celery_threads():
        serving.run(None if options.socket is None else [socket.socket(fileno=options.socket)])


if __name__ == "__main__":
    main()
