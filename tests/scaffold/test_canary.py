"""The canary itself: it finds a token and a nonce wherever a record can hold one, and in the logs of servers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from session_mgmt.actions.sessions import tokens
from tests.canary import Canary, check_log
from tests.canary import canary as of_the_run

NONCE = secrets.token_urlsafe(32)
FAMILY = secrets.token_urlsafe(16)
ACCESS = f"sma_{secrets.token_urlsafe(32)}"
TOKENS = {
    "access": ACCESS,
    "cookie": f"smc_{secrets.token_urlsafe(32)}",
    "refresh": f"smr_{FAMILY}_{secrets.token_urlsafe(32)}",
    "refresh of dashes": f"smr_-{FAMILY[1:]}_{'-' * 43}",
}


def fail(secret: str) -> None:
    try:
        raise ValueError(f"no {secret}")
    except ValueError as error:
        raise RuntimeError("outside") from error


def log_failure(log: logging.Logger, secret: str) -> None:
    try:
        fail(secret)
    except RuntimeError:
        log.exception("It failed")


WAYS: dict[str, Callable[[logging.Logger, str], None]] = {
    "message": lambda log, secret: log.warning(f"refused {secret}"),
    "argument": lambda log, secret: log.warning("refused %s", secret),
    "inside an argument": lambda log, secret: log.warning("refused %s", {"a": [secret]}),
    "bytes": lambda log, secret: log.warning("refused %r", secret.encode()),
    "argument that is not shown": lambda log, secret: log.warning("refused", {"token": secret}),
    "argument that does not fit": lambda log, secret: log.warning("refused", secret),
    "cause of an exception": log_failure,
    "extra": lambda log, secret: log.warning("refused", extra={"facts": {"token": secret}}),
    "address": lambda log, secret: log.warning("GET /api/?token=%s&a=1", secret),
}


@pytest.fixture
def log() -> logging.Logger:
    """A logger that passes nothing on, as Django's own for requests of a development server."""
    log = logging.Logger("somebody", logging.INFO)
    log.addHandler(logging.NullHandler())
    return log


@pytest.fixture
def watching() -> Any:
    canary = Canary()
    with canary.watching():
        yield canary
    # The run's own canary has seen the same; these tests are about what it finds.
    of_the_run.take()


@pytest.mark.parametrize("secret", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_token_is_found(way: Callable[[Any, str], None], secret: str, log: logging.Logger, watching: Canary) -> None:
    way(log, secret)
    assert set(watching.take()) == {f"somebody: {secret[:12]}…"}
    assert watching.take() == []


def test_a_nonce_is_found_by_its_name(log: logging.Logger, watching: Canary) -> None:
    for text in (f'{{"nonce": "{NONCE}"}}', f"{{'nonce':'{NONCE}'}}", f"nonce={NONCE}", f"nonce: {NONCE}"):
        log.info("%s", text)
        assert len(watching.take()) > 0, text


def test_what_may_be_logged_is_not_found(log: logging.Logger, watching: Canary) -> None:
    log.warning("%s %s", "sma_", tokens.hash_token(ACCESS), extra={"facts": {"prefix": ACCESS[:20]}})
    log.debug("refused %s", ACCESS)
    assert watching.take() == []


def test_the_log_of_a_server_is_looked_at(tmp_path: Path) -> None:
    log = tmp_path / "log"
    check_log(log)
    log.write_bytes(b"\xff started\n" + f"GET /api/?token={ACCESS} 401\n".encode())
    check_log(log)
    assert of_the_run.take() == [f"log: {ACCESS[:12]}…"]


@pytest.mark.requirement("ASVS 16.2.5")
def test_the_run_is_watched() -> None:
    """Whatever any logger says in this process comes by the canary that every test is judged by."""
    logging.getLogger("somebody.else").warning("refused %s", ACCESS)
    assert set(of_the_run.take()) == {f"somebody.else: {ACCESS[:12]}…"}
