"""Async versions of the methods of a document, named by Django's rule: an ``a`` in front of the name.

That of ``sync`` is ``async_``, because ``async`` is a keyword, and PEP 8 appends an underscore to such names.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from session_mgmt.actions.outbox import Ticket
from session_mgmt.actions.state.lookup import ClientState
from session_mgmt.bridge.colours import make_async
from session_mgmt.protocol.position import Position

# The arguments are those of the method without the ``a``.
Call: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
Write: TypeAlias = Callable[..., Coroutine[Any, Any, Position | Ticket]]


class AsyncCalls:
    """Add async versions of a class's methods when the class is created. This list names all of them."""

    aget: Call
    ainfo: Callable[..., Coroutine[Any, Any, ClientState]]
    achecksum: Callable[..., Coroutine[Any, Any, str]]
    async_: Callable[..., Coroutine[Any, Any, dict[str, Any]]]
    aupdate: Write
    acreate_if_absent: Write
    areplace: Write
    aclear: Write
    ahistory: Callable[..., Coroutine[Any, Any, dict[str, Any]]]
    aread_at: Call
    adiff: Callable[..., Coroutine[Any, Any, list[dict[str, Any]]]]
    apersist: Callable[..., Coroutine[Any, Any, int]]
    acheckpoints: Callable[..., Coroutine[Any, Any, list[dict[str, Any]]]]
    aforget: Callable[..., Coroutine[Any, Any, bool]]
    arestore: Write
    acompress: Callable[..., Coroutine[Any, Any, int]]
    aconflicts: Callable[..., Coroutine[Any, Any, list[dict[str, Any]]]]
    aresolve: Callable[..., Coroutine[Any, Any, Position]]
    asize: Callable[..., Coroutine[Any, Any, int]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in AsyncCalls.__annotations__:
            # Built from the methods themselves, so that both versions always have the same arguments.
            setattr(cls, name, make_async(getattr(cls, name.removeprefix("a").removesuffix("_"))))
