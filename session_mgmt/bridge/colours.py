"""Async versions of sync functions, like Django's own ``aget`` and ``asave``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
R = TypeVar("R")


def make_async(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a coroutine function that runs the function in the thread of the request, or of the test."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # In the thread that Django uses for the request, because another thread would not be inside the caller's
        # transaction.
        return await sync_to_async(function, thread_sensitive=True)(*args, **kwargs)

    call.__name__ = f"a{function.__name__}"
    call.__qualname__ = function.__qualname__.replace(function.__name__, call.__name__)
    call.__doc__ = f"Async version of ``{function.__name__}``."
    return call
