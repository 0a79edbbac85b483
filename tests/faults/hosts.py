"""What is wrong with a host: its clock, moved by libfaketime (Debian: faketime), or the volume of its database, full.

A volume is mounted, so its runs need root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import services

# Seconds by which clocks are wrong.
WRONG_BY = 300
VOLUME = "256m"
CHUNK = bytes(64 * 1024)


class Clock:
    """Clock of the processes that are started with its `variables`."""

    def __init__(self, folder: Path) -> None:
        found = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
        if not found:
            raise SystemExit("There is no libfaketime: install Debian's faketime.")
        self._file = folder / "clock"
        self.set(0)
        self.variables = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            # Waits of a process go by the monotonic clock, which nobody sets.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Let it be wrong by so much."""
        self._file.write_text(f"{seconds:+d}\n")
        self._file.chmod(0o644)


class HostedPostgres(services.Postgres):
    """PostgreSQL with a clock of its own, and with its data, except the log, on a volume of its own."""

    def __init__(self, connections: int, *, has_volume: bool) -> None:
        self._has_volume = has_volume
        self.clock: Clock | None = None
        super().__init__(connections=connections)
        if not has_volume:
            self.clock = Clock(self.folder)

    def popen_options(self) -> dict[str, object]:
        options = super().popen_options()
        clock = self.clock.variables if self.clock else {}
        return options | {"env": {**options["env"], **clock}}  # type: ignore[dict-item]

    def initialise(self) -> None:
        super().initialise()
        if self._has_volume:
            # Without room for its log PostgreSQL ends itself.
            shutil.move(self.data / "pg_wal", self.folder / "pg_wal")
            shutil.move(self.data, self.folder / "initial")
            self.data.mkdir(mode=0o700)
            mount(self.data)
            subprocess.run(["cp", "-a", f"{self.folder / 'initial'}/.", str(self.data)], check=True)
            (self.data / "pg_wal").symlink_to(self.folder / "pg_wal")

    def close(self) -> None:
        if self._has_volume and self.process is not None:
            self.stop()
            unmount(self.data)
        super().close()


def mount(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def volume(folder: Path) -> Iterator[Path]:
    """Mount a volume."""
    folder.mkdir()
    mount(folder)
    try:
        yield folder
    finally:
        unmount(folder)


@contextmanager
def volume_filled(folder: Path) -> Iterator[None]:
    """Leave no byte free on the volume of a folder."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(CHUNK) == len(CHUNK):
            pass
    try:
        # What the database frees meanwhile is taken too.
        os.sync()
        yield
    finally:
        filler.unlink()
