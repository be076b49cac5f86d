"""
`lambda-ric invoke` from end to end: the command line, the emulator and the real runtime, each in its own process.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.cli import main
from lambda_ric.version import __version__

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "MY_SECRET": "s3cret"}

APP = """
    import os, pathlib, subprocess, time
    from lambda_ric import wait_until

    def echo(event, context):
        print("handling\\ron two lines")
        return event

    def wait_for_the_caller():
        while not pathlib.Path("the caller has it").exists():
            time.sleep(0.01)

    def background(event, context):
        wait_until(wait_for_the_caller)
        return "early"

    def two_tasks(event, context):
        wait_until(print, "first")
        wait_until(fail)

    def fail(event=None, context=None):
        raise LookupError("no such order")

    def leave(event, context):
        wait_until(os._exit, 0)
        return "kept"

    def environment(event, context):
        return dict(os.environ)

    def hang(event, context):
        print(os.getpid(), subprocess.Popen(["sleep", "60"]).pid, flush=True)
        time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


class Ended:
    """How a command ended."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self.stdout, stderr = process.communicate(stdin, timeout=40)
        self.stderr = stderr.decode()
        self.exit_code = process.returncode

    @property
    def rows(self) -> list[str]:
        """The names of the rows of the timeline."""
        _, _, picture = self.stderr.partition("TIMELINE")
        return [line[2:30].strip() for line in picture.splitlines()[1:]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start `lambda-ric` with arguments, in a directory that holds the functions of APP."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))

    def start(*arguments: str, environment: dict[str, str] | None = None, stdout: int = subprocess.PIPE) -> Any:
        return subprocess.Popen(
            [sys.executable, "-m", "lambda_ric.cli", *arguments],
            cwd=tmp_path,
            env={**ENVIRONMENT, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.fixture
def invoke(start: Start) -> Callable[..., Ended]:
    """Run `lambda-ric invoke` with arguments to its end."""

    def invoke(*arguments: str, stdin: bytes = b"", **options: Any) -> Ended:
        with start("invoke", *arguments, **options) as process:
            return Ended(process, stdin)

    return invoke


Invoke = Callable[..., Ended]


# What comes out...


def test_response_goes_to_stdout_and_everything_about_it_to_stderr(invoke: Invoke) -> None:
    """
    Stdout holds the response as it was posted and a line break; stderr the log and the timeline.
    """
    ended = invoke("app.echo", "--data", '{"n": 1}')

    assert (ended.stdout, ended.exit_code) == (b'{"n": 1}\n', 0)
    log = re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3}  ", "", ended.stderr)
    assert re.search(r"^START RequestId: \S+ Version: \$LATEST$", log, re.MULTILINE)
    assert "\nhandling\n              on two lines\n" in log
    assert re.search(r"^REPORT RequestId: \S+\tDuration: \S+ ms\t.*Init Duration: \S+ ms$", log, re.MULTILINE)
    assert ended.rows == ["init", "app.echo", "response delivered", "frozen"]


def test_response_is_printed_before_the_background_work_is_over(start: Start, tmp_path: Path) -> None:
    """
    The answer is delivered first; the command then waits for the work, and shows it.
    """
    with start("invoke", "app.background", "--timeout", "30") as process:
        assert process.stdout is not None
        response = process.stdout.readline()
        (tmp_path / "the caller has it").touch()
        ended = Ended(process, b"")

    assert (response, ended.exit_code) == (b'"early"\n', 0)
    assert re.search(r"BACKGROUND RequestId: \S+\tDuration: \S+ ms\tTasks: 1\tSucceeded: 1\n", ended.stderr)
    assert ended.rows == ["init", "app.background", "response delivered", "task wait_for_the_caller", "frozen"]


def test_failing_task_is_marked_and_told_by_the_exit_code(invoke: Invoke) -> None:
    """
    After the response nothing can fail the invocation, but work that was lost shall not pass for a success.
    """
    ended = invoke("app.two_tasks")

    assert (ended.stdout, ended.exit_code) == (b"null\n", 1)
    assert re.search(r"^  task print .* ✓$", ended.stderr, re.MULTILINE)
    assert re.search(r"^  task fail .* ✗ failed$", ended.stderr, re.MULTILINE)


def test_function_error_is_exit_code_1(invoke: Invoke) -> None:
    """
    The error document is the response.
    """
    ended = invoke("app.fail")

    document = json.loads(ended.stdout)
    assert (document["errorType"], document["errorMessage"], ended.exit_code) == ("LookupError", "no such order", 1)


def test_init_error_is_exit_code_1(invoke: Invoke) -> None:
    """
    A handler that cannot be loaded is the answer, and the timeline says how it ended.
    """
    ended = invoke("nothing.here")

    assert (json.loads(ended.stdout)["errorType"], ended.exit_code) == ("Runtime.ImportModuleError", 1)
    assert ended.rows == ["init", "response delivered", "ended: Runtime.ImportModule…"]


def test_process_that_ends_after_its_response_is_exit_code_1(invoke: Invoke) -> None:
    """
    Lambda records the invocation as failed, although the caller has its answer.
    """
    ended = invoke("app.leave")

    assert (ended.stdout, ended.exit_code) == (b'"kept"\n', 1)
    assert "Runtime exited without providing a reason (after the response)" in ended.stderr


def test_output_json_is_one_object(invoke: Invoke) -> None:
    """
    Response, function error, timings and spans are there for programs to read.
    """
    ended = invoke("app.two_tasks", "--output", "json")

    report = json.loads(ended.stdout)
    spans = {(span["kind"], span["name"], span["state"]) for span in report.pop("spans")}
    timings = report.pop("timings")
    assert spans == {
        ("handler", "app.two_tasks", "succeeded"),
        ("task", "print", "succeeded"),
        ("task", "fail", "failed"),
    }
    assert list(timings) == ["init_ms", "response_ms", "background_ms", "duration_ms", "billed_ms"]
    assert timings["billed_ms"] >= timings["init_ms"] + timings["duration_ms"]
    assert isinstance(report.pop("max_memory_mb"), int | None)
    assert re.fullmatch(r"[0-9a-f-]{36}", report.pop("request_id"))
    assert report == {
        "status": "success",
        "function_error": None,
        "response": None,
        "response_encoding": "json",
        "content_type": "application/json",
    }
    assert "TIMELINE" in ended.stderr


def test_terminal_gets_the_response_indented(start: Start) -> None:
    """
    JSON is made readable for people, and for people only.
    """
    terminal, other_end = pty.openpty()
    try:
        with start("invoke", "app.echo", "--data", '{"ü": [1]}', stdout=other_end) as process:
            Ended(process, b"")
        shown = os.read(terminal, 4096).decode()
    finally:
        os.close(terminal)
        os.close(other_end)

    assert shown.replace("\r\n", "\n") == '{\n  "ü": [\n    1\n  ]\n}\n'


def test_terminal_without_unicode_gets_ascii(invoke: Invoke) -> None:
    """
    What stderr's encoding cannot show is drawn otherwise.
    """
    ended = invoke("app.two_tasks", environment={"PYTHONIOENCODING": "ascii"})

    assert ended.stderr.isascii()
    assert re.search(r"^  task fail .* =+ +x failed$", ended.stderr, re.MULTILINE)


def test_reader_that_has_gone_is_no_error(start: Start) -> None:
    """
    `lambda-ric invoke … | head -0` ends quietly.
    """
    read_end, write_end = os.pipe()
    os.close(read_end)
    with start("invoke", "app.echo", stdout=write_end) as process:
        os.close(write_end)
        ended = Ended(process, b"")

    assert ended.exit_code == 0
    assert "Error" not in ended.stderr


# ...what goes in...


def test_event_comes_from_a_file_or_from_stdin(invoke: Invoke, tmp_path: Path) -> None:
    """
    --data-file reads a file, or stdin for -; without any event it is {}.
    """
    (tmp_path / "event.json").write_bytes(b'\xef\xbb\xbf["a file"]\n')

    assert invoke("app.echo", "--data-file", "event.json").stdout == b'["a file"]\n'
    assert invoke("app.echo", "--data-file", "-", stdin=b'["stdin"]').stdout == b'["stdin"]\n'
    assert invoke("app.echo").stdout == b"{}\n"


def test_function_gets_the_variables_it_was_given_and_no_others(invoke: Invoke, tmp_path: Path) -> None:
    """
    --env comes before --env-file, and nothing of the developer's environment leaks.
    """
    (tmp_path / "dev.env").write_text("export TABLE='from file'\nQUEUE=from file\n")
    options = ["--env-file", "dev.env", "--env", "TABLE=from=option", "--memory", "512"]
    ended = invoke("app.environment", *options)

    found = json.loads(ended.stdout)
    assert (found["TABLE"], found["QUEUE"]) == ("from=option", "from file")
    assert found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert "MY_SECRET" not in found


def test_reserved_names_of_a_file_are_passed_over_with_a_note(invoke: Invoke, tmp_path: Path) -> None:
    """
    Most files have the region; the rest of them counts.
    """
    (tmp_path / "dev.env").write_text("AWS_REGION=eu-central-1\nTABLE=orders\n")
    ended = invoke("app.environment", "--env-file", "dev.env")

    assert json.loads(ended.stdout)["TABLE"] == "orders"
    assert "dev.env: AWS_REGION passed over" in ended.stderr


def test_no_freeze_leaves_the_process_running(invoke: Invoke) -> None:
    """
    --no-freeze is for looking at a runtime that is not stopped.
    """
    ended = invoke("app.fail", "--no-freeze")

    assert ended.rows == ["init", "app.fail", "response delivered"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "lambda-ric: the following arguments are required: COMMAND (see lambda-ric --help)"),
        (["invoke"], "no handler: expected module.function, such as app.handler"),
        (["invoke", ""], "no handler: expected module.function"),
        (["invoke", "a.b", "--data", "{"], "--data is not JSON: Expecting property name"),
        (["invoke", "a.b", "--data", "[NaN]"], "--data is not JSON: Unrecognized token 'NaN'"),
        (["invoke", "a.b", "--data", '"\udcff"'], "--data is not JSON"),
        (["invoke", "a.b", "--data", "[" * 100_000], "--data is not JSON"),
        (["invoke", "a.b", "--data", f'"{6291456 * "x"}"'], "--data has 6291458 bytes; Lambda takes 6291456 at most"),
        (["invoke", "a.b", "--data", "1", "--data-file", "f"], "not allowed with argument --data"),
        (["invoke", "a.b", "--data-file", "no-such-file"], "cannot read no-such-file: No such file or directory"),
        (["invoke", "a.b", "--data-file", "/"], "cannot read /: Is a directory"),
        (["invoke", "a.b", "--data-file", sys.executable], "is not UTF-8 text"),
        (["invoke", "a.b", "--env", "NAME"], "--env NAME: expected K=V"),
        (["invoke", "a.b", "--env", "_HANDLER=x"], "which comes first: lambda-ric dev app.handler -- COMMAND"),
        (
            ["invoke", "a.b", "--env", f"BIG={5000 * 'x'}"],
            "have 5003 bytes, names included, and a function may have 4096",
        ),
        (["invoke", "a.b", "--env", "A B=x"], "'A B' is not the name of an environment variable"),
        (["invoke", "a.b", "--env-file", "no-such-file"], "cannot read no-such-file"),
        (["invoke", "a.b", "--env-file", __file__], "test_cli.py, line 1: expected KEY=VALUE"),
        (["invoke", "a.b", "--timeout", "soon"], "argument --timeout: invalid float value: 'soon'"),
        (["invoke", "a.b", "--timeout", "0"], "the timeout must be more than 0 and at most 1800 seconds, not 0"),
        (["invoke", "a.b", "--memory", "1"], "the memory must be 128 to 10240 MB, not 1"),
        (["invoke", "a.b", "--output", "xml"], "argument --output: invalid choice: 'xml'"),
        (["invoke", "a.b", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_command_line_is_one_clear_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A usage error is exit code 2 and says which value is wrong.
    """
    try:
        exit_code: Any = main(arguments)
    except SystemExit as exc:
        exit_code = exc.code
    stdout, stderr = capsys.readouterr()

    assert (exit_code, stdout) == (2, "")
    assert stderr.startswith("lambda-ric")
    assert text in stderr
    assert stderr.count("\n") == 1


def test_version_and_help_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """
    --version and --help go to stdout, with exit code 0.
    """
    for arguments in (["--version"], ["--help"], ["invoke", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0

    shown = capsys.readouterr().out
    assert shown.startswith(f"lambda-ric {__version__}\n")
    assert "--data-file F" in shown


# ...and being stopped.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_function_with_the_command(start: Start, number: signal.Signals) -> None:
    """
    Ctrl-C and SIGTERM leave no process behind, and exit as shells expect.
    """
    with start("invoke", "app.hang", "--timeout", "60") as process:
        assert process.stderr is not None
        while b"START" not in process.stderr.readline():
            pass
        pids = process.stderr.readline().split()[1:]
        process.send_signal(number)
        ended = Ended(process, b"")

    left = subprocess.run(["ps", "-o", "stat=", "-p", b",".join(pids)], stdout=subprocess.PIPE, check=False)
    assert [state for state in left.stdout.split() if not state.startswith(b"Z")] == []
    assert ended.exit_code == 128 + number
    assert f"stopped by {number.name}" in ended.stderr
    assert "Traceback" not in ended.stderr
