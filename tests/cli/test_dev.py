"""
`lambda-ric dev` from end to end: the command, its callers and the runtimes, each in its own process.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from lambda_ric.cli import main
from tests.support.callers import client, sqs_server
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "MY_SECRET": "s3cret"}

APP = """
    import os, subprocess, sys, time
    from lambda_ric import wait_until

    def handler(event, context):
        print("handling", flush=True)
        if isinstance(event, dict) and "Records" in event:
            names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            print("endpoint", *(os.environ[name] for name in names), flush=True)
        if event == "fail" or (isinstance(event, dict) and "Records" in event):
            raise LookupError("no such order")
        if event == "environment":
            return dict(os.environ)
        if event == "time":
            return context.get_remaining_time_in_millis()
        if event in ("pids", "handler", "background", "deaf"):
            child = subprocess.Popen(["sleep", "60"])
            wait_until(tell, child.pid) if event == "background" else tell(child.pid, event)
        return event

    def wait(event, context):
        print("held", flush=True)
        open(".gate").close()

    def tell(pid, event="background"):
        if event == "deaf":
            import signal
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        print("pids", os.getpid(), pid, flush=True)
        if event != "pids":
            time.sleep(60)
"""

WAIT = 20.0


class Dev:
    """A running `lambda-ric dev`, whose stderr is read line by line as it comes."""

    def __init__(self, directory: Path, *arguments: str, port: str = "0") -> None:
        (directory / "app.py").write_text(textwrap.dedent(APP))
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lambda_ric.cli", "dev", "--port", port, *arguments],
            cwd=directory,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """The address that the banner tells."""
        return self.until(r"Invoke API +(http://127.0.0.1:\d+)")[1]

    def until(self, pattern: str, *, number: int = 1) -> re.Match[str]:
        """Wait until *pattern* was written for the *number*-th time."""
        with self._news:
            assert self._news.wait_for(lambda: self._ended or len(re.findall(pattern, self.text)) >= number, WAIT)
            found = list(re.finditer(pattern, self.text))
        assert len(found) >= number, f"{pattern!r} is not in {self.text}"
        return found[number - 1]

    def pids(self) -> list[int]:
        """Wait for the line in which the function tells its processes."""
        return [int(pid) for pid in self.until(r"pids (\d+ \d+)\n")[1].split()]

    def invoke(self, event: Any, **options: Any) -> dict[str, Any]:
        """Call the function as boto3 does."""
        payload = json.dumps(event).encode()
        found: dict[str, Any] = self._client.invoke(FunctionName="function", Payload=payload, **options)
        return found

    @cached_property
    def _client(self) -> Any:
        return client("lambda", self.url)

    def value(self, event: Any) -> Any:
        return json.loads(self.invoke(event)["Payload"].read())

    def send_later(self, event: Any) -> None:
        """Send an event for whose end nobody waits."""
        assert self.invoke(event, InvocationType="Event")["StatusCode"] == 202

    def wait(self) -> int:
        """Wait for the end of the command; return its exit code."""
        code = self.process.wait(WAIT)
        self._reader.join(WAIT)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.wait()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    _ended = False

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.decode())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


Start = Callable[..., Dev]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `lambda-ric dev` on a free port, in a directory that holds APP."""
    started: list[Dev] = []

    def start(*arguments: str, **options: str) -> Dev:
        started.append(Dev(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for dev in started:
        dev.close()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One command for all tests that leave it as it is."""
    dev = Dev(tmp_path_factory.mktemp("dev"), "app.handler", "--concurrency", "9")
    yield dev
    dev.close()


@contextmanager
def ends(*pids: int) -> Iterator[Callable[[], bool]]:
    """Yield a function that waits for the end of processes, and says whether it came."""
    files = [os.pidfd_open(pid) for pid in pids]
    yield lambda: all(select.select([file], [], [], WAIT)[0] for file in files)
    for file in files:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(file, signal.SIGKILL)
        os.close(file)


# What it tells, and who reaches it...


def test_banner_names_every_address(dev: Dev) -> None:
    """
    All of them are on one port, of the loopback interface; stdout is nobody's.
    """
    dev.until("Ctrl-C ends it")
    first, *others = dev.text.splitlines()[:5]

    assert first == "lambda-ric dev: app.handler, 3 s, 128 MB, concurrency 9"
    assert [line.split("http")[0].strip() for line in others] == [
        "Invoke API",
        "function URL",
        "page",
        "Ctrl-C ends it.",
    ]
    assert f"{dev.url}/lambda-url/function/" in others[1]
    assert others[2].endswith(f"{dev.url}/_/")


def test_boto3_invokes_the_function(dev: Dev) -> None:
    """
    With the URL of the banner as endpoint_url, and nothing else.
    """
    reply = dev.invoke({"n": 1}, LogType="Tail")

    assert (json.loads(reply["Payload"].read()), reply["ExecutedVersion"]) == ({"n": 1}, "$LATEST")
    assert "FunctionError" not in reply
    assert dev.invoke("fail")["FunctionError"] == "Unhandled"
    dev.until(r"\d\d:\d\d:\d\d\.\d{3}  START RequestId: ")
    dev.until(r"  handling\n")
    dev.until(r"  REPORT RequestId: ", number=2)


def test_function_url_and_page_answer(dev: Dev) -> None:
    """
    As to curl and a browser; what no other URL is belongs to the function, too.
    """
    with httpx.Client(base_url=dev.url, trust_env=False, timeout=WAIT) as http:
        event = http.get("/lambda-url/function/a/b", params={"q": "1"}).json()
        assert (event["rawPath"], event["rawQueryString"]) == ("/a/b", "q=1")
        assert http.post("/orders", content=b"text", headers={"Content-Type": "text/plain"}).json()["body"] == "text"
        page = http.get("/_/")
        assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")


def test_function_gets_no_variable_of_the_developer(dev: Dev) -> None:
    """
    Credentials above all stay outside.
    """
    found = dev.value("environment")

    assert "MY_SECRET" not in found
    assert found["AWS_LAMBDA_FUNCTION_NAME"] == "function"


def test_taken_port_is_one_clear_line(dev: Dev, start: Start) -> None:
    """
    With exit code 2, and of the other command nothing changes.
    """
    port = dev.url.rpartition(":")[2]

    for other in (start("app.handler", port=port), start("--only-api", "--runtime-api-port", port)):
        assert other.wait() == 2
        assert re.fullmatch(rf"lambda-ric dev: cannot listen on port {port}.*in use.*\n", other.text)
    assert dev.value(1) == 1


# ...what it is told...


def test_options_configure_the_function(start: Start, tmp_path: Path) -> None:
    """
    Timeout, memory, variables and name are the function's.
    """
    (tmp_path / "dev.env").write_text("TABLE=from file\nQUEUE=from file\n")
    options = ["--timeout", "77", "--memory", "512", "--env-file", "dev.env", "--env", "TABLE=from option"]
    dev = start("app.handler", *options, "--concurrency", "3")

    found = dev.value("environment")
    assert (found["TABLE"], found["QUEUE"], found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == (
        "from option",
        "from file",
        "512",
    )
    assert 60_000 < dev.value("time") <= 77_000
    assert dev.text.startswith("lambda-ric dev: app.handler, 77 s, 512 MB, concurrency 3\n")


def test_function_has_the_timeout_of_the_option(start: Start) -> None:
    """
    And after it the command goes on.
    """
    dev = start("app.handler", "--timeout", "0.3")

    assert "Task timed out after" in dev.value("handler")["errorMessage"]
    assert dev.value("next") == "next"


@pytest.mark.parametrize("queue", [False, True])
def test_callers_are_throttled_or_wait_in_a_queue(start: Start, tmp_path: Path, queue: bool) -> None:
    """
    One environment is held by a named pipe, which the test opens in the end.
    """
    os.mkfifo(tmp_path / ".gate")
    dev = start("app.wait", "--concurrency", "1", "--timeout", "30", "--queue" if queue else "--no-freeze")
    statuses: list[int] = []

    def call() -> None:
        reply = httpx.get(dev.url, trust_env=False, timeout=WAIT)
        statuses.append(reply.status_code)

    callers = [threading.Thread(target=call) for _ in range(2)]
    callers[0].start()
    dev.until(r"  held\n")
    callers[1].start()
    if not queue:
        callers[1].join(WAIT)
        assert statuses == [429]
    (tmp_path / ".gate").open("w").close()
    if queue:
        dev.until(r"  held\n", number=2)
        (tmp_path / ".gate").open("w").close()
    for caller in callers:
        caller.join(WAIT)

    assert statuses == ([200, 200] if queue else [429, 200])


def test_changed_file_takes_effect(start: Start, tmp_path: Path) -> None:
    """
    Hot reload is on, unless --no-reload turns it off.
    """
    dev, still = start("app.handler"), start("app.handler", "--no-reload")
    assert dev.value("time") != "changed"
    assert still.value("old") == "old"

    (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'changed'\n")

    assert dev.value("old") == "changed"
    assert still.value("old") == "old"


def test_command_is_any_other_runtime(start: Start) -> None:
    """
    What follows -- is started as it is, in the task root.
    """
    dev = start("--", sys.executable, "-m", "awslambdaric", "app.handler")

    assert dev.value({"n": 1}) == {"n": 1}
    assert f"lambda-ric dev: {sys.executable} -m awslambdaric app.handler, 3 s" in dev.text


def test_runtime_may_be_started_by_hand(start: Start, tmp_path: Path) -> None:
    """
    With --only-api callers wait for it, and it may be started again and again.
    """
    port = free_port()
    dev = start("--only-api", "--runtime-api-port", str(port))
    dev.until(f"AWS_LAMBDA_RUNTIME_API=127.0.0.1:{port} ")

    found = []
    for number in range(2):
        variables = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "LAMBDA_TASK_ROOT": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-m", "lambda_ric", "app.handler"],
            cwd=tmp_path,
            env=ENVIRONMENT | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as runtime:
            found += [dev.value(number), dev.value("again")]
            runtime.kill()

    assert found == [0, "again", 1, "again"]


USAGE = [
    (["--port", "x"], "argument --port: invalid int value: 'x'"),
    (["--port", "70000"], "cannot listen on port 70000"),
    (["--port", "-1"], "cannot listen on port -1"),
    (["--only-api", "--runtime-api-port", "70000"], "cannot listen on port 70000"),
    (["--name", "a/b"], "a function's name has 1 to 64 letters, digits, - and _, unlike 'a/b'"),
    (["--name", ""], "unlike ''"),
    (["--concurrency", "0"], "the concurrency must be at least 1, not 0"),
    (["--timeout", "1801"], "the timeout must be more than 0 and at most 1800 seconds, not 1801"),
    (["--timeout", "nan"], "the timeout must be more than 0 and at most 1800 seconds, not nan"),
    (["--memory", "127"], "the memory must be 128 to 10240 MB, not 127"),
    (["--env", "X"], "--env X: expected K=V"),
    (["--env-file", "no-such-file"], "cannot read no-such-file: No such file or directory"),
    (["--idle-timeout", "0"], "the idle timeout must be more than 0 seconds, not 0.0"),
    (["--idle-timeout", "nan"], "the idle timeout must be more than 0 seconds, not nan"),
    (["--init-timeout", "0"], "the init timeout must be more than 0 seconds, not 0.0"),
    (["--url-mode", "x"], "argument --url-mode: invalid choice: 'x'"),
    (["--retries", "3"], "the retry attempts must be 0, 1 or 2, not 3"),
    (["--max-event-age", "59"], "the event age must be 60 to 21600 seconds, not 59.0"),
    (["--time-scale", "0"], "the time scale must be more than 0 and at most 1, not 0.0"),
    (["--on-success", "nowhere"], "the destination 'nowhere' is none of"),
    (["--on-failure", "lambda:http://example.com/f"], "is not on this machine"),
    (["--dead-letter", "file:/no/such/directory/x"], "the destination '/no/such/directory/x' cannot be a file there"),
    (["--sqs", "nowhere"], "the server of the event source is not known: --aws-endpoint-url"),
    (["--sqs", "no where", "--sqs-endpoint", "http://localhost:1"], "the queue 'no where' is neither a name nor"),
    (["--aws-endpoint-url", "http://example.com"], "is not on this machine"),
    (["--kinesis", "orders"], "the server of the event source is not known: --aws-endpoint-url"),
    (["--kinesis", "arn:aws:sqs:a:1:b", "--aws-endpoint-url", "http://localhost:1"], "is not the ARN of a stream"),
    (["--dynamodb", "t", "--aws-endpoint-url", "http://localhost:1", "--record-age", "1"], "must be 60 to 604800"),
    (["--filter", "{}"], "--filter needs one of --sqs, --kinesis and --dynamodb"),
    (["--on-failure", "sns:topic"], "needs to know its server: --aws-endpoint-url"),
    (["--sqs", "http://example.com/1/q"], "is not on this machine"),
    (["--sqs-endpoint", "http://localhost:1"], "--sqs-endpoint needs --sqs"),
    (["--sqs", "http://localhost:1/1/q", "--batch-size", "0"], "the batch size must be 1 to 10000, not 0"),
    (["--sqs", "http://localhost:1/1/q", "--batch-window", "-1"], "the batching window must be 0 to 300 seconds"),
    (["--unknown"], "unrecognized arguments: --unknown"),
]


def test_one_option_finds_the_local_server(start: Start) -> None:
    """For event sources and destinations by name, and for the function's own SDK."""
    with sqs_server() as url, closing(client("kinesis", url)) as kinesis, closing(client("sqs", url)) as sqs:
        kinesis.create_stream(StreamName="orders", ShardCount=1)
        kinesis.put_record(StreamName="orders", Data=b"o-17", PartitionKey="1")
        queue = sqs.create_queue(QueueName="failed")["QueueUrl"]
        dev = start(
            "app.handler",
            *("--aws-endpoint-url", url, "--kinesis", "orders", "--starting-position", "TRIM_HORIZON"),
            *("--record-retries", "0", "--on-failure", "sqs:failed"),
        )
        dev.until("DESTINATION the on-failure destination has 1 records of shardId-000000000000")
        (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]

    assert f"endpoint {url} test test\n" in dev.text
    assert json.loads(message["Body"])["KinesisBatchInfo"]["batchSize"] == 1


@pytest.mark.parametrize(("arguments", "text"), USAGE)
def test_wrong_option_is_one_clear_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    And exit code 2; nothing is started.
    """
    exit_code, stderr = in_this_process(["app.handler", *arguments], capsys)

    assert exit_code == 2
    assert stderr.startswith("lambda-ric")
    assert text in stderr
    assert stderr.count("\n") == 1


def test_handler_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Unless a command or --only-api takes its place.
    """
    assert in_this_process([], capsys) == (
        2,
        "lambda-ric dev: no handler: expected module.function, such as app.handler\n",
    )


def in_this_process(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    try:
        exit_code: Any = main(["dev", *arguments])
    except SystemExit as exc:
        exit_code = exc.code
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    return exit_code, stderr


# ...and how it ends.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_when_nothing_was_started(start: Start, number: signal.Signals) -> None:
    """
    The exit code is that of a shell for the signal.
    """
    dev = start("app.handler")
    dev.until("Ctrl-C ends it")

    dev.process.send_signal(number)

    assert dev.wait() == 128 + number
    assert dev.lines[-1] == f"stopped by {number.name}; everything has been ended\n"
    assert "Traceback" not in dev.text


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("pids", signal.SIGINT),
        ("pids", signal.SIGHUP),
        ("handler", signal.SIGINT),
        ("background", signal.SIGTERM),
        ("deaf", signal.SIGINT),
    ],
)
def test_signal_ends_everything(start: Start, phase: str, number: signal.Signals) -> None:
    """
    Frozen after the response, in the middle of the handler or of the work after it, deaf to every signal but one.
    """
    dev = start("app.handler", "--timeout", "60")
    dev.send_later(phase)
    pids = dev.pids()
    if phase == "pids":
        dev.until("REPORT RequestId")

    with ends(*pids) as ended:
        dev.process.send_signal(number)
        assert dev.wait() == 128 + number
        assert ended()
    assert "Traceback" not in dev.text


SLOW_EXTENSION = """#!{python} -S
import http.client, os, select, sys
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body, headers):
    connection.request(method, "/2020-01-01/extension" + path, body, headers)
    reply = connection.getresponse()
    return reply.headers, reply.read()

headers, _ = call("POST", "/register", '{{"events": ["SHUTDOWN"]}}', {{"Lambda-Extension-Name": "slow"}})
call("GET", "/event/next", None, {{"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}})
print("slow extension shuts down", flush=True)
open("{gate}").close()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_changes_nothing(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """
    An impatient Ctrl-C does not cut short what has its time to end in good order.
    """
    gate = tmp_path / ".gate"
    os.mkfifo(gate)
    (tmp_path / "extensions").mkdir()
    extension = tmp_path / "extensions" / "slow"
    extension.write_text(SLOW_EXTENSION.format(python=sys.executable, gate=gate))
    extension.chmod(0o755)
    dev = start("app.handler", "--extensions-dir", "extensions")
    dev.send_later("pids")

    with ends(*dev.pids()) as ended:
        dev.until("REPORT RequestId")
        dev.process.send_signal(number)
        dev.until("slow extension shuts down")
        for other in (number, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            dev.process.send_signal(other)
        os.close(os.open(gate, os.O_WRONLY))
        assert dev.wait() == 128 + number
        assert ended()
    assert dev.lines[-1] == f"stopped by {number.name}; everything has been ended\n"
    assert "Traceback" not in dev.text


def test_ctrl_c_of_a_terminal_reaches_the_whole_group(start: Start) -> None:
    """
    What the function has started is in groups of its own, and ends all the same.
    """
    dev = start("app.handler", "--timeout", "60")
    dev.send_later("background")

    with ends(*dev.pids()) as ended:
        os.killpg(dev.process.pid, signal.SIGINT)
        assert dev.wait() == 128 + signal.SIGINT
        assert ended()


def test_kill_leaves_no_process_behind(start: Start) -> None:
    """
    Not even when the command itself has no say in it.
    """
    dev = start("app.handler", "--timeout", "60")
    dev.send_later("pids")

    with ends(*dev.pids()) as ended:
        dev.process.kill()
        dev.process.wait(WAIT)
        assert ended()
