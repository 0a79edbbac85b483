"""Numbers of writes whose text cannot be read as JSON, so that they can be refused by their numbers."""

from __future__ import annotations

import re

# In well formed text, whatever follows the type or stands before the last brace is a member of the frame itself.
_TYPE = r'\s*\{\s*"type"\s*:\s*"(?:update|publish|send)"\s*,'
_SEQ = r'\s*"seq"\s*:\s*([1-9][0-9]{0,15})\s*'
_NUMBER_IN_FRONT = re.compile(f"{_TYPE}{_SEQ}[,}}]")
_NUMBER_AT_END = re.compile(rf",{_SEQ}\}}\s*\Z")
_TYPE_IN_FRONT = re.compile(_TYPE)
_AT_THE_END = 60


def find_number(text: str) -> int | None:
    """Find the ``seq`` of a write whose text cannot be read: ``type`` must come first, the number next or last."""
    if _TYPE_IN_FRONT.match(text) is None:
        return None
    # A refusal without a number would leave the client waiting for this one for ever.
    found = _NUMBER_IN_FRONT.match(text) or _NUMBER_AT_END.search(text[-_AT_THE_END:])
    return int(found[1]) if found else None
