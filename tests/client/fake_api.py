"""A REST API that answers as the test says, and a clock of the clients that stands still."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from session_mgmt.client.clock import Clock
from tests.turns import pass_turn

Answer = httpx.Response | Exception | dict[str, Any]


class Api:
    """REST API of every client of a test; `answers` are those to the next calls, one each."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.calls: list[SimpleNamespace] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path, headers = request.url.path.removeprefix("/api/"), request.headers
        self.calls.append(SimpleNamespace(method=request.method, path=path, body=body, headers=headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer) if isinstance(answer, dict) else answer

    @property
    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", lambda _, request: made.answer(request))
    return made


class FakeClock:
    """Time passes when the test says so; a wait between two attempts is only noted."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.waits: list[float] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await pass_turn()  # others run, as in any wait

    def call_later(self, seconds: float, callback: Callable[[], None]) -> SimpleNamespace:
        timer = (self.time + seconds, callback)
        self._timers.append(timer)
        return SimpleNamespace(cancel=lambda: timer in self._timers and self._timers.remove(timer))

    def ring_early(self) -> None:
        """Call back everybody, as timers do that run ahead of the clock."""
        early, self._timers = self._timers, []
        for _, callback in early:
            callback()

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        due = [timer for timer in self._timers if timer[0] <= self.time]
        self._timers = [timer for timer in self._timers if timer not in due]
        for _, callback in due:
            callback()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Clock of every client of this test."""
    fake = FakeClock()
    monkeypatch.setattr(Clock, "now", lambda _: fake.now())
    monkeypatch.setattr(Clock, "sleep", lambda _, seconds: fake.sleep(seconds))
    monkeypatch.setattr(Clock, "call_later", lambda _, seconds, callback: fake.call_later(seconds, callback))
    return fake


def down() -> Exception:
    return httpx.ConnectError("connection refused")


def refusal(name: str, status: int = 401, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": 201, "name": name, "temporary": False, **more})


def pair(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Tokens of an answer: `sma_1` and `smr_1`, for 15 minutes."""
    return {
        "access": f"sma_{number}",
        "refresh": f"smr_{number}",
        "expires_in": 900.0,
        "login_due_in": None,
        **changes,
    }


def entered(
    verdict: str = "created", session: str = "s-1", user: str | None = "7", tokens: int = 1, **changes: Any
) -> dict[str, Any]:
    """Answer of `sessions/enter/`."""
    return {
        "verdict": verdict,
        "reason": "",
        "user_id": user,
        "session": {"session_id": session, "user_id": user, "state": "active"},
        **pair(tokens),
        "positions": {"session": ["e1", 0, ""]},
        "endpoints": {"websocket": "/ws/session/"},
        "receipt": None,
        "documents": None,
        "on_logout": "end",
        **changes,
    }
