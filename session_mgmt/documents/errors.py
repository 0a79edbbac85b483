"""Errors of documents and of changes to them. Messages never contain the content of a document."""

from __future__ import annotations

from typing import ClassVar

# Keys may be long, and the path is stored with the receipt of a refused write.
_LONGEST_PATH = 200


class DocumentError(ValueError):
    """Base class of all errors of documents; `code` is the stable name that clients receive.

    `path` is the place of the error in the value, if one place causes it. The text does not have it: logs show texts,
    and names of keys can be people's data.
    """

    code: ClassVar[str] = "invalid_document"
    # False if the value as a whole breaks the rule, such as by its size.
    has_place: ClassVar[bool] = True

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self._steps: list[str] = []

    def add_step(self, step: str | int) -> None:
        """Note that the error is inside this key or index. Call it from the innermost container to the outermost."""
        if self.has_place:
            self._steps.append(str(step).replace("~", "~0").replace("/", "~1"))

    @property
    def path(self) -> str:
        """Return the place as a JSON pointer, cut to its first 200 characters; empty for the whole value."""
        pointer = "".join(f"/{step}" for step in reversed(self._steps))
        shown = pointer if len(pointer) <= _LONGEST_PATH else f"{pointer[:_LONGEST_PATH]}…"
        # A key may be refused because of these characters, and the path must still fit into JSON and a database.
        return shown.encode("utf-8", "replace").decode().replace("\x00", "?")


class InvalidJSON(DocumentError):
    code = "invalid_json"


class InvalidPatch(DocumentError):
    """Change that is malformed, whatever document it is for."""

    code = "invalid_patch"


class PatchFailed(DocumentError):
    """Well-formed RFC 6902 operation that does not apply to this document, or a failed `test`."""

    code = "patch_failed"


class InvalidPath(DocumentError):
    code = "invalid_path"


class ForbiddenKey(DocumentError):
    """Key `__proto__`: harmless here, but in careless JavaScript code it changes the prototype chain."""

    code = "forbidden_key"


class DocumentTooLarge(DocumentError):
    code = "document_too_large"
    has_place = False


class TooDeep(DocumentError):
    code = "too_deep"


class TooManyKeys(DocumentError):
    code = "too_many_keys"
    has_place = False


class KeyTooLong(DocumentError):
    code = "key_too_long"


class StringTooLong(DocumentError):
    code = "string_too_long"


class TooManyOps(DocumentError):
    code = "too_many_ops"


class NumberOutOfRange(DocumentError):
    code = "number_out_of_range"


class UnreadableBody(DocumentError):
    """Stored body that cannot be decoded or authenticated. Never serve an empty document instead."""

    code = "state_unreadable"
