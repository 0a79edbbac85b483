"""Client that waits for every answer, over one blocking socket, and counts the received bytes."""

from __future__ import annotations

import http.client
import socket
from collections import deque
from typing import Any

import orjson

from tests import services
from tests.benchmarks import wire
from tests.benchmarks.peers import SUBPROTOCOL

PATIENCE = 60.0
_PIECE = 1 << 20


class Line:
    """WebSocket, from its handshake on."""

    def __init__(self, port: int, path: str, subprotocol: str | None = None) -> None:
        self._socket = socket.create_connection((services.HOST, port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader, self._waiting = wire.Reader(), deque[bytes]()
        self._socket.sendall(wire.handshake(port, path, subprotocol))
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(_PIECE)
        answer, _, rest = head.partition(b"\r\n\r\n")
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            raise ConnectionError(answer.decode())
        self._waiting.extend(self._reader.feed(rest))
        self.bytes = 0

    def say(self, frame: dict[str, Any]) -> None:
        self._socket.sendall(wire.text(orjson.dumps(frame)))

    def next(self) -> bytes:
        """Return the next frame, and count its bytes."""
        while not self._waiting:
            data = self._socket.recv(_PIECE)
            if not data:
                raise ConnectionError("The server closed the connection.")
            self._waiting.extend(self._reader.feed(data))
        frame = self._waiting.popleft()
        self.bytes += len(frame)
        return frame

    def until(self, mark: bytes) -> bytes:
        """Return the next frame that has these bytes near its beginning."""
        while mark not in (frame := self.next())[:200]:
            _check(frame)
        return frame

    def close(self) -> None:
        self._socket.close()


def _check(frame: bytes) -> None:
    if frame.startswith((b'{"type":"bye"', b'{"type":"error"')):
        raise ConnectionError(frame.decode())


class Client(Line):
    """Connected client of a session; ``position`` is the last one it saw of its document."""

    def __init__(self, port: int, path: str, token: str, logs: dict[str, Any], client_id: str | None = None) -> None:
        super().__init__(port, path, SUBPROTOCOL)
        self.say({"type": "connect", "token": token, "client_id": client_id, "logs": logs})
        self.connected: dict[str, Any] = orjson.loads(self.until(b'{"type":"connected"'))
        self.recovery: dict[str, Any] = {}
        if client_id is None:
            self._await_logs()
        else:
            self.recovery = orjson.loads(self.until(b'{"type":"recovery"'))
        self.seq = 0

    def _await_logs(self) -> None:
        """Wait until the logs are followed, and their documents are here: what is in one by then brings no entry."""
        self.say({"type": "ping", "id": 1})
        snapshots = sum(log["mode"] == "snapshot" for log in self.connected["logs"].values())
        has_pong = False
        while snapshots or not has_pong:
            frame = self.next()
            _check(frame)
            snapshots -= frame.startswith(b'{"type":"snapshot"')
            has_pong |= frame.startswith(b'{"type":"pong"')

    def update(self, doc: str, value: Any) -> bytes:
        """Write one field and return the receipt."""
        self.seq += 1
        return self.repeat(doc, value)

    def repeat(self, doc: str, value: Any) -> bytes:
        """Send the last update again and return the receipt."""
        self.say({"type": "update", "seq": self.seq, "doc": doc, "ops": [["set", "/field", value]]})
        receipt = self.until(b'{"type":"receipt"')
        if b'"ok":true' not in receipt:
            raise RuntimeError(receipt.decode())
        if self.seq % 32 == 0:
            self.say({"type": "ack", "seq": self.seq})
        return receipt


class Rest:
    """Persistent connection to the REST side of a session."""

    def __init__(self, port: int, token: str, session: str) -> None:
        self._http = http.client.HTTPConnection(services.HOST, port, timeout=PATIENCE)
        self._token, self._root = token, f"/api/sessions/{session}/state/"

    def call(self, method: str, name: str, body: bytes | None = None, known: str = "") -> tuple[int, bytes, str]:
        """Return status, body and ETag; ``known`` is the ETag of the copy at hand."""
        given = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        given |= {"If-None-Match": known} if known else {}
        self._http.request(method, f"{self._root}{name}/", body, given)
        answer = self._http.getresponse()
        read = answer.read()
        if answer.status >= 400:
            raise RuntimeError(read[:500].decode())
        return answer.status, read, answer.headers.get("ETag", "")

    def close(self) -> None:
        self._http.close()
