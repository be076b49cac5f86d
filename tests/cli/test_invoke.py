"""
`lambda-ric invoke` with a function that runs already, with streams, and with the events that are shipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lambda_ric.cli import main
from lambda_ric.emulator import Emulator
from lambda_ric.emulator.function.examples import example_names
from tests.emulator.conftest import PRELUDE
from tests.support.callers import served

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}

RUNTIME = """
STREAMING = {"Lambda-Runtime-Function-Response-Mode": "streaming", "Content-Type": "text/plain"}

def stream(path):
    yield b"one,"
    while path and not os.path.exists(path):
        time.sleep(0.005)
    if path == "":
        os._exit(3)
    yield b"two"

while True:
    request_id, event = next_event()
    say("handling", event.content.decode())
    if event.content == b'"fail"':
        respond(request_id, b'{"errorType":"LookupError","errorMessage":"no such order"}', kind="error")
    elif event.content == b'"binary"':
        respond(request_id, bytes(range(256)), {"Content-Type": "image/png"})
    elif event.content.startswith(b'"stream'):
        path = event.content.decode().strip('"').partition(":")[2]
        respond(request_id, stream(path), STREAMING, encode_chunked=True)
    else:
        respond(request_id, event.content)
"""

COMMAND = [sys.executable, "-S", "runtime.py"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task root of a function whose runtime is RUNTIME."""
    directory = tmp_path_factory.mktemp("function")
    (directory / "runtime.py").write_text(PRELUDE + RUNTIME)
    return directory


@pytest.fixture(scope="module")
def endpoint(directory: Path) -> Iterator[str]:
    """Serve the function, called orders; yield where."""
    with served(Emulator(command=COMMAND, task_root=directory, name="orders", timeout=20)) as (endpoint, _):
        yield endpoint.url


class Ended:
    """How a command ended."""

    def __init__(self, exit_code: int, stdout: bytes, stderr: bytes) -> None:
        self.exit_code, self.stdout, self.stderr = exit_code, stdout, stderr.decode()

    def refused(self, text: str) -> bool:
        """Return whether it was not done, and *text* is in the one line that says so."""
        return (self.exit_code, self.stdout, self.stderr.count("\n")) == (2, b"", 1) and text in self.stderr


Invoke = Callable[..., Ended]


@pytest.fixture
def invoke(capfdbinary: pytest.CaptureFixture[bytes]) -> Invoke:
    """Run `lambda-ric invoke` with arguments in this process."""

    def invoke(*arguments: str) -> Ended:
        exit_code = main(["invoke", *arguments])
        return Ended(exit_code, *capfdbinary.readouterr())

    return invoke


@pytest.fixture
def remotely(invoke: Invoke, endpoint: str) -> Invoke:
    """Run `lambda-ric invoke` with the endpoint of the function."""
    return lambda *arguments: invoke("orders", "--endpoint", endpoint, *arguments)


# A function that runs already...


def test_response_comes_from_the_endpoint(remotely: Invoke) -> None:
    """
    At once, and so without the log, which is complete only when the background work is over.
    """
    ended = remotely("--data", '{"n": 1}')

    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, b'{"n": 1}\n', "")


def test_end_of_the_log_comes_from_the_endpoint_with_json(remotely: Invoke) -> None:
    """
    One object has it all.
    """
    told = json.loads(remotely("--data", '{"n": 1}', "--output", "json").stdout)

    assert (told["response"], told["status"]) == ({"n": 1}, "success")
    assert told["log_tail"].startswith("START RequestId")
    assert 'handling {"n": 1}\n' in told["log_tail"]


def test_binary_response_is_not_changed(remotely: Invoke) -> None:
    """
    No line feed is added to what is no text.
    """
    assert remotely("--data", '"binary"').stdout == bytes(range(256))


def test_function_error_is_exit_code_1(remotely: Invoke) -> None:
    """
    The document goes to stdout, as without an endpoint.
    """
    ended = remotely("--data", '"fail"')

    assert (ended.exit_code, json.loads(ended.stdout)["errorType"]) == (1, "LookupError")


def test_output_json_is_one_object(remotely: Invoke) -> None:
    """
    With what the endpoint tells.
    """
    good = json.loads(remotely("--data", "[1]", "--output", "json").stdout)
    bad = json.loads(remotely("--data", '"fail"', "--output", "json").stdout)

    assert (good["status"], good["response"], good["function_error"]) == ("success", [1], None)
    assert "handling [1]" in good["log_tail"]
    assert (bad["status"], bad["function_error"]) == ("error", "Unhandled")


def test_endpoint_may_end_with_a_slash(invoke: Invoke, endpoint: str) -> None:
    """
    It is the URL of the banner, however it was copied.
    """
    assert invoke("orders", "--endpoint", f"{endpoint}/").exit_code == 0


def test_proxy_of_the_developer_is_not_asked(remotely: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The event stays on this machine.
    """
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert remotely().exit_code == 0


@pytest.mark.parametrize("extra", [[], ["--stream"]])
def test_unknown_function_is_one_clear_line(invoke: Invoke, endpoint: str, extra: list[str]) -> None:
    """
    And a name is never more than one part of the endpoint's path.
    """
    assert invoke("other", "--endpoint", endpoint, *extra).refused("ResourceNotFoundException: Function not found")
    assert invoke("../../_/", "--endpoint", endpoint, *extra).exit_code == 2


@pytest.mark.parametrize("extra", [[], ["--stream"]])
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1", "--endpoint http://127.0.0.1:1: "),
        ("127.0.0.1:9000", "is not a URL such as http://127.0.0.1:9000"),
        ("ftp://127.0.0.1", "is not a URL such as http://127.0.0.1:9000"),
        ("http://[::1", "is not a URL such as"),
        ("http://127.0.0.1:99999", "http://127.0.0.1:9000: there is no such port"),
        ("http://", "--endpoint http://"),
        ("", "--endpoint "),
        ("http://a\nb", "--endpoint "),
    ],
)
def test_endpoint_that_is_none_is_one_clear_line(invoke: Invoke, url: str, text: str, extra: list[str]) -> None:
    """
    Nobody is there, or it is no URL.
    """
    ended = invoke("orders", "--endpoint", url, *extra)

    assert ended.exit_code == 2
    assert ended.stdout == b""
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """A server that is no Lambda, and answers everything with a page, or what it is asked for with less."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if "cut" in self.path:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nless")
            elif "nothing" not in self.path:
                self.send_response(404 if "missing" in self.path else 200)
                self.send_header("X-Amz-Log-Result", "***")
                self.end_headers()
                self.wfile.write(b"<html>hello\n</html>")

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("extra", [[], ["--stream"]])
@pytest.mark.parametrize("name", ["page", "missing", "cut", "nothing"])
def test_server_that_is_no_lambda_is_no_traceback(invoke: Invoke, stranger: str, name: str, extra: list[str]) -> None:
    """
    A page may pass for a response; anything else is told.
    """
    ended = invoke(name, "--endpoint", stranger, *extra)

    assert ended.exit_code == (0 if name == "page" and not extra else 2)
    assert "Traceback" not in ended.stderr
    assert (ended.stdout != b"") == (ended.exit_code == 0)


# ...streams...


def first_chunk_then_all(command: list[str], directory: Path, gate: Path) -> tuple[bytes, bytes, int]:
    """Run *command*; return what it has written before *gate* was made, and in the end, and its exit code."""
    with subprocess.Popen(
        [sys.executable, "-m", "lambda_ric.cli", "invoke", *command],
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 100)
        gate.touch()
        return first, process.stdout.read(), process.wait(20)


@pytest.mark.parametrize("where", ["remote", "local"])
def test_stream_is_written_as_it_comes(endpoint: str, directory: Path, tmp_path: Path, where: str) -> None:
    """
    The second part is made only after the first was read.
    """
    gate = tmp_path / "gate"
    event = ["--stream", "--data", f'"stream:{gate}"']
    command = ["orders", *event, "--endpoint", endpoint] if where == "remote" else [*event, "--", *COMMAND]

    assert first_chunk_then_all(command, directory, gate) == (b"one,", b"two", 0)


def test_stream_that_breaks_off_is_exit_code_1(remotely: Invoke) -> None:
    """
    What had come is on stdout, and the reason on stderr.
    """
    ended = remotely("--stream", "--data", '"stream:"')

    assert (ended.exit_code, ended.stdout) == (1, b"one,")
    assert "Runtime.ExitError" in ended.stderr


def test_error_instead_of_a_stream_is_exit_code_1(remotely: Invoke) -> None:
    """
    It is told on stderr, where no reader of the stream takes it for data.
    """
    ended = remotely("--stream", "--data", '"fail"')

    assert ended.exit_code == 1
    assert "no such order" in ended.stdout.decode() + ended.stderr


def test_error_of_the_init_is_one_document(invoke: Invoke) -> None:
    """
    That of the runtime, and not that of the platform after it.
    """
    ended = invoke("nothing.here", "--stream")

    assert (ended.exit_code, json.loads(ended.stdout)["errorType"]) == (1, "Runtime.ImportModuleError")


@pytest.mark.parametrize(
    ("work", "exit_code"), [("time.sleep, 60", 1), ("fail", 1), ("asyncio.sleep(60)", 1), ("int", 0)]
)
def test_background_work_that_was_lost_is_exit_code_1(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str, exit_code: int
) -> None:
    """
    The caller was answered all the same.
    """
    (tmp_path / "app.py").write_text(
        "import asyncio, time\nfrom lambda_ric import wait_until\n"
        "def fail(): raise ValueError\n"
        f"def handler(event, context):\n    wait_until({work})\n    return 'answered'\n"
    )
    monkeypatch.chdir(tmp_path)

    ended = invoke("app.handler", "--timeout", "1")

    assert (ended.exit_code, ended.stdout) == (exit_code, b'"answered"\n')


def test_response_that_is_no_stream_is_written_all_the_same(remotely: Invoke) -> None:
    """
    --stream says how the caller reads, not how the function answers.
    """
    ended = remotely("--stream", "--data", "[1]")

    assert (ended.exit_code, ended.stdout) == (0, b"[1]")
    assert "handling [1]" in ended.stderr


def test_stream_and_json_exclude_each_other(invoke: Invoke) -> None:
    """
    One is written as it comes, the other at the end.
    """
    assert invoke("a.b", "--stream", "--output", "json").refused("choose one")


# ...and events that are shipped.


def test_example_is_the_event(remotely: Invoke) -> None:
    """
    As realistic as what the service sends.
    """
    ended = remotely("--example", "sqs")

    assert json.loads(ended.stdout)["Records"][0]["eventSource"] == "aws:sqs"


@pytest.mark.parametrize("name", ["sqz", "", "../sqs", "sqs.json", "/etc/passwd"])
def test_wrong_example_is_told_with_the_names_of_all(invoke: Invoke, name: str) -> None:
    """
    On one line; a name is never a path.
    """
    ended = invoke("a.b", "--example", name)

    assert ended.refused(f"no example is called {name!r}")
    assert ended.stderr.endswith(f"there are: {', '.join(example_names())}\n")
