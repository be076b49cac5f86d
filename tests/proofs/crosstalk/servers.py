"""
Real servers on loopback, with their data in a directory that goes with them.

PostgreSQL, MariaDB, Redis and memcached are Debian's: `.ci/run` installs them. HTTP and a protocol of lines are ours.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pg8000.dbapi
import pymysql

from tests.support.ports import free_port

_PATIENCE = 30.0
THINKS = 0.003
"""Seconds that a server takes for an answer, so that there is a middle of an exchange to be interrupted in."""

BOOKING = "create table booking (who varchar(64) not null, cents integer not null)"


class Servers:
    """Where they are: *ports* by name, and *directory* for files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[str, int] = {}
        self._stack = ExitStack()

    def variables(self) -> dict[str, str]:
        """Return what a function needs to find them."""
        named = {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        return {**named, "SHOP": str(self.directory)}

    def start(self, name: str) -> None:
        """Start the server *name* unless it runs."""
        if name not in self.ports and name in _STARTS:
            self.ports[name] = self._stack.enter_context(_STARTS[name](self.directory))

    def close(self) -> None:
        """End them all."""
        self._stack.close()


@contextmanager
def servers(directory: Path) -> Iterator[Servers]:
    """Give servers that keep their data in *directory*."""
    running = Servers(directory)
    try:
        yield running
    finally:
        running.close()


def _program(name: str, package: str) -> str:
    path = os.pathsep.join(["/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))])
    found = shutil.which(name) or shutil.which(name, path=path)
    if found is None:
        raise RuntimeError(f"{name} is not on this machine: apt-get install {package}, as .ci/run does")
    return found


@contextmanager
def _running(command: list[str], port: int, directory: Path, user: str | None = None) -> Iterator[int]:
    with open(directory / f"{Path(command[0]).name}.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, user=user
        )
        try:
            _wait_for(lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close(), process)
            yield port
        finally:
            process.kill()
            process.wait()


def _wait_for(connect: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connect()
        except (OSError, pg8000.dbapi.Error, pymysql.Error):
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _redis(directory: Path) -> Iterator[int]:
    port = free_port()
    command = [_program("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with _running(command, port, directory):
        yield port


def _memcached(directory: Path) -> Iterator[int]:
    port = free_port()
    as_user = ["-u", "nobody"] if os.getuid() == 0 else []
    with _running([_program("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(port), *as_user], port, directory):
        yield port


def _postgres(directory: Path) -> Iterator[int]:
    """Start a cluster of its own, as the user whom Debian's package makes where this one is root."""
    with tempfile.TemporaryDirectory(prefix="lambda-ric-postgres-") as home:  # pytest's are its user's alone
        yield from _postgres_in(Path(home))


def _postgres_in(home: Path) -> Iterator[int]:
    port = free_port()
    user = "postgres" if os.getuid() == 0 else None
    if user is not None:
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
    initdb = [_program("initdb", "postgresql"), "--pgdata", "data", "--auth", "trust", "--no-sync", "--username=shop"]
    subprocess.run(initdb, cwd=home, user=user, check=True, capture_output=True)
    command = [_program("postgres", "postgresql"), "-D", "data", "-p", str(port), "-k", "", "-F"]
    with _running([*command, "-c", "listen_addresses=127.0.0.1"], port, home, user):
        with postgres_connection(port) as connection:
            connection.cursor().execute(BOOKING)
            connection.commit()
        yield port


@contextmanager
def postgres_connection(port: int) -> Iterator[pg8000.dbapi.Connection]:
    """Connect when the server is ready."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection = pg8000.dbapi.connect("shop", host="127.0.0.1", port=port, database="postgres")
            break
        except pg8000.dbapi.Error:  # "the database system is starting up"
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
    try:
        yield connection
    finally:
        connection.close()


def _mariadb(directory: Path) -> Iterator[int]:
    """Start one without the tables of its own, which are for users and their rights."""
    port, home = free_port(), directory / "mariadb"
    home.mkdir()
    command = [
        _program("mariadbd", "mariadb-server-core"),
        "--no-defaults",
        f"--datadir={home}",
        f"--socket={home / 'socket'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-grant-tables",
        "--skip-name-resolve",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=8M",
        "--innodb-flush-log-at-trx-commit=0",
        *(["--user=root"] if os.getuid() == 0 else []),
    ]
    with _running(command, port, home):
        with pymysql.connect(host="127.0.0.1", port=port, user="shop") as connection:
            connection.cursor().execute("create database shop")
            connection.cursor().execute(BOOKING.replace("booking", "shop.booking"))
        yield port


class _HTTP(BaseHTTPRequestHandler):
    """Answers `/WHO` with what is WHO's, in two parts."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        secret = f"secret of {self.path[1:]}".encode()
        time.sleep(THINKS / 2)
        self.send_response(200)
        self.send_header("Content-Length", str(len(secret)))
        self.end_headers()
        time.sleep(THINKS / 2)
        self.wfile.write(secret)

    def log_message(self, *arguments: object) -> None:
        pass


class _Lines(socketserver.StreamRequestHandler):
    """Answers one line with one line."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        for line in self.rfile:
            time.sleep(THINKS)
            self.wfile.write(b"secret of " + line)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # of clients that are gone


class _HTTPServer(_Server, ThreadingHTTPServer):
    pass


def _http(directory: Path) -> Iterator[int]:
    return _in_thread(_HTTPServer(("127.0.0.1", 0), _HTTP))


def _lines(directory: Path) -> Iterator[int]:
    return _in_thread(_Server(("127.0.0.1", 0), _Lines))


def _in_thread(server: _Server) -> Iterator[int]:
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield int(server.socket.getsockname()[1])
        server.shutdown()


_STARTS = {
    "redis": contextmanager(_redis),
    "memcached": contextmanager(_memcached),
    "postgres": contextmanager(_postgres),
    "mariadb": contextmanager(_mariadb),
    "http": contextmanager(_http),
    "lines": contextmanager(_lines),
}
