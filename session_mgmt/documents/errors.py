"""Errors of documents and of changes to them. Messages never contain the content of a document."""

from __future__ import annotations

from typing import ClassVar


class DocumentError(ValueError):
    """Base of all errors of this package; `code` is the stable name that outer layers put on the wire."""

    code: ClassVar[str] = "invalid_document"


class InvalidJSON(DocumentError):
    code = "invalid_json"


class InvalidPatch(DocumentError):
    """Malformed change, whatever document it is meant for."""

    code = "invalid_patch"


class PatchFailed(DocumentError):
    """Well-formed RFC 6902 operation that does not apply to this document, or a failed `test`."""

    code = "patch_failed"


class InvalidPath(DocumentError):
    code = "invalid_path"


class ForbiddenKey(DocumentError):
    """`__proto__`: harmless here, but it reaches into the prototype chain of careless JavaScript."""

    code = "forbidden_key"


class DocumentTooLarge(DocumentError):
    code = "document_too_large"


class TooDeep(DocumentError):
    code = "too_deep"


class TooManyKeys(DocumentError):
    code = "too_many_keys"


class KeyTooLong(DocumentError):
    code = "key_too_long"


class StringTooLong(DocumentError):
    code = "string_too_long"


class TooManyOps(DocumentError):
    code = "too_many_ops"


class NumberOutOfRange(DocumentError):
    code = "number_out_of_range"


class UnreadableBody(DocumentError):
    """Stored body that cannot be decoded or authenticated. Never answer with an empty document instead."""

    code = "state_unreadable"
