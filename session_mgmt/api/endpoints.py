"""Declare each call next to the method that answers it: its input, its response, and who may make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from session_mgmt.api.queries import Parameter, check_query
from session_mgmt.api.rights import Right
from session_mgmt.exceptions import SessionMgmtError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Declaration of one call.

    ``body`` and ``answer`` name components of ``schemas``, ``description`` explains the response. ``query`` lists the
    allowed parameters of the URL, ``headers`` the headers that the call reads. ``errors`` are the refusals besides
    those of every call. ``right`` is the permission for callers who do not own the session. With ``is_activity`` the
    call counts as activity of its session. With ``is_for_sisters`` the same user's other sessions and login may make
    it.
    """

    summary: str
    description: str = ""
    body: str | None = None
    query: tuple[Parameter, ...] = ()
    headers: tuple[str, ...] = ()
    status: int = 200
    answer: str | None = None
    has_etag: bool = False
    errors: tuple[type[SessionMgmtError], ...] = ()
    right: Right | None = None
    is_activity: bool = False
    is_for_sisters: bool = False


def endpoint(summary: str, **facts: Any) -> Callable[[F], F]:
    """Declare the call that a method answers; the arguments are the fields of ``Endpoint``."""
    declared = Endpoint(summary=summary, **facts)

    def declare(answer: F) -> F:
        @wraps(answer)
        def run(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            # Check the parameters first: a misspelt one would be ignored, and the caller would misunderstand the
            # response.
            check_query(request, declared.query)
            view.begin(declared)
            response = answer(view, request, *args, **kwargs)
            # Only after the call, because a refused call has done nothing and is no activity.
            view.finish(response, **kwargs)
            return response

        run.endpoint = declared  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return declare
