"""Frames of one client that are being worked on: how many they are decides whether more of them are read."""

from __future__ import annotations

from session_mgmt.consumers.moments import Moment

MOST_FRAMES = 256
# Number of frames that a request counts for, because it is handled alone, while writes share a transaction.
REQUEST_COST = 8
# Two frames of the largest size.
MOST_BYTES = 512 * 1024


class Inbox:
    """Count of the frames whose answers are still to come, with their bytes, and of all that have ever come.

    The bytes are added up until nothing is left to do. So a client that never stops writing waits for its answers once
    in a while, and no account must be kept of each frame.
    """

    __slots__ = ("_arrived", "_emptied", "_frames", "_open_bytes", "bytes", "messages")

    def __init__(self) -> None:
        self._frames = self._open_bytes = self._arrived = self.messages = self.bytes = 0
        self._emptied = Moment()

    @property
    def is_full(self) -> bool:
        """Return True if no more frames of the client may be read until it has its answers."""
        return self._frames >= MOST_FRAMES or self._open_bytes > MOST_BYTES

    def note_message(self, size: int) -> None:
        """Count a message that has arrived; whether work comes of it is not known yet."""
        self.messages += 1
        self.bytes += size
        self._arrived = size

    def add_frame(self, cost: int = 1) -> None:
        """Count the frame that has arrived last as so many: its work begins."""
        self._frames += cost
        self._open_bytes += self._arrived

    def finish_frame(self, cost: int = 1) -> None:
        """Count a frame as answered, by the cost with which it was added."""
        self._frames -= cost
        # Only when all frames are done, because counting bytes for each frame would cost more than it is worth.
        if self._frames == 0:
            self._open_bytes = 0
            self._emptied.come()

    async def wait_until_empty(self) -> None:
        """Wait until every frame is answered."""
        if self._frames:
            await self._emptied.wait()
