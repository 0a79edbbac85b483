"""Check functions of the project when they are declared, and call them so that a wrong answer never grants a
permission.
"""

from __future__ import annotations

import functools
import inspect
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.db import Error as DjangoError
from django.db import ProgrammingError
from django.utils.module_loading import import_string

from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionMgmtError, Unavailable

# Not subclasses of ``Exception``: handlers of errors let them pass, so that a program can end.
_QUITTING: Final = (SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError)
# Kinds of a driver's error (PEP 249) that are temporary. Two errors of these kinds are not: a statement that exceeds
# the project's time limit, and one that SQLite does not understand.
_PASSING: Final = {"OperationalError", "InterfaceError"}
_SLOW: Final = "57014"
_WRONG: Final = 1
# Temporary errors of other kinds, by SQLSTATE: the server is read-only now, or a snapshot is too old.
_PASSING_STATES: Final = {"25006", "72000"}
# The same by SQLite's codes: somebody is replacing the database file, and has not finished writing it.
_PASSING_CODES: Final = {11, 26}
# Texts of Django and of ``sqlite3``, for a connection that was lost inside ``atomic()`` and is used again.
_LOST: Final = {"Cannot open a new connection in an atomic block.", "Cannot operate on a closed database."}


class UnusableAnswer(Exception):
    """Answer of a function of the project that is neither yes nor no, and might count as true."""


def check_function(function: Any, role: str, /, *arguments: str, **named: str) -> None:
    """Raise ``TypeError`` unless the function is synchronous and can be called with these arguments."""
    # A class is callable too, and its instance would be taken for an answer.
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{role} needs a function, not {function!r}.")
    if any(_is_async(layer) for layer in _iter_layers(function)):
        raise TypeError(f"{role}: {name_of(function)} is async or a generator; write a plain def, without yield.")
    try:
        signature = inspect.signature(function)
    except ValueError:
        # A function in C has no signature to check; its first call shows whether the arguments fit.
        return
    try:
        # Only bind the arguments: a declaration must not call the function.
        signature.bind(*arguments, **named)
    except TypeError as error:
        asked = ", ".join([*arguments, *named])
        raise TypeError(f"{role}: {name_of(function)} is called with ({asked}): {error}.") from None


def ask(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> bool:
    """Call a function of the project that decides a permission, and return its answer. Raises ``UnusableAnswer`` for
    anything but a bool or ``None``.

    Truthiness is not enough: an error object, a response, ``(False, "why")`` or a method that somebody forgot to call
    would grant the permission.
    """
    answer = call_sync(function, *arguments, **named)
    if answer is not None and not isinstance(answer, bool):
        raise UnusableAnswer(f"{name_of(function)} returned {type(answer).__name__}; return True or False.")
    # A function without a return statement answers `None`, which denies.
    return bool(answer)


def find_hook(name: str) -> Callable[..., Any] | None:
    """Return the function that a setting holds or names by its dotted path; ``None`` if the setting is empty."""
    given = getattr(settings(), name)
    return import_string(given) if isinstance(given, str) else given


def call_sync(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    """Call a function of the project.

    Raises ``UnusableAnswer`` if it returns a coroutine or a generator, or quits: a decorator can hide from
    ``check_function`` that it is async. Raises ``Unavailable`` if it fails because a database is away.
    """
    try:
        with telling_outages():
            answer = function(*arguments, **named)
    except SessionMgmtError as error:
        # Places in documents of the function, whose keys the client that waits for the answer may not know.
        for fact in ("path", "paths"):
            error.facts.pop(fact, None)
        raise
    except _QUITTING as error:
        if threading.current_thread() is threading.main_thread():
            # A signal handler may have raised it: the program is meant to end.
            raise
        # Passed on, it would end whatever awaits the answer: a connection, or the whole event loop.
        raise UnusableAnswer(f"{name_of(function)} raised {type(error).__name__} and not an error.") from error
    if inspect.isawaitable(answer) or inspect.isasyncgen(answer) or inspect.isgenerator(answer):
        if inspect.iscoroutine(answer):
            # Close it, or Python warns that it was never awaited.
            answer.close()
        raise UnusableAnswer(f"{name_of(function)} is async or a generator; write a plain def, without yield.")
    return answer


@contextmanager
def telling_outages() -> Iterator[None]:
    """Raise ``Unavailable`` if the block fails because a database is away, busy or out of memory. This is no answer of
    the project, and the caller may try again.
    """
    try:
        yield
    except SessionMgmtError:
        # The function's own answer counts, whatever errors it has handled.
        raise
    except Exception as error:
        if not any(map(_tells_of_outage, _iter_reasons(error))):
            raise
        raise Unavailable(retry_after=1.0) from error


def _iter_reasons(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes and contexts, even if it was raised ``from None``."""
    waiting: list[BaseException | None] = [error]
    seen = set()
    while waiting:
        reason = waiting.pop()
        if reason is not None and id(reason) not in seen:
            seen.add(id(reason))
            yield reason
            waiting += [reason.__cause__, reason.__context__]


def _tells_of_outage(reason: BaseException) -> bool:
    """Return whether this is an error of a database driver, after which the same statement may succeed later.

    Most of Django's own errors do not count: Django raises them from a driver's error, which is looked at too, and a
    function may also raise them by itself.
    """
    if isinstance(reason, MemoryError) or (isinstance(reason, ProgrammingError) and str(reason) in _LOST):
        # SQLite raises this if it has no memory.
        return True
    if isinstance(reason, DjangoError):
        return False
    state, code = getattr(reason, "sqlstate", None), getattr(reason, "sqlite_errorcode", None)
    if state in _PASSING_STATES or (code is not None and code & 0xFF in _PASSING_CODES):
        return True
    kinds = {kind.__name__ for kind in type(reason).__mro__}
    return not kinds.isdisjoint(_PASSING) and state != _SLOW and code != _WRONG


def _iter_layers(function: Any) -> Iterator[Any]:
    """Yield the function and everything that it wraps: partials, callable objects, caches."""
    while True:
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, staticmethod | classmethod | functools._lru_cache_wrapper):
            function = function.__wrapped__
        elif inspect.isroutine(function):
            return
        else:
            function = type(function).__call__


def _is_async(function: Any) -> bool:
    kinds = (iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return any(is_kind(function) for is_kind in kinds)


def name_of(function: Any) -> str:
    """Return module and name of a function, also of an object that can be called."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
