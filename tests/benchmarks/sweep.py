"""Process that fills a database and sweeps it; run it with a benchmark's environment.

Its arguments are the numbers of sessions and of publications. After that it sweeps for each line of its input, and
answers with rows and times of each step; by a line ``retire``, sessions that have ended are past their retention first.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from datetime import timedelta
from typing import Any

import django
from django.db import connection, transaction
from django.db.models import F

django.setup()

from session_mgmt.actions import cleanup  # noqa: E402
from session_mgmt.actions.sessions import lifecycle  # noqa: E402
from session_mgmt.models import (  # noqa: E402
    ClientSession,
    Publication,
    SessionActivity,
    SessionEvent,
    Stream,
    Token,
    clock,
)
from session_mgmt.models.sql import Statements  # noqa: E402
from session_mgmt.shortcuts import publish  # noqa: E402

# Of all sessions and publications, so many are due.
SHARE = 10
ENTRIES = 1000


def main(sessions: int, publications: int) -> None:
    fill(sessions, publications)
    # As the command does.
    gc.freeze()
    print(json.dumps({"filled": True}), flush=True)
    for line in sys.stdin:
        if line.strip() == "retire":
            # Each by as much: sessions end one after the other.
            ClientSession.objects.exclude(state="active").update(ended_at=F("ended_at") - timedelta(days=31))
        print(json.dumps(sweep()), flush=True)


def fill(sessions: int, publications: int) -> None:
    """Copy a session and a publication by set-based SQL; one in ``SHARE`` is due."""
    now = clock.read("default")
    created = lifecycle.create_session().session
    publish("bench:0", {"n": 1})
    statements = Statements(connection)
    expired, fresh, old = (statements.moment(now + timedelta(hours=hours)) for hours in (-1, 1000, -25))
    with transaction.atomic():
        key = _write_key(statements, int(created.created_at.timestamp() * 1000) - 10**9)
        copy(statements, ClientSession, created.pk, sessions, {"id": key})
        due = f"CASE WHEN i %% {SHARE} = 0 THEN %s ELSE %s END"
        copy(
            statements, SessionActivity, created.pk, sessions, {"session_id": key, "expires_at": due}, [expired, fresh]
        )
        copy(statements, SessionEvent, SessionEvent.objects.get(session=created).pk, sessions, {"session_id": key})
        digest = "sha256(int8send(i))" if statements.postgres else "randomblob(32)"
        copy(statements, Token, Token.objects.get(session=created).pk, sessions, {"session_id": key, "digest": digest})
        topics = max(1, publications // ENTRIES)
        first = Stream.objects.get()
        base = first.pk
        copy(statements, Stream, base, topics, {"id": f"{base} + i", "topic": _write_topic(statements)}, hold_keys=True)
        Stream.objects.exclude(pk=base).update(head=ENTRIES)
        where = f"{base} + 1 + (i - 1) / {ENTRIES}"
        number = f"1 + (i - 1) %% {ENTRIES}"
        at = f"CASE WHEN (i - 1) %% {ENTRIES} < {ENTRIES // SHARE} THEN %s ELSE at END"
        columns = {"stream_id": where, "offset": number, "at": at}
        copy(statements, Publication, Publication.objects.get().pk, topics * ENTRIES, columns, [old])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if not statements.postgres:
            # The one large transaction has left a log as large.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy(
    statements: Statements,
    model: Any,
    key: Any,
    count: int,
    columns: dict[str, str],
    values: Any = (),
    *,
    hold_keys: bool = False,
) -> None:
    """Insert so many copies of a row, with other expressions for some columns; ``i`` counts the copies."""
    meta = model._meta
    names = [f.column for f in meta.concrete_fields if hold_keys or f.column in columns or not _is_automatic(f)]
    chosen = ", ".join(columns.get(name, f'r."{name}"').replace("ELSE at", 'ELSE r."at"') for name in names)
    numbers = f"SELECT generate_series(1, {count}) AS i" if statements.postgres else _count_up(count)
    given = statements.uuid(key) if meta.pk.get_internal_type() in {"UUIDField", "OneToOneField"} else key
    listed = ", ".join(f'"{name}"' for name in names)
    statements.run(
        f"INSERT INTO {meta.db_table} ({listed}) SELECT {chosen} FROM {meta.db_table} r, ({numbers}) n"
        f" WHERE r.{meta.pk.column} = %s",
        [*values, given],
    )


def _is_automatic(field: Any) -> bool:
    return bool(field.get_internal_type() == "BigAutoField")


def _count_up(count: int) -> str:
    return f"WITH RECURSIVE up(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM up WHERE i < {count}) SELECT i FROM up"


def _write_key(statements: Statements, begin: int) -> str:
    """Write the expression of a key of version 7 that grows with ``i``."""
    if statements.postgres:
        return f"(lpad(to_hex({begin} + i), 12, '0') || '70008' || lpad(to_hex(i), 15, '0'))::uuid"
    return f"printf('%%012x', {begin} + i) || '70008' || printf('%%015x', i)"


def _write_topic(statements: Statements) -> str:
    return "'bench:' || i::text" if statements.postgres else "'bench:' || i"


def sweep() -> dict[str, Any]:
    """Run the cleanup; tell rows, times and CPU of each step that had any rows, and the CPU of its longest chunk."""
    steps: dict[str, dict[str, float]] = {}
    began, cpu = last = time.monotonic(), time.process_time()

    def note(step: str, rows: int) -> None:
        nonlocal last
        told = steps.setdefault(step, {"rows": 0, "began": last[0], "cpu": 0.0, "longest": 0.0})
        now = time.monotonic(), time.process_time()
        chunk = now[1] - last[1]
        last = now
        told |= {"rows": told["rows"] + rows, "ended": now[0], "cpu": told["cpu"] + chunk}
        told["longest"] = max(told["longest"], chunk)

    report = cleanup.run_cleanup(note)
    total = {"began": began, "ended": time.monotonic(), "cpu": time.process_time() - cpu, "rows": 0.0}
    return {"steps": steps, "total": total, "failed": report.failed}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
