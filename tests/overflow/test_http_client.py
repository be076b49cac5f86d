"""
The client that the sinks send with: TLS, proxies, connections that are kept.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lambda_ric.overflow.failure import ServiceError
from lambda_ric.overflow.http_client import HTTPClient
from tests.support.aws_service import set_environment
from tests.support.fakes import FakeRuntimeAPI, reply
from tests.support.tls import certificate


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def get(client: HTTPClient, path: str = "/", within: float = 20) -> int:
    """Return the status of the answer."""
    return client.send("GET", path, {}, b"", time.monotonic() + within).status


def failure_of(find: Callable[[], object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        find()
    return caught.value


@contextmanager
def secure_server(context: ssl.SSLContext, connections: int = 1) -> Iterator[str]:
    """Answer each request with 200 over TLS; yield the host and the port."""

    def serve() -> None:
        for _ in range(connections):
            try:
                with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                    while connection.recv(65536):
                        connection.sendall(reply(200, b"fine"))
            except OSError:
                pass  # a client that does not trust it

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


def test_certificate_that_the_environment_trusts_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the connection is kept."""
    trusted, context = certificate(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    with secure_server(context) as host, closing(HTTPClient(f"https://{host}")) as client:
        client.prepare()
        assert [get(client), get(client)] == [200, 200]


def test_certificate_that_nobody_trusts_is_refused_for_good(tmp_path: Path) -> None:
    """Another attempt would only take time."""
    _, context = certificate(tmp_path)
    with secure_server(context) as host, closing(HTTPClient(f"https://{host}")) as client:
        failure = failure_of(lambda: get(client))

    assert str(failure).startswith("SSLCertVerificationError: ")
    assert (failure.again, failure.heard) == (False, True)


def test_bundle_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in a variable, most likely."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))

    failure = failure_of(HTTPClient("https://sqs.eu-west-1.amazonaws.com").prepare)

    assert str(failure) == f"AWS_CA_BUNDLE={str(tmp_path / 'none.pem')!r} cannot be read: FileNotFoundError"


def test_proxy_carries_tls_through_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where to connect to, with its own password, and sees nothing of the request."""
    trusted, context = certificate(tmp_path)
    asked: list[bytes] = []

    def relay(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end has gone

    def serve(host: str) -> None:
        name, _, port = host.partition(":")
        with listener.accept()[0] as near, socket.create_connection((name, int(port))) as far:
            asked.append(near.recv(65536))
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=relay, args=(far, near))
            back.start()
            relay(near, far)
            back.join(20)

    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    with socket.create_server(("127.0.0.1", 0)) as listener, secure_server(context) as host:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass%20word@127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=serve, args=(host,))
        thread.start()
        with closing(HTTPClient(f"https://{host}")) as client:
            assert get(client) == 200
        thread.join(20)

    head = asked[0].decode()
    assert head.startswith(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n")
    assert "Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk\r\n" in head
    assert "GET" not in head


def test_proxy_that_refuses_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its status, and without its password."""
    with FakeRuntimeAPI(intercept=lambda request: reply(407, b"", Connection="close")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:password@{proxy.address}")
        failure = failure_of(lambda: get(HTTPClient("https://sqs.eu-west-1.amazonaws.com")))

    assert str(failure) == "the proxy of the environment did not connect: status 407"


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "socks5://127.0.0.1:9", "http://127.0.0.1:port", "http://"])
def test_proxy_of_another_kind_is_refused_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is connected to."""
    monkeypatch.setenv("http_proxy", url.replace("//", "//me:secret@"))

    failure = failure_of(lambda: get(HTTPClient("http://127.0.0.1:9")))

    assert str(failure) == "the proxy of the environment for http is not of the form http://HOST:PORT"


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [
        ("*", True),
        ("127.0.0.1", True),
        ("example.com, 127.0.0.1", True),
        (".0.0.1", True),
        ("*.0.0.1", True),
        ("127.0.0.1:9", False),
        ("0.1x", False),
        ("", False),
    ],
)
def test_server_that_no_proxy_names_is_asked_directly(
    exempt: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, the end of it, or an asterisk, with or without a port."""
    with FakeRuntimeAPI() as proxy, FakeRuntimeAPI() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("NO_PROXY", exempt)
        with closing(HTTPClient(f"http://{server.address}")) as client:
            get(client)

    assert (len(server.requests), len(proxy.requests)) == ((1, 0) if direct else (0, 1))


def test_host_that_does_not_exist_is_the_reason() -> None:
    """Nothing was sent, and it may exist the next time."""
    failure = failure_of(lambda: get(HTTPClient("http://nowhere.invalid")))

    assert (failure.again, failure.heard) == (True, True)


def test_address_of_the_other_kind_is_reached() -> None:
    """The brackets of IPv6 are part of the host, not of the name."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                asked.append(connection.recv(65536))
                connection.sendall(reply(200, b"", Connection="close"))

        asked: list[bytes] = []
        thread = threading.Thread(target=serve)
        thread.start()
        host = f"[::1]:{listener.getsockname()[1]}"
        assert get(HTTPClient(f"http://{host}")) == 200
        thread.join(20)

    assert f"Host: {host}\r\n".encode() in asked[0]


def test_path_and_headers_cannot_break_out_of_their_line() -> None:
    """A header is refused by name; what it holds may be a secret."""
    client = HTTPClient("http://127.0.0.1:9")
    bad = {"X-Key": "secret\r\nX-Other: 1"}

    failure = failure_of(lambda: client.send("GET", "/", bad, b"", time.monotonic() + 1))

    assert str(failure) == "the header X-Key has characters that no header may have"
    assert not failure.again
