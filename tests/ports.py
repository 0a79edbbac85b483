"""Port numbers for the servers of tests. Nobody is given one that another test has had.

A client goes on to knock where its server was. If the system chose the numbers, it would give that one to the next
who asks, in whichever process, and two tests would meet. It could also give it to an outgoing connection, and the
server could not come back. These numbers are none of those, and each is given once until all others have been.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path

# Above the ports that browsers refuse and below those of Kubernetes.
FIRST, END = 20_000, 30_000
OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
# One file for everybody on this machine, whatever TMPDIR says.
COUNTER = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir(), "session-mgmt-test-ports")


def list_numbers() -> range:
    """Return the numbers to give, none of which the system gives to outgoing connections."""
    try:
        lowest, highest = map(int, OUTGOING.read_text().split())
    except OSError:
        return range(FIRST, END)
    below, above = range(FIRST, min(lowest, END)), range(highest + 1, 2**16)
    # Where the system may give every number, some will have to do.
    return max(below, above, key=len) or range(FIRST, END)


def take_port() -> int:
    """Return a number that nobody listens on, and that no other caller is given for a long time."""
    numbers = list_numbers()
    with open(_open_counter(), "r+b", buffering=0) as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        last = int(counter.read(5) or 0)
        at = numbers.index(last) + 1 if last in numbers else 0
        for port in (*numbers[at:], *numbers[:at]):
            if _is_free(port):
                counter.seek(0)
                counter.write(b"%05d" % port)
                return port
    raise RuntimeError(f"somebody listens on every port from {numbers[0]} to {numbers[-1]}")


def _open_counter() -> int:
    """Open the counter for reading and writing; make it if need be, for all users."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(COUNTER, os.O_RDWR | os.O_NOFOLLOW)
    descriptor = os.open(COUNTER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, 0o666)
    return descriptor


def _is_free(port: int) -> bool:
    """Tell whether a server could listen there, at any address."""
    with socket.socket() as probe:
        # As servers do: what is left of a closed connection is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
