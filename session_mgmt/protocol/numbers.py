"""Numbers of writes that are not valid JSON, so that these writes can be refused by their numbers."""

from __future__ import annotations

import re

# In well-formed text, a member after the type or before the last brace belongs to the frame itself.
_TYPE = r'\s*\{\s*"type"\s*:\s*"(?:update|publish|send)"\s*,'
_SEQ = r'\s*"seq"\s*:\s*([1-9][0-9]{0,15})\s*'
_NUMBER_IN_FRONT = re.compile(f"{_TYPE}{_SEQ}[,}}]")
_NUMBER_AT_END = re.compile(rf",{_SEQ}\}}\s*\Z")
_TYPE_IN_FRONT = re.compile(_TYPE)
_AT_THE_END = 60


def find_number(text: str) -> int | None:
    """Find the ``seq`` of a write that is not valid JSON: ``type`` must come first, and the number next or last."""
    if _TYPE_IN_FRONT.match(text) is None:
        return None
    # With a refusal that has no number, the client would wait for this number for ever.
    found = _NUMBER_IN_FRONT.match(text) or _NUMBER_AT_END.search(text[-_AT_THE_END:])
    return int(found[1]) if found else None
