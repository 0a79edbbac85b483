"""Declaration of a call beside the method that answers it: its input, its answer, and who may make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from session_mgmt.api.queries import Parameter, check_query
from session_mgmt.api.rights import Right

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One call.

    ``body`` is the form of its request and ``query`` its parameters, all others are refused. ``answer`` tells the
    fields of its answer. ``right`` is for callers who do not own the session. ``is_activity`` counts the call as
    activity of its session.
    """

    summary: str
    body: Any = None
    query: tuple[Parameter, ...] = ()
    status: int = 200
    answer: str = ""
    right: Right | None = None
    is_activity: bool = False


def endpoint(summary: str, **facts: Any) -> Callable[[F], F]:
    """Declare the call that a method answers. The fields are those of ``Endpoint``."""
    declared = Endpoint(summary=summary, **facts)

    def declare(answer: F) -> F:
        @wraps(answer)
        def run(view: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            check_query(request, declared.query)
            view.begin(declared)
            response = answer(view, request, *args, **kwargs)
            # Only now: a call that is refused neither did anything nor counts as activity.
            view.finish(response, **kwargs)
            return response

        run.endpoint = declared  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return declare
