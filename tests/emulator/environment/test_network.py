"""
A network of an environment's own: its ports are its own, and what is expected outside is reached all the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lambda_ric.emulator import Emulator, Function, in_thread
from lambda_ric.errors import ConfigurationError
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

ROOT = Path(__file__).parents[3]

# An agent that listens from the init on, and background work that listens as long as it lasts: both at fixed ports.
HOLDS_PORTS = """
import os, socket
from lambda_ric import wait_until

agent = socket.create_server(("127.0.0.1", {agent}))

def hold():
    with socket.create_server(("127.0.0.1", {work})) as holder:
        socket.create_connection(holder.getsockname()).close()

def handler(event, context):
    wait_until(hold)
    return os.getuid()
"""


@contextmanager
def answering(content: bytes) -> Iterator[int]:
    """Have a server that says *content* to whoever has said something; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):  # a client that breaks off
                    while connection.recv(65536):
                        pass
                    connection.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def ports(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(HOLDS_PORTS.format(agent=free_port(), work=free_port()))
    return tmp_path


def test_every_call_is_served_where_each_environment_needs_the_same_ports(ports: Path) -> None:
    """
    Three hundred one after the other, some of them during the background work of the last one, and many at once.
    """
    emulator = Emulator(
        "app.handler", task_root=ports, concurrency=20, private_network=True, timeout=60, init_timeout=60
    )
    with in_thread(emulator) as running, ThreadPoolExecutor(20) as callers:
        one_by_one = [running.invoke() for _ in range(300)]
        together = list(callers.map(lambda _: running.invoke(), range(200)))
        ended = [running.finished(answer) for answer in (*one_by_one, *together)]

    assert [invocation.failure for invocation in ended] == [None] * 500
    assert {answer.payload for answer in (*one_by_one, *together)} == {str(os.getuid()).encode()}
    assert {task.state for invocation in ended for task in invocation.spans if task.kind == "task"} == {"succeeded"}


def test_ports_that_are_asked_for_lead_out(stand_in: StandIn) -> None:
    """
    Both ways and to the end, however much it is; any other is nobody's.
    """
    script = """
        import socket
        def ask(port):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"x" * 3_000_000)
                connection.shutdown(socket.SHUT_WR)
                return sum(len(piece) for piece in iter(lambda: connection.recv(65536), b""))

        request_id, event = next_event()
        open_port, closed_port = map(int, event.content.decode().strip("[]").split(","))
        try:
            ask(closed_port)
        except ConnectionRefusedError as exc:
            respond(request_id, f"{ask(open_port)} {type(exc).__name__}")
        next_event()
    """
    with answering(b"y" * 5_000_000) as port, answering(b"") as other:
        with in_thread(stand_in(script, private_network=True, reachable_ports=[port])) as emulator:
            answer = emulator.invoke([port, other])

    assert answer.payload == b"5000000 ConnectionRefusedError"


def test_port_that_is_reached_but_not_there_is_a_connection_that_ends(stand_in: StandIn) -> None:
    """
    A server may be started later: it is connected with when it is needed.
    """
    script = """
        import socket
        request_id, event = next_event()
        with socket.create_connection(("127.0.0.1", int(event.content))) as reached:
            try:
                respond(request_id, repr(reached.recv(1)))
            except ConnectionResetError:
                respond(request_id, "b''")
        next_event()
    """
    port = free_port()
    with in_thread(stand_in(script, private_network=True, reachable_ports=[port])) as emulator:
        assert emulator.invoke(port).payload == b"b''"


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
def test_telemetry_reaches_an_extension_in_there(stand_in: StandIn, tmp_path: Path, protocol: str) -> None:
    """
    At a port that another environment's extension has, too.
    """
    (tmp_path / "extensions").mkdir()
    extension = tmp_path / "extensions" / "listener"
    extension.write_text(f"#!{sys.executable} -S\n" + textwrap.dedent(LISTENER))
    extension.chmod(0o755)
    destination: dict[str, Any] = {"protocol": protocol}
    destination |= {"URI": "http://localhost:4243/"} if protocol == "HTTP" else {"port": 4243}
    (tmp_path / "destination.json").write_text(json.dumps(destination))
    script = """
        while True:
            request_id, event = next_event()
            say("a line of the function")
            while not os.path.exists("received"):
                time.sleep(0.005)
            respond(request_id)
    """
    emulator = stand_in(script, private_network=True, concurrency=2, extensions_dir=tmp_path / "extensions")
    with in_thread(emulator) as running, ThreadPoolExecutor(2) as callers:
        answers = list(callers.map(lambda _: running.invoke(), range(2)))

    assert [answer.function_error for answer in answers] == [None, None]


# Writes a file when a line of the function has arrived.
LISTENER = """
    import http.client, json, os, socket, threading

    server = socket.create_server(("127.0.0.1", 4243))

    def listen():
        while True:
            connection, _ = server.accept()
            received = b""
            while b"a line of the function" not in received:
                received += connection.recv(65536)
            open("received", "w").close()

    threading.Thread(target=listen, daemon=True).start()
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request(
        "POST", "/2020-01-01/extension/register", '{"events": ["INVOKE"]}', {"Lambda-Extension-Name": "listener"}
    )
    reply = api.getresponse()
    reply.read()
    identity = {"Lambda-Extension-Identifier": reply.headers["Lambda-Extension-Identifier"]}
    wanted = {
        "schemaVersion": "2022-12-13",
        "types": ["function"],
        "buffering": {"timeoutMs": 25},
        "destination": json.load(open("destination.json")),
    }
    api.request("PUT", "/2022-07-01/telemetry", json.dumps(wanted), identity)
    reply = api.getresponse()
    assert reply.status == 200, reply.read()
    reply.read()
    while True:
        api.request("GET", "/2020-01-01/extension/event/next", None, identity)
        api.getresponse().read()
"""


def test_machine_that_denies_it_is_told_of_at_the_start(ports: Path) -> None:
    """
    Before anybody calls.
    """
    denying = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    command = [sys.executable, "-m", "lambda_ric.cli", "dev", "app.handler", "--private-network"]
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", denying, "sh", *command],
        cwd=ports,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    problem = "a private network needs network namespaces, which this machine denies: No space left on device"
    assert (ended.returncode, ended.stderr) == (2, f"lambda-ric dev: {problem}\n")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"reachable_ports": [5432]}, "from a private network"),
        ({"private_network": True, "reachable_ports": [0]}, "1 to 65535"),
        ({"private_network": True, "reachable_ports": [65536]}, "1 to 65535"),
        ({"private_network": True, "only_api": True}, "a runtime that is attached"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, Any], problem: str) -> None:
    """
    With what would be needed.
    """
    with pytest.raises(ConfigurationError, match=problem):
        Function(handler="app.handler", **options)
