"""Making an ``Update`` of what somebody asks for, outside the lane.

Blind changes (total operations, merge patches, whole values) are made without the document. The others, and any that
may pass the size limit, are computed from the document as it is and hold for that version only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from session_mgmt.actions import bodies
from session_mgmt.actions.heads import HeadCache
from session_mgmt.actions.state import Update
from session_mgmt.conf import NAME, settings
from session_mgmt.documents import normalise, operations, size, touched
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.operations import Op
from session_mgmt.documents.values import MISSING
from session_mgmt.exceptions import DocumentTooLarge, InvalidJSON, SessionMgmtError, subclasses

_BY_NAME = {error.name: error for error in subclasses()}


@lru_cache(maxsize=1)
def limits() -> Limits:
    """The limits of documents, from the settings."""
    now = settings()
    return Limits(
        document_bytes=now.max_document_bytes,
        depth=now.max_depth,
        keys=now.max_keys,
        key_bytes=now.max_key_bytes,
        string_bytes=now.max_string_bytes,
        ops=now.max_ops,
    )


@receiver(setting_changed)
def _forget_limits(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        limits.cache_clear()


def translated(error: DocumentError) -> SessionMgmtError:
    """A refusal of the pure room as one of ours; their codes are the same words."""
    return _BY_NAME.get(error.code, InvalidJSON)(str(error) or None)


def is_blind(kind: str) -> bool:
    """Whether a change can be made into operations without the document."""
    return normalise.is_blind(_kind(kind))


def blind(document: int, kind: str, change: Any, **facts: Any) -> Update:
    """An update that holds for whatever the document is. ``facts`` are further fields of ``Update``. Raises
    ``SessionMgmtError``.
    """
    return _update(document, kind, change, MISSING, **facts)


def from_head(
    using: str, document: int, kind: str, change: Any, *, heads: HeadCache | None = None, **facts: Any
) -> Update:
    """An update computed from the document as it is now; with the exact size of the result where its bound does not
    fit. Raises ``SessionMgmtError``.
    """
    now = settings()
    body = bodies.load(using, document, limit=now.max_document_bytes * 2, heads=heads)
    update = _update(document, kind, change, body.data, at_version=body.position.offset, **facts)
    if body.bound + update.growth <= now.max_document_bytes:
        # To measure costs O(document), and nobody would look at it.
        return update
    result = operations.apply(body.data, operations.decode(update.ops))
    exact = size.size(result)
    if exact > now.max_document_bytes:
        raise DocumentTooLarge(size=exact, limit=now.max_document_bytes)
    return replace(update, exact_size=exact)


def _update(document: int, kind: str, change: Any, head: Any, **facts: Any) -> Update:
    ops = total(kind, change, head)
    return Update(
        document=document,
        ops=operations.encode(ops),
        paths=touched.paths(ops),
        growth=size.growth(ops),
        kind="replace" if kind == "data" else "patch",
        **facts,
    )


def total(kind: str, change: Any, head: Any) -> tuple[Op, ...]:
    """The total operations of a change that was made on ``head``. Raises ``SessionMgmtError``."""
    try:
        return normalise.normalise(_kind(kind), change, head, limits())
    except DocumentError as error:
        raise translated(error) from error


def _kind(kind: str) -> Any:
    return "replace" if kind == "data" else kind
