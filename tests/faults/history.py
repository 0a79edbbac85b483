"""History of every process, one JSON object per line, in the order of one monotonic clock.

Fields of each record: `i` its number, `t` CLOCK_MONOTONIC in nanoseconds, `p` the logical process, `type`. The others:

start      session, group, topic, filter  a client begins; `filter`: by log, the part that it follows
connected  gen, client, frame, asked,     `asked`: the positions that it sent
           transport
entries, snapshot, gap, recovery, verdict gen, frame
invoke     op, f, gen, client, seq, frame a new write (`f`: update, publish, send), put on the wire
again      op, gen, base, tag, digests    the same write, sent again; `digests` of what it replaces, or null
ok, fail   op, gen, receipt, confirmed    its final answer; a retry may give one more. `confirmed`: the client had
                                          told the server before that it needs no receipt up to this number
temporary  op, gen, receipt               refused without a decision
info       ops, gen, code, name           the connection ended with these writes unanswered: nobody knows
error, bye gen, frame
pair       session, access, refresh, life the tokens that a browser begins with, by digests; `life`: seconds left
opens      access                         a tab connects with this access token
refresh    nonce, token, over, again      a tab exchanges the browser's refresh token (`over`: socket, rest)
refreshed  nonce, token, over, access,    what it was answered
           refresh, life
unanswered nonce, why                     it was answered nothing, or to come again
refused    nonce, name                    a refresh was refused for good
turn       wish                           a guest wants to be there, or no longer
turned     wish, member                   and the server has said that it is so
asks       log, before                    it asks for a page of a topic's past
past       log, before, asked, frame      and has it; `asked`: the number of that record
page       of, position, exact            a reader of a list has a page of it
unread     status, text                   or is refused one for now
shows      log, place, after, until,      what it shows, by the place of the topic; `whole`: unless it waits for more
           rows, descending, whole, last
endpoint   endpoint, path                 a service is told of events by this endpoint
delivery   path, id, signed, digest,      it is sent one; `done`: what it answers (tests/faults/hooks.py)
           body, done
serves     server                         a server of this run
told       waits                          every event was delivered and handled; `waits`: some wait in vain
kill, ready, calm                         the nemesis
outage, restored what                     PostgreSQL or Redis goes away, loses something, and is back
cut        fault, directions, seconds,    a fault of the network, and how many connections it met
           met
spent      nonces                         refreshes under way at a kill that the database had taken
backup                                    it begins to copy the database
restore    heads                          the copy is in place again; `heads`: the last offset of each log in it
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson

Record = dict[str, Any]


class History:
    """Kept in memory for the checker, and in a file for whoever must understand a violation."""

    def __init__(self, path: Path | None = None) -> None:
        self.records: list[Record] = []
        self._file = path.open("wb") if path else None

    def add(self, process: str, kind: str, **fields: Any) -> Record:
        record = {"i": len(self.records), "t": time.monotonic_ns(), "p": process, "type": kind, **fields}
        self.records.append(record)
        if self._file:
            self._file.write(orjson.dumps(record) + b"\n")
        return record

    def close(self) -> None:
        if self._file:
            self._file.close()


def read(path: Path) -> list[Record]:
    """Read the records of a file; a half line at the end, of a run that was killed, is left out."""
    lines = path.read_bytes().split(b"\n")
    return [orjson.loads(line) for line in lines[:-1]]
