"""
HTTP/1.1 to one server over plain sockets or TLS, directly or through the proxy of the environment.

It exists because of what it does not load: `http.client` and the libraries above it cost more than all the rest of a
first hand-over, and that may have to happen in what Lambda leaves of 300 ms.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from binascii import b2a_base64

from lambda_ric.errors import ConnectionLostError, MalformedReplyError
from lambda_ric.protocol import USER_AGENT
from lambda_ric.replies import ReplyParser

from .failure import ServiceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from lambda_ric.replies import Reply

_READ_SIZE = 64 * 1024
_LARGEST_HEAD = 16 * 1024
_PORTS = {"http": 80, "https": 443}

_MOST_KEPT = 20
"""The most connections that are kept for the next requests."""

# Where systems keep the certificates that they trust, if this Python's OpenSSL was built for another one.
_BUNDLES = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")


class HTTPClient:
    """
    Sends requests to *origin*, ``scheme://host[:port]``, and keeps the connections. Several threads may use it.

    *proxied*: through the proxy that the environment names, if it names one.
    """

    def __init__(self, origin: str, *, proxied: bool = True) -> None:
        self._scheme, _, host = origin.partition("://")
        self.host: str = host
        self._name, self._port = _name_and_port(self.host, _PORTS[self._scheme])
        self._proxied = proxied
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._tls: ssl.SSLContext | None = None

    def prepare(self) -> None:
        """
        Load what the first request needs, without connecting.

        Raises:
            ServiceError: The proxy or the certificates of the environment are none.
        """
        _proxy(self._scheme, self._name, self._port)
        if self._scheme == "https":
            self._tls_context()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        until: float,
        sending: Callable[[], object] = int,
    ) -> Reply:
        """
        Send a request and return the reply, *until* being the end of the time on the monotonic clock.

        *sending* is called right before the first byte is sent, a second time if that was over a kept connection which
        had died; what it raises is raised.

        Raises:
            ServiceError: There is no reply; the text says why.
        """
        proxy = _proxy(self._scheme, self._name, self._port) if self._proxied else None
        if proxy is not None and self._scheme == "http":
            path = f"http://{self.host}{path}"
            headers = {**headers, **proxy.headers}
        head = _head(method, path, {"Host": self.host, "User-Agent": USER_AGENT, **headers}, len(body))
        heard = True
        kept = self._take()
        if kept is not None:
            sending()
            try:
                return self._exchange(kept, head + body, until)
            except ServiceError as error:
                # A connection does not survive every freeze: a new one is made at once.
                if time.monotonic() >= until:
                    raise
                heard = error.heard
        try:
            connected = self._connect(proxy, until)
            try:
                sending()
            except BaseException:
                connected.close()
                raise
            return self._exchange(connected, head + body, until)
        except ServiceError as error:
            error.heard = heard and error.heard
            raise

    def close(self) -> None:
        """Close the connections; the next request makes a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            # What can be read from it answers no request: it is the end, most likely.
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _keep(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < _MOST_KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _exchange(self, connection: socket.socket, request: bytes, until: float) -> Reply:
        keep = False
        try:
            try:
                connection.settimeout(_left(until))
                connection.sendall(request)
            except OSError as error:  # then it is not whole there, and nothing can come of it
                raise _broken(error) from None
            parser = ReplyParser()
            try:
                reply = None
                while reply is None:
                    connection.settimeout(_left(until))
                    data = connection.recv(_READ_SIZE)
                    reply = parser.feed(data) if data else parser.end()
            except (OSError, ConnectionLostError, MalformedReplyError) as error:
                raise _broken(error, heard=False) from None
            keep = not reply.closes
            return reply
        finally:
            if keep:
                self._keep(connection)
            else:
                connection.close()

    def _connect(self, proxy: _Proxy | None, until: float) -> socket.socket:
        try:
            if proxy is None:
                return self._secured(_connected(self._name, self._port, until), until)
            connection = _connected(proxy.name, proxy.port, until)
            if self._scheme == "https":
                _open_tunnel(connection, f"{self._name}:{self._port}", proxy, until)
            return self._secured(connection, until)
        except OSError as error:
            raise _broken(error) from None

    def _secured(self, connection: socket.socket, until: float) -> socket.socket:
        if self._scheme == "http":
            return connection
        try:
            context = self._tls_context()
            connection.settimeout(_left(until))
            return context.wrap_socket(connection, server_hostname=self._name.strip("[]"))
        except BaseException:
            connection.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        import ssl  # where there is no TLS, as in a test, it would be most of what is loaded

        with self._lock:
            if self._tls is None:
                bundle = os.environ.get("AWS_CA_BUNDLE")
                try:
                    context = ssl.create_default_context(cafile=bundle or None)
                except OSError as error:
                    text = f"AWS_CA_BUNDLE={bundle!r} cannot be read: {type(error).__name__}"
                    raise ServiceError(text, again=False) from None
                if not bundle and ssl.get_default_verify_paths().cafile is None:
                    for file in filter(os.path.isfile, _BUNDLES):
                        context.load_verify_locations(file)
                        break
                self._tls = context
            return self._tls


class _Proxy:
    __slots__ = ("headers", "name", "port")

    def __init__(self, name: str, port: int, headers: dict[str, str]) -> None:
        self.name = name
        self.port = port
        self.headers = headers


def _proxy(scheme: str, name: str, port: int) -> _Proxy | None:
    """Return the proxy that the environment has for a server, if it has one."""
    environ = os.environ
    url = ""
    for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        url = url or environ.get(variable, "")
    if not url or _is_exempt(name, port, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    kind, found, rest = url.partition("://")
    if not found:
        kind, rest = "http", url
    authority = rest.partition("/")[0]
    credentials, at, host = authority.rpartition("@")
    try:
        if kind.lower() != "http" or not host:
            raise ValueError
        proxy_name, proxy_port = _name_and_port(host, 80)
    except ValueError:
        text = f"the proxy of the environment for {scheme} is not of the form http://HOST:PORT"
        raise ServiceError(text, again=False) from None
    headers = {}
    if at:
        from urllib.parse import unquote_to_bytes

        headers["Proxy-Authorization"] = f"Basic {b2a_base64(unquote_to_bytes(credentials), newline=False).decode()}"
    return _Proxy(proxy_name, proxy_port, headers)


def _is_exempt(name: str, port: int, exempt: str) -> bool:
    # As curl reads it: names with all that end in them, perhaps with a port, or an asterisk for everything.
    for entry in exempt.lower().replace(" ", "").split(","):
        if entry == "*":
            return True
        suffix, _, digits = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
        suffix = suffix.removeprefix("*").removeprefix(".")
        if suffix and (not digits or int(digits) == port):
            if name.lower() == suffix or name.lower().endswith(f".{suffix}"):
                return True
    return False


def _name_and_port(host: str, default: int) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host, default
    return name, int(port)


def _connected(name: str, port: int, until: float) -> socket.socket:
    refused: OSError = OSError(f"{name} has no address")
    # As bytes: a name given as text loads the tables of international names.
    for family, kind, protocol, _, address in socket.getaddrinfo(
        name.strip("[]").encode(), port, 0, socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(until))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            refused = error
        else:
            return connection
    raise refused


def _open_tunnel(connection: socket.socket, target: str, proxy: _Proxy, until: float) -> None:
    try:
        connection.settimeout(_left(until))
        connection.sendall(_head("CONNECT", target, {"Host": target, "User-Agent": USER_AGENT, **proxy.headers}))
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LARGEST_HEAD:
            connection.settimeout(_left(until))
            data = connection.recv(_READ_SIZE)
            if not data:
                break
            head += data
        status = head[9:12].decode("latin-1")
        if not head.startswith(b"HTTP/1.") or status != "200":
            raise ServiceError(f"the proxy of the environment did not connect: status {status or 'none'}", again=True)
    except BaseException:
        connection.close()
        raise


def _head(method: str, path: str, headers: Mapping[str, str], length: int | None = None) -> bytes:
    if length:
        headers = {**headers, "Content-Length": str(length)}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            # Without the value, which may be a secret.
            raise ServiceError(f"the header {name} has characters that no header may have", again=False)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _broken(error: Exception, *, heard: bool = True) -> ServiceError:
    # A certificate that is not trusted will not be the next time.
    again = type(error).__name__ != "SSLCertVerificationError"
    return ServiceError(f"{type(error).__name__}: {error}", again=again, heard=heard)
