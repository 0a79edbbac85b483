"""``manage.py session_types``: write TypeScript types of the application for the browser client."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, get_type_hints

from django.core.management.base import CommandError

from session_mgmt.management.base import ShellCommand, WrongArgument
from session_mgmt.protocol.typescript import TypeWriter, write_key
from session_mgmt.registry import Registry, registry

HEAD: Final = "// Written by manage.py session_types from session_topics.py; do not edit.\n"
MAIN: Final = "main"


class Command(ShellCommand):
    help = "Write TypeScript types of topics, messages and documents for the browser client."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="File to write. Without it the types are printed.")
        parser.add_argument("--check", action="store_true", help="Write nothing; fail if the file is not up to date.")

    def handle(self, *args: Any, **options: Any) -> None:
        text, file = write_application(registry), options["file"]
        if file is None:
            if options["check"]:
                raise WrongArgument("--check needs the name of a file.")
            self.stdout.write(text, ending="")
        elif options["check"]:
            check_file(file, text)
        else:
            try:
                file.write_text(text, encoding="utf-8")
            except (OSError, ValueError) as error:
                raise CommandError(f"{str(file)!r} cannot be written: {getattr(error, 'strerror', error)}.") from error


def check_file(file: Path, text: str) -> None:
    """Raise ``CommandError`` if a file is not up to date."""
    try:
        is_right = file.read_bytes() == text.encode()
    except (OSError, ValueError):
        is_right = False
    if not is_right:
        raise CommandError(f"{file} is not up to date; run: manage.py session_types {file}")


def write_application(declared: Registry) -> str:
    """Return the TypeScript types of everything that an application declares."""
    writer = TypeWriter()
    documents = {name: read_hint(handler, "return") for name, handler in declared.claim_handlers.items()}
    members = []
    if MAIN in documents:
        members.append(f"  state: {writer.write_type(documents.pop(MAIN))};\n")
    members += write_table("documents", {name: writer.write_type(hint) for name, hint in sorted(documents.items())})
    members += write_table("topics", {topic.pattern.text: writer.write_type(topic.data) for topic in declared.topics})
    if pairs := list(dict.fromkeys(write_pair(writer, handler) for handler in declared.message_handlers)):
        members.append(f"  send: {' | '.join(pairs)};\n")
    interfaces = [f"export interface {name} {{\n{body}}}\n" for name, body in writer.interfaces.items()]
    return "\n".join([HEAD, *interfaces, f"export type App = {{\n{''.join(members)}}};\n"])


def write_table(name: str, rows: dict[str, str]) -> Iterable[str]:
    """Yield the lines of a member of the application's type, a table of names and types; nothing if it is empty."""
    if rows:
        body = "".join(f"    {write_key(key)}: {type_};\n" for key, type_ in rows.items())
        yield f"  {name}: {{\n{body}  }};\n"


def write_pair(writer: TypeWriter, handler: Callable[..., Any]) -> str:
    """Return the types that a message handler takes and returns. The message is its second argument."""
    taken = handler.__code__.co_varnames[1] if hasattr(handler, "__code__") else "data"
    returned = writer.write_type(read_hint(handler, "return"))
    return f"{{ in: {writer.write_type(read_hint(handler, taken))}; out: {returned} }}"


def read_hint(function: Callable[..., Any], name: str) -> Any:
    """Return an annotation of a function; ``Any`` if it has none, or if only type checkers can import its name."""
    try:
        return get_type_hints(function, include_extras=True).get(name, Any)
    except NameError:
        return Any
