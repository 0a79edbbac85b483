"""Calls go to the address that was checked and to no other, and end in time whatever the other side does."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from session_mgmt.actions.webhooks import calling, signing
from session_mgmt.actions.webhooks.calling import CallFailed
from tests.ports import take_port
from tests.webhooks.conftest import Receiver, configure

pytestmark = pytest.mark.sqlite
HEADERS = {"webhook-id": "1", "webhook-timestamp": "2", "webhook-signature": "v1,x"}

PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "::127.0.0.1"),
    *("64:ff9b:1::7f00:1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "3fff::1", "192.0.0.8"),
    # Networks of a site, deprecated and still in use.
    *("fec0::1", "fec0:0:0:ffff::1", "feff::1"),
    # Tunnels to private addresses (ISATAP), in any network and also within another tunnel.
    *("2606:2800:220:1:0:5efe:10.0.0.1", "2606:2800:220:1:200:5efe:c0a8:101", "2002:5db8:d822::5efe:7f00:1"),
]
PUBLIC = [
    *("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"),
    "2606:2800:220:1:200:5efe:93.184.216.34",
]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Answer each look-up with the next of these lists of addresses; return the names that were asked for."""
    asked: list[str] = []
    left = list(answers)

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0)
        return [
            (socket.AF_INET6 if ":" in at else socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port)) for at in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.requirement("ASVS 1.3.6")
@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not_called(address: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(settings, webhook_networks=[])
    monkeypatch.setattr(socket, "socket", None)
    resolve_to(monkeypatch, [address], ["93.184.216.34", address])
    for _ in range(2):
        with pytest.raises(CallFailed, match="private"):
            calling.post("https://hooks.example.com/", HEADERS, b"{}")
    literal = f"[{address}]" if ":" in address else address
    if "%" not in address:
        with pytest.raises(ValueError, match="private"):
            calling.check_address(f"https://{literal}/")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str, settings: Any) -> None:
    configure(settings, webhook_networks=[])
    calling.check_address(f"https://[{address}]/" if ":" in address else f"https://{address}/")


def test_networks_of_the_project_are_allowed_and_no_others(settings: Any) -> None:
    configure(settings, webhook_networks=["10.1.0.0/16", "fd12::/48"])
    for address in ("10.1.2.3", "[fd12::1]", "[::ffff:10.1.2.3]"):
        calling.check_address(f"https://{address}/")
    for address in ("10.2.0.1", "[fd13::1]", "[::ffff:10.2.0.1]"):
        with pytest.raises(ValueError, match="private"):
            calling.check_address(f"https://{address}/")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://hooks.example.com/", "begins with https"),
        ("ftp://hooks.example.com/", "begins with https"),
        ("https:///path", "has a host"),
        ("https://hööks.example.com/", "Punycode"),
        ("https://hooks.example.com/a b", "ASCII"),
        ("https://hooks.example.com/\r\nX: 1", "ASCII"),
        ("https://user:secret@hooks.example.com/", "no user"),
        ("https://hooks.example.com/#part", "fragment"),
        ("https://hooks.example.com:0/", "port"),
        ("https://hooks.example.com:99999/", "no address"),
        ("https://[::1/", "no address"),
    ],
)
def test_an_address_that_is_never_called_is_told_why(address: str, told: str, settings: Any) -> None:
    configure(settings, webhook_http=False)
    with pytest.raises(ValueError, match=told):
        calling.check_address(address)
    with pytest.raises(CallFailed, match=told):
        calling.post(address, HEADERS, b"{}")


@pytest.mark.requirement("ASVS 1.3.6")
def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.server.server_port
    # The second answer would be the router's; whoever asks again gets it.
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["192.168.1.1"])
    assert calling.post(f"http://hooks.example.com:{port}/in?a=1", HEADERS, b'{"a":1}').status == 204
    assert asked == ["hooks.example.com"]
    (call,) = receiver.calls
    assert (call.host, call.path, call.body) == (f"hooks.example.com:{port}", "/in?a=1", b'{"a":1}')
    with pytest.raises(CallFailed, match=r"at 192\.168\.1\.1, which is private"):
        calling.post(f"http://hooks.example.com:{port}/", HEADERS, b"{}")
    assert len(receiver.calls) == 1


@pytest.mark.requirement("ASVS 1.3.6")
def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    receiver.answer = lambda told: 307
    assert calling.post(receiver.address, HEADERS, b"{}").status == 307
    assert len(receiver.calls) == 1


def test_the_second_address_of_a_name_is_taken_where_the_first_is_closed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 127.0.0.2 is of this machine too, and nothing listens there.
    resolve_to(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    assert calling.post(f"http://hooks.example.com:{receiver.server.server_port}/", HEADERS, b"{}").status == 204


@contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """Listen on a port and answer one call with these bytes, the last of them again and again."""
    port = take_port()
    with socket.create_server(("127.0.0.1", port)) as server:

        def answer() -> None:
            connected, _ = server.accept()
            with connected, contextlib.suppress(OSError):
                for part in parts:
                    connected.sendall(part)
                while parts:
                    connected.sendall(parts[-1])
                while connected.recv(65536):
                    pass

        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}/"
        thread.join(30)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 1000 + b"\r\n"), "no HTTP"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), "no HTTP"),
        ((b"\x16\x03" * 5000,), "no HTTP"),
    ],
)
def test_an_answer_without_end_is_read_no_further(parts: tuple[bytes, ...], told: str) -> None:
    with answering(*parts) as address, pytest.raises(CallFailed, match=told):
        calling.post(address, HEADERS, b"{}")


def test_a_body_without_end_is_not_read() -> None:
    with answering(b"HTTP/1.1 429 Later\r\nRetry-After: 7\r\n\r\n", b"x" * 65536) as address:
        assert calling.post(address, HEADERS, b"{}") == (429, "7")


def test_each_read_of_an_answer_looks_at_the_time(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(settings, webhook_timeout=1000.0)
    # The looks: at the begin, for the connection and what follows it, for the request, and for each read.
    monkeypatch.setattr(calling, "monotonic", partial(next, count(190.0, 190.0)))
    slow = b"HTTP/1.1 100 Continue\r\n\r\n" * 300
    with answering(slow) as address, pytest.raises(CallFailed, match="No answer within 1000 s"):
        calling.post(address, HEADERS, b"{}")


def test_silence_is_no_answer_in_time(settings: Any) -> None:
    configure(settings, webhook_timeout=0.05)
    with answering() as address, pytest.raises(CallFailed, match=r"No answer within 0\.05 s"):
        calling.post(address, HEADERS, b"{}")


def test_nobody_there_and_no_such_name_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{take_port()}/"
    with pytest.raises(CallFailed, match="The connection failed"):
        calling.post(address, HEADERS, b"{}")

    def find_nothing(*_: Any, **__: Any) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    with pytest.raises(CallFailed, match="was not found"):
        calling.post(address, HEADERS, b"{}")


# -- TLS


def make_certificate(folder: Path, name: str) -> Path:
    """Write a certificate for a name, with its key, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    path = folder / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + secret)
    return path


def test_tls_is_for_the_name_and_not_for_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, asked = make_certificate(tmp_path, "hooks.example.com"), []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(path)
    serving.sni_callback = lambda _, name, __: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(path))
    monkeypatch.setattr(calling, "_open_context", lambda: trusting)
    port = take_port()
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            for _ in range(2):
                connected, _ = server.accept()
                try:
                    with serving.wrap_socket(connected, server_side=True) as secured:
                        while not secured.recv(65536).endswith(b"{}"):
                            pass
                        secured.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                except OSError:
                    connected.close()

        thread = Thread(target=serve, daemon=True)
        thread.start()
        resolve_to(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
        assert calling.post(f"https://hooks.example.com:{port}/", HEADERS, b"{}").status == 200
        with pytest.raises(CallFailed, match="TLS failed"):
            calling.post(f"https://other.example.com:{port}/", HEADERS, b"{}")
        thread.join(30)
    assert asked == ["hooks.example.com", "other.example.com"]


# -- signatures


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # The example of its specification and libraries.
    given = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    assert signing.sign(*given, b'{"test": 2432232314}') == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_no_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signing.sign(["whsec_no base64"], "1", 2, b"")
