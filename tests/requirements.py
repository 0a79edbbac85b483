"""Requirements of security, and the tests that show them: ``python -m tests.requirements`` writes their list.

A test says by ``@pytest.mark.requirement("ASVS 7.2.4")`` what it shows. Every row has a test, or says why it has none.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "topics" / "security.md"
MARKED = re.compile(r"(<!-- requirements -->\n).*?(<!-- end -->)", re.DOTALL)


class Row(NamedTuple):
    """One requirement: its number, and how this package meets it; ``without`` says why no test shows it.

    ``lacks`` is what is asked for and not there.
    """

    id: str
    does: str
    without: str = ""
    lacks: str = ""


ROWS = [
    Row("ASVS 7.1.1", "idle and absolute limits are settings, and a check holds them to a level of NIST 63B"),
    Row("ASVS 7.1.2", "a limit of sessions per user, with a policy, and an audit entry for each eviction"),
    Row("ASVS 7.2.1", "the database judges every token; no field of a client grants anything"),
    Row("ASVS 7.2.2", "each session has tokens of its own, made anew"),
    Row("ASVS 7.2.3", "reference tokens of 256 random bits, of which only the digest is stored"),
    Row("ASVS 7.2.4", "a login, a changed password and a copied token make new tokens and end the old ones"),
    Row("OWASP sessions: strict", "an id or token that the server did not make makes nothing"),
    Row("ASVS 7.3.1", "an idle deadline in the database's time, which beats and polls do not move"),
    Row("ASVS 7.3.2", "an absolute deadline that no refresh and no successor passes"),
    Row("ASVS 7.4.1", "one end for REST, sockets, refreshes and writes on their way"),
    Row("ASVS 7.4.2", "the user's standing is read with every token and every 3 s, also after a bulk update"),
    Row("ASVS 7.4.3", "sessions are bound to the credentials; a change ends those of other browsers"),
    Row("ASVS 7.4.5", "staff with the permission end sessions in the admin, over REST and by command"),
    Row("ASVS 7.5.2", "a list and a page of one's devices, without a secret, and their end"),
    Row("ASVS 7.5.3", "ending other devices needs a login of the last 15 minutes"),
    Row("ASVS 7.6.2", "no visit makes a session of a user, and none of nobody unless the project wants it"),
    Row("ASVS 9.1.1", "", "no self-contained tokens; a project's JWT is checked by its own classes"),
    Row("ASVS 9.2.1", "every token has an expiry in the database, without leeway"),
    Row("ASVS 9.2.2", "a prefix and a kind for each use, and each place takes one of them"),
    Row("ASVS 9.2.3", "tokens are rows of one database, so that another deployment knows none of them"),
    Row("ASVS 10.4.5", "refresh tokens are used once; a copied one ends what hangs on it"),
    Row("RFC 9700 races", "tabs that race and answers that were lost get the same pair"),
    Row("ASVS 10.4.8", "a family ends at the session's absolute deadline"),
    Row("ASVS 10.4.9", "people end their sessions, and with them every token"),
    Row("ASVS 3.3.1", "cookie mode: `__Host-`, Secure, HttpOnly, SameSite=Lax, and no token in JSON"),
    Row("ASVS 3.5.1", "CSRF is asked for wherever a cookie proves somebody; no GET changes anything"),
    Row("ASVS 3.4.2", "pages of other origins read no answer; calls of connections answer those in `allowed_origins`"),
    Row(
        "ASVS 4.4.1",
        "a check tells a service that does not make clients use TLS",
        lacks="a socket without TLS is refused by the proxy, not by the package",
    ),
    Row("ASVS 4.4.2", "the consumer compares scheme, host and port of the origin before anything else"),
    Row("ASVS 4.4.3", "the first frame or the cookie of the handshake proves the session; no token in an address"),
    Row("OWASP WebSocket: expiry", "open sockets end with their token, session, user and rights, without a bell too"),
    Row("ASVS 8.2.1", "one table of scopes for frames and calls, in which a missing row denies"),
    Row("OWASP WebSocket: rate", "bytes, frames and requests of a connection are bounded"),
    Row("OWASP WebSocket: compression", "a check tells servers that expand before they bound"),
    Row("OWASP WebSocket: idle", "dead peers are noticed by beats, slow readers are served from the log"),
    Row("OWASP WebSocket: connections", "connections per user, session and address are bounded"),
    Row("RFC 6455 7.4", "each close code says whether to come back"),
    Row("RFC 6750 2.3", "tokens travel in a header, a body or a frame, and a 401 names the scheme"),
    Row("ASVS 14.2.1", "a token in an address is no token"),
    Row("ASVS 14.3.2", "every answer is `no-store` and varies by who asks"),
    Row(
        "ASVS 14.3.1",
        "a logout leaves nothing in the storage of the browser, also in tabs without a network (SDK's tests)",
    ),
    Row("ASVS 8.2.2", "somebody else's session answers exactly as none"),
    Row("ASVS 15.3.3", "a body with an unlisted field is refused"),
    Row("ASVS 8.3.2", "a right that is taken away stops delivery within seconds"),
    Row("ASVS 8.4.1", "lists, calls, topics and the admin stay inside a tenant"),
    Row("ASVS 2.2.1", "exact types for each field of a body and of a frame"),
    Row("ASVS 1.3.6", "webhooks call public addresses, looked up once; no redirect, bounded in time and size"),
    Row("ASVS 1.5.3", "one parser for every transport"),
    Row(
        "ASVS 1.5.2",
        "stored and sent values are JSON; a forged notification reaches nothing",
        lacks="that a Celery worker takes JSON only is a setting of the project, which nothing here tests",
    ),
    Row("ASVS 2.3.3", "conditional updates and one order of locks; races leave one winner"),
    Row("ASVS 2.4.1", "limits for each token, user and address, and for sessions of nobody; guesses cost more"),
    Row("ASVS 4.1.3", "only as many proxies are believed as the project declares"),
    Row("ASVS 5.2.3", "what is compressed is bounded before it is expanded, in the database too"),
    Row("CVE-2025-67221", "depth and digits are bounded before parsing, and floors of versions are held"),
    Row("ASVS 15.3.6", "keys that pollute prototypes are refused by the server"),
    Row("ASVS 11.2.4", "tokens are found by digests; the statements of a refusal do not tell its reason"),
    Row("ASVS 6.3.8", "one error for unknown, expired and revoked secrets of all kinds"),
    Row("ASVS 11.3.2", "AES-256-GCM with a key per document, bound to its row"),
    Row("ASVS 11.4.1", "SHA-256 and HMAC-SHA-256 only"),
    Row("ASVS 13.3.1", "keys come from settings and are rotated while the service runs"),
    Row("ASVS 16.2.1", "every security event is logged and audited: who, what, when, from where"),
    Row(
        "ASVS 16.2.5",
        "no token reaches a log, the audit trail or the admin; the whole suite runs under that watch",
        lacks="local variables that an error reporter collects are left to its own filters",
    ),
    Row("ASVS 16.4.1", "no text of a client makes a second line of a log"),
    Row("ASVS 16.5.1", "a fault is a fixed sentence; a database that is away lets nobody in"),
    Row("ASVS 15.2.1", "floors without a known vulnerability, held by a test"),
    Row("ASVS 15.1.3", "heavy work has a process and a deadline of its own"),
    Row("ASVS 4.1.1", "one content type, named methods, JSON for every error"),
    Row("ASVS 12.1.1", "", "TLS to clients, Redis and the database is the host's (assumptions below)"),
    Row(
        "CVE-2023-28858",
        "a session's token opens no other, and no frame of one reaches another",
        lacks="requests of two people that are cancelled at any moment are not tried in masses",
    ),
    Row("NIST 63B logout", "a logout ends every session of the browser, and its cookie makes none again"),
    Row("OWASP sessions: anomalies", "many bad tokens and a changed browser are told; policies decide"),
]


def find_tests() -> dict[str, list[str]]:
    """Return the tests that show each requirement, each with its file, as the page names them."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in _iter_functions(path):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
                    for given in mark.args:
                        place = f"`{function.name}` (`{path.relative_to(ROOT)}`)"
                        found.setdefault(ast.literal_eval(given), []).append(place)
    return found


def _iter_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    source = path.read_text(encoding="utf-8")
    if "mark.requirement" in source:
        nodes = ast.walk(ast.parse(source))
        yield from (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def build_list() -> str:
    """Return the list of the page, wrapped as prose is."""
    tests = find_tests()
    items = []
    for row in ROWS:
        shown = " ".join(tests.get(row.id, ())) or "No test:"
        lacking = f" Not there: {row.lacks}." if row.lacks else ""
        items.append(
            _wrap(
                f"**{row.id}**: {row.does}. {shown}{lacking}" if row.does else f"**{row.id}**: {shown} {row.without}."
            )
        )
    return "".join(items)


def _wrap(text: str) -> str:
    options = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(f"- {text}", 100, subsequent_indent="  ", **options) + "\n"


def fill_page(page: str) -> str:
    """Return a page with the list as the tests have it now."""
    return MARKED.sub(lambda found: found[1] + build_list() + found[2], page)


if __name__ == "__main__":
    PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
