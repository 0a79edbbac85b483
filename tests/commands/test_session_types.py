"""``session_types`` writes what Python declares as types that the browser client reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, NotRequired, TypedDict
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from session_mgmt.management.commands.session_types import write_application
from session_mgmt.protocol.patterns import compile_pattern
from session_mgmt.protocol.typescript import TypeWriter
from session_mgmt.registry import Registry, Topic

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

COMPILED = Path(__file__).resolve().parent.parent.parent / "session_mgmt/js/tests/types/declared.ts"


class Status(Enum):
    PAID = "paid"
    SENT = "sent"


class Order(TypedDict):
    status: Status
    note: NotRequired[str | None]


class Tree(TypedDict):
    label: str
    children: list[Tree]


@dataclass
class Line:
    sku: str
    amounts: tuple[int, float]
    tags: dict[str, tuple[bool, ...]]


class Cart(TypedDict("Cart", {"line-items": list[Line]})):  # type: ignore[misc]
    made: datetime


Sku = NewType("Sku", str)


@pytest.mark.parametrize(
    ("annotation", "written"),
    [
        (Literal["a", 1, True, None], '"a" | 1 | true | null'),
        (int | float | None, "number | null"),
        (list, "Array<any>"),
        (set[str], "Array<string>"),
        (dict[str, list[UUID]], "Record<string, Array<string>>"),
        (Annotated[Sku, "a name"], "string"),
        (Status, '"paid" | "sent"'),
        (str | Any, "any"),
        (bytes, "any"),
        (object, "any"),
        (Any, "any"),
    ],
    ids=str,
)
def test_an_annotation_has_a_type(annotation: Any, written: str) -> None:
    assert TypeWriter().write_type(annotation) == written


def test_a_class_is_an_interface_that_may_name_itself() -> None:
    writer = TypeWriter()
    assert [writer.write_type(Tree), writer.write_type(list[Tree])] == ["Tree", "Array<Tree>"]
    assert writer.interfaces == {"Tree": "  label: string;\n  children: Array<Tree>;\n"}


def test_two_classes_of_one_name_are_two_interfaces() -> None:
    first, second = (TypedDict("Same", {name: int}) for name in ("a", "b"))  # type: ignore[misc]
    writer = TypeWriter()
    assert [writer.write_type(class_) for class_ in (first, second, first)] == ["Same", "Same2", "Same"]


def declare() -> Registry:
    def check_out(session: Any, message: Literal["checkout"]) -> Order:
        return {"status": Status.PAID}

    def log(session: Any, data: Unknown) -> None: ...

    def merge_cart(visitor: Any, users: Any, *, user: Any) -> Cart: ...

    def merge_lines(visitor: Any, users: Any, *, user: Any) -> list[Line]: ...

    def allow(session: Any, pk: str) -> bool:
        return True

    declared = [("orders:{pk}", Order), ("rooms:{pk}", Any)]
    topics = [Topic(compile_pattern(text), allow, False, None, None, data=data) for text, data in declared]
    return Registry(topics, [check_out, log], claim_handlers={"main": merge_cart, "lines": merge_lines})


def test_an_application_is_what_it_declares() -> None:
    assert write_application(declare()).split("export type ", 1)[1] == (
        "App = {\n"
        "  state: Cart;\n"
        "  documents: {\n"
        "    lines: Array<Line>;\n"
        "  };\n"
        "  topics: {\n"
        '    "orders:{pk}": Order;\n'
        '    "rooms:{pk}": any;\n'
        "  };\n"
        '  send: { in: "checkout"; out: Order } | { in: any; out: any };\n'
        "};\n"
    )


def test_the_types_are_those_that_the_tests_of_the_client_compile() -> None:
    assert write_application(declare()) == COMPILED.read_text(encoding="utf-8")


def test_an_application_that_declares_nothing_has_no_types() -> None:
    assert write_application(Registry()).endswith("export type App = {\n};\n")


def test_the_file_is_written_and_checked(tmp_path: Path) -> None:
    file, out = tmp_path / "app.ts", StringIO()
    with pytest.raises(CommandError, match="not up to date"):
        call_command("session_types", file, "--check")
    call_command("session_types", file)
    call_command("session_types", file, "--check")
    call_command("session_types", stdout=out)
    assert out.getvalue() == file.read_text()
    file.write_text(out.getvalue() + "// more\n")
    with pytest.raises(CommandError, match="not up to date"):
        call_command("session_types", file, "--check")
    with pytest.raises(CommandError, match="needs the name"):
        call_command("session_types", "--check")


def test_a_file_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
        call_command("session_types", tmp_path / "nowhere" / "app.ts")
