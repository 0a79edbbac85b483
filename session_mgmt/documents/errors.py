"""Errors of documents and of changes to them. Messages never contain the content of a document."""

from __future__ import annotations

from typing import ClassVar


class DocumentError(ValueError):
    """Base class of all errors of documents; `code` is the stable name that clients receive."""

    code: ClassVar[str] = "invalid_document"


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
    """Stored body that cannot be decoded or authenticated. Never serve an empty document instead."""

    code = "state_unreadable"
