"""Reader of a WebSocket client's bytes (RFC 6455 section 5).

Nearly all frames of a client are whole masked texts, and are read here. Every other frame is passed unchanged to a
complete parser: control frames, parts of a message, and frames that break a rule.
"""

from __future__ import annotations

from websockets.frames import apply_mask

# The last part of a message (FIN) and a text.
_WHOLE_TEXT = 0x81
_OPCODE, _OPCODES = 0x0F, frozenset((0, 1, 2, 8, 9, 10))
_MASKED = 0x80
_MASK_BYTES = 4
_HEADER_BYTES = 2
# Frames of a connection that are read before it is the turn of others.
LOT = 32


class FrameReader:
    """Reader of one connection; a transport derives from it and handles the frames.

    ``halted``: no further frame is taken; bytes that arrive are kept. ``in_parts``: the complete parser is in the
    middle of a message, so a text frame would not be a whole one. ``most_bytes`` bounds a frame before it is kept.
    """

    __slots__ = ("_given_over", "_needed", "_rest", "halted", "in_parts", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.halted = self.in_parts = self._given_over = False
        self._rest: bytearray | None = None
        self._needed = 0

    def take_text(self, payload: bytes) -> None:
        """Take a whole text message; its UTF-8 is not checked yet."""
        raise NotImplementedError

    def take_other(self, frame: bytes) -> None:
        """Take any other frame unchanged; of a frame that breaks a rule, and after it, the bytes as they come."""
        raise NotImplementedError

    def pass_turn(self) -> None:
        """Halt, and continue when other connections have had their turn."""
        raise NotImplementedError

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are kept: the beginning of a frame, and frames that arrived while halted."""
        return len(self._rest) if self._rest is not None else 0

    def read(self, data: bytes) -> None:
        """Read bytes of the client, cut anywhere."""
        if self._rest is not None:
            self._rest += data
            # A frame in many pieces is examined twice, not once for each piece.
            if self.halted or len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), None
        at = self._read_frames(data)
        if at < len(data):
            self._rest = bytearray(data[at:])

    def go_on(self) -> None:
        """Continue to read after a halt."""
        self.halted = False
        # Bytes that arrived during the halt were stored, and may contain complete frames.
        self._needed = 0
        self.read(b"")

    def forget_rest(self) -> None:
        """Forget the bytes that were not read."""
        self._rest = None

    def _read_frames(self, data: bytes) -> int:
        """Read frames until one is incomplete, and return where it starts; note how many bytes it needs."""
        at, size, left = 0, len(data), LOT
        self._needed = 0
        while not self.halted:
            if self._given_over:
                self.take_other(data[at:])
                return size
            start = at + _HEADER_BYTES
            if start > size:
                return at
            # Without the mask bit the length is negative, which is refused below.
            plain, length = data[at] == _WHOLE_TEXT, data[at + 1] - _MASKED
            if length >= 126 and (plain or data[at] & _OPCODE in _OPCODES):
                # RFC 6455 section 5.2: 126 announces a length of two bytes, and 127 one of eight.
                extended = 2 if length == 126 else 8
                if start + extended > size:
                    return at
                length = int.from_bytes(data[start : start + extended], "big")
                start += extended
            if length < 0 or length > self.most_bytes or not (plain or data[at] & _OPCODE in _OPCODES):
                # Not masked, too long, or of an unknown kind: nothing after it can be read as frames.
                self._given_over = True
                continue
            start += _MASK_BYTES
            stop = start + length
            if stop > size:
                self._needed = stop - at
                return at
            # Otherwise a client that sends without a pause would keep the loop from all others.
            if left == 0:
                self.pass_turn()
                return at
            left -= 1
            if plain and not self.in_parts:
                self.take_text(apply_mask(data[start:stop], data[start - _MASK_BYTES : start]))
            else:
                self.take_other(data[at:stop])
            at = stop
        return at
