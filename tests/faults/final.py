"""Contents of the database in the end, by plain SQL, because the server's own code is being checked."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg

_RUNS = "SELECT session_id, seq, handler FROM session_mgmt_handlerrun"
_REUSES = "SELECT session FROM session_mgmt_auditentry WHERE action = 'refresh_reused' AND session IS NOT NULL"

Row = tuple[Any, ...]
Dump = dict[str, Any]


class Database:
    """Reads one database of either kind."""

    def __init__(self, url: str, sqlite_path: Path) -> None:
        self._url, self._path = url, sqlite_path
        self._open: Any = None

    def rows(self, query: str) -> list[Row]:
        if self._open is not None:
            rows: list[Row] = self._open.execute(query).fetchall()
            return rows
        with self._at_one_moment():
            return self.rows(query)

    def _connect(self) -> Any:
        if not self._url:
            connection = sqlite3.connect(self._path, timeout=20)
            connection.execute("BEGIN")
            return connection
        found = psycopg.connect(self._url)
        found.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return found

    @contextlib.contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """All that is read is of one moment: a server that still runs may shorten a log between two statements."""
        self._open = connection = self._connect()
        try:
            yield
        finally:
            self._open = None
            connection.close()

    def pending(self) -> int:
        """Outbox rows that nobody has carried out yet."""
        return int(self.rows("SELECT count(*) FROM session_mgmt_outbox")[0][0])

    def untold(self) -> int:
        """Members of topics of whom something is still to be told."""
        return int(self.rows("SELECT count(*) FROM session_mgmt_member WHERE waiting")[0][0])

    def undelivered(self) -> int:
        """Events of which a webhook or a durable handler has still to learn, and what waits in the outbox.

        The effect of a handler is in the outbox as soon as its run is over.
        """
        rows = self.rows(
            "SELECT (SELECT count(*) FROM session_mgmt_webhookdelivery WHERE state = 'waiting')"
            " + (SELECT count(*) FROM session_mgmt_handlerrun)"
            " + (SELECT count(*) FROM session_mgmt_sessionevent WHERE pending)"
            " + (SELECT count(*) FROM session_mgmt_outbox)"
        )
        return int(rows[0][0])

    def trimmed(self) -> int:
        """Versions that the logs of documents have lost so far."""
        return int(self.rows("SELECT COALESCE(SUM(oldest_revision - 1), 0) FROM session_mgmt_statedocument")[0][0])

    def heads(self) -> dict[str, dict[str, int]]:
        """By session, the newest offset of each of its documents; topics are under the key ``""``."""
        found: dict[str, dict[str, int]] = {}
        for session, name, version in self.rows("SELECT session_id, name, version FROM session_mgmt_statedocument"):
            found.setdefault(_uuid(session), {})[f"state:{name}"] = version
        topics = self.rows("SELECT topic, head FROM session_mgmt_stream")
        found[""] = {f"topic:{topic}": head for topic, head in topics}
        return found

    def last_offsets(self) -> dict[str, int]:
        """By log, named as in `Evidence.key_of`, the offset of its last entry."""
        found = {f"topic:{topic}": head for topic, head in self.rows("SELECT topic, head FROM session_mgmt_stream")}
        for session, name, version in self.rows("SELECT session_id, name, version FROM session_mgmt_statedocument"):
            found[f"{_uuid(session)}/state:{name}"] = version
        for session, seq in self.rows("SELECT session_id, max(seq) FROM session_mgmt_sessionevent GROUP BY session_id"):
            found[f"{_uuid(session)}/session"] = seq
        return found

    def dump(self) -> Dump:
        """Everything that the checker compares, as JSON values."""
        with self._at_one_moment():
            return {
                "documents": self._documents(),
                "streams": self._streams(),
                "clients": self._clients(),
                "connections": self._connections(),
                "events": self._events(),
                "tokens": self._tokens(),
                "reuses": self._reuses(),
                "pending": self.pending(),
                "deliveries": self._deliveries(),
                "runs": [[_uuid(session), seq, name] for session, seq, name in self.rows(_RUNS)],
                "rows": [list(row) for row in self.rows("SELECT id, name FROM auth_group")],
            }

    def _documents(self) -> list[Dump]:
        revisions: dict[int, list[Dump]] = {}
        query = (
            "SELECT r.document_id, r.version, r.chain, r.ops, c.client_id, r.seq FROM session_mgmt_staterevision r"
            " LEFT JOIN session_mgmt_client c ON c.id = r.client_id ORDER BY r.document_id, r.version"
        )
        for document, version, chain, ops, client, seq in self.rows(query):
            found = {
                "version": version,
                "tag": _tag(chain),
                "ops": orjson.loads(bytes(ops)),
                "client": client,
                "seq": seq,
            }
            revisions.setdefault(document, []).append(found)
        heads = "SELECT id, session_id, name, epoch, version, chain, oldest_revision FROM session_mgmt_statedocument"
        return [
            {
                "session": _uuid(session),
                "name": name,
                "epoch": epoch,
                "version": version,
                "tag": _tag(chain) if version else "",
                "oldest": oldest,
                "revisions": revisions.get(key, []),
            }
            for key, session, name, epoch, version, chain, oldest in self.rows(heads)
        ]

    def _streams(self) -> list[Dump]:
        publications: dict[int, list[Dump]] = {}
        query = 'SELECT stream_id, "offset", tag, data FROM session_mgmt_publication ORDER BY stream_id, "offset"'
        for stream, offset, tag, data in self.rows(query):
            found = {"offset": offset, "tag": tag, "data": orjson.loads(bytes(data))}
            publications.setdefault(stream, []).append(found)
        return [
            {
                "topic": topic,
                "epoch": epoch,
                "head": head,
                "tag": tag,
                "oldest": oldest,
                "publications": publications.get(key, []),
            }
            for key, topic, epoch, head, tag, oldest in self.rows(
                "SELECT id, topic, epoch, head, head_tag, oldest FROM session_mgmt_stream"
            )
        ]

    def _clients(self) -> list[Dump]:
        query = "SELECT session_id, client_id, generation, last_seq FROM session_mgmt_client"
        return [
            {"session": _uuid(session), "client": client, "generation": generation, "last_seq": last}
            for session, client, generation, last in self.rows(query)
        ]

    def _connections(self) -> list[Dump]:
        query = (
            "SELECT n.session_id, c.client_id, n.generation, n.closed_at IS NULL FROM session_mgmt_connection n"
            " JOIN session_mgmt_client c ON c.id = n.client_id"
        )
        return [
            {"session": _uuid(session), "client": client, "generation": generation, "open": bool(is_open)}
            for session, client, generation, is_open in self.rows(query)
        ]

    def _tokens(self) -> list[Dump]:
        """List the tokens in the order in which they were made, by digests."""
        query = (
            "SELECT t.session_id, t.family, t.kind, t.digest, t.nonce, t.used_at IS NOT NULL,"
            " t.revoked_at IS NULL AND t.auth_version = s.auth_version FROM session_mgmt_token t"
            " JOIN session_mgmt_clientsession s ON s.id = t.session_id ORDER BY t.id"
        )
        return [
            {
                "session": _uuid(session),
                "family": _uuid(family),
                "kind": kind,
                "digest": bytes(digest).hex(),
                "nonce": bytes(nonce).hex() if nonce else None,
                "used": bool(is_used),
                "counts": bool(counts),
            }
            for session, family, kind, digest, nonce, is_used, counts in self.rows(query)
        ]

    def _reuses(self) -> list[str]:
        """List the sessions of which the server takes a token for a copied one."""
        return [_uuid(row[0]) for row in self.rows(_REUSES)]

    def spent_nonces(self) -> set[str]:
        """Digests of the requests that have exchanged a refresh token."""
        return {
            bytes(row[0]).hex() for row in self.rows("SELECT nonce FROM session_mgmt_token WHERE nonce IS NOT NULL")
        }

    def _events(self) -> list[Dump]:
        query = (
            "SELECT session_id, seq, tag, type, data, pending FROM session_mgmt_sessionevent ORDER BY session_id, seq"
        )
        return [
            {
                "session": _uuid(session),
                "seq": seq,
                "tag": tag,
                "type": kind,
                "data": orjson.loads(bytes(data)),
                "pending": bool(is_pending),
            }
            for session, seq, tag, kind, data, is_pending in self.rows(query)
        ]

    def _deliveries(self) -> list[Dump]:
        """List the deliveries of webhooks; `seq` numbers the event of each."""
        query = "SELECT session_id, endpoint_id, event, state, payload FROM session_mgmt_webhookdelivery ORDER BY id"
        found = []
        for session, endpoint, event, state, payload in self.rows(query):
            body = orjson.loads(bytes(payload))
            place = {"session": _uuid(session), "endpoint": endpoint, "event": event, "state": state}
            found.append({**place, "id": body["id"], "seq": body["seq"]})
        return found


def _tag(chain: Any) -> str:
    """Cut the tag of a version out of its chain."""
    return bytes(chain).hex()[:16]


def _uuid(value: Any) -> str:
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))
