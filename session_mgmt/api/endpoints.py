"""Declaration of a call beside the method that answers it: its input, its answer, and who may make it."""

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
    """One call.

    ``body`` and ``answer`` name components of ``schemas``, ``description`` tells more of the answer. ``query`` lists
    the parameters of the address, any other is refused; ``headers`` those that the call heeds. ``errors`` are the
    refusals besides those that every call has. ``right`` is for callers who do not own the session. ``is_activity``
    counts the call as activity of its session. ``is_for_sisters`` lets a user's other sessions and login make it.
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
    """Declare the call that a method answers. The fields are those of ``Endpoint``."""
    declared = Endpoint(summary=summary, **facts)

    def declare(answer: F) -> F:
        @wraps(answer)
        def run(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            # First: a misspelt parameter would be ignored, and the caller take the answer for another one.
            check_query(request, declared.query)
            view.begin(declared)
            response = answer(view, request, *args, **kwargs)
            # Only now: a call that is refused neither did anything nor counts as activity.
            view.finish(response, **kwargs)
            return response

        run.endpoint = declared  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return declare
