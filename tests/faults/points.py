"""Points at which servers are killed on purpose: before and after each COMMIT of the app's own transactions.

A point is the function that opens the transaction. Servers of these tests look for an order at each of them: a file of
its name. Who finds one takes it away and is gone, as by SIGKILL from outside.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

BEFORE, AFTER = "before", "after"
PHASES = (BEFORE, AFTER)
# What happens at a point, in a phase.
Act = Callable[[str, str], None]

_ROOM = "session_mgmt.actions."
_NAME = "open_transaction"
_ACTIONS = Path(__file__).resolve().parents[2] / "session_mgmt" / "actions"


def watch_points(act: Act) -> Callable[[], None]:
    """Call ``act`` at every point; return the way to stop."""
    # The runs of servers need no Django themselves.
    isolation = import_module("session_mgmt.models.isolation")
    opened = isolation.open_transaction

    def open_watched(using: str) -> Any:
        frame = sys._getframe(1)
        return _act_around(act, _name_point(frame.f_globals["__name__"], frame.f_code.co_qualname), opened(using))

    found = [module for name, module in list(sys.modules.items()) if name.startswith(_ROOM) and hasattr(module, _NAME)]
    for module in (isolation, *found):
        setattr(module, _NAME, open_watched)

    def stop() -> None:
        for module in (isolation, *found):
            setattr(module, _NAME, opened)

    return stop


@contextmanager
def _act_around(act: Act, point: str, transaction: AbstractContextManager[None]) -> Iterator[None]:
    with transaction:
        yield
        act(point, BEFORE)
    act(point, AFTER)


def _name_point(module: str, function: str) -> str:
    return f"{module.removeprefix(_ROOM)}.{function}"


def list_points() -> set[str]:
    """List the points of the code, by its text."""
    return {
        _name_point(".".join(file.relative_to(_ACTIONS).with_suffix("").parts), function)
        for file in _ACTIONS.rglob("*.py")
        for function in _find_openers(ast.parse(file.read_text()), "")
    }


def _find_openers(node: ast.AST, inside: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == _NAME:
            yield inside.removesuffix(".<locals>.").removesuffix(".")
        if isinstance(child, ast.ClassDef):
            yield from _find_openers(child, f"{inside}{child.name}.")
        elif isinstance(child, ast.FunctionDef):
            yield from _find_openers(child, f"{inside}{child.name}.<locals>.")
        else:
            yield from _find_openers(child, inside)


def place_orders(sqlite: Path) -> Path:
    """Return the folder of orders for servers with this file of SQLite, which need not be there."""
    return sqlite.with_name(f"{sqlite.name}.orders")


def obey_orders(point: str, phase: str) -> None:
    """End this process, if that is ordered for here."""
    order = place_orders(Path(os.environ["SQLITE_PATH"])) / f"{point} {phase}"
    with suppress(FileNotFoundError):
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
