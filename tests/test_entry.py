"""From the start of the process to the loop, and every way out: what is posted, what is logged, and the exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CLEAN_ENVIRONMENT, Serve, Served
from tests.support.fakes import Event, FakeRuntimeAPI, Intercept, Request, reply
from tests.support.reference import serve_on_awslambdaric

ECHO = "def handler(event, context): return event"


def logged(level: str, text: str) -> re.Pattern[str]:
    """Return what a line of the runtime's own log looks like, outside of any invocation."""
    return re.compile(rf"\[{level}\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t\t{re.escape(text)}")


def names(served: Served) -> list[str]:
    """Return what was asked, in order, without the common start of the paths."""
    return [request.path.rpartition("/2018-06-01/runtime/")[2] for request in served.api.requests]


# The command line...


def test_handler_is_named_by_the_argument(serve: Serve) -> None:
    """It goes before _HANDLER. Parity 1, 2."""
    served = serve(ECHO, "x", handler="other.handler", arguments=("app.handler",))

    assert served.answers == ["x"]


def test_handler_is_named_by_the_environment(serve: Serve) -> None:
    """AWS's runtime needs a bootstrap for that. Parity 1, 2."""
    served = serve(ECHO, "x", handler="app.handler")

    assert served.answers == ["x"]


def test_missing_handler_is_an_init_error(serve: Serve) -> None:
    """And no traceback. Parity 1."""
    served = serve(ECHO, handler="")

    assert names(served) == ["init/error"]
    assert served.answers[0]["errorType"] == "Runtime.MalformedHandlerName"
    assert served.answers[0]["errorMessage"].startswith("no handler is named: set _HANDLER")
    assert (served.exit_code, served.stderr) == (1, "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_says_how_to_start_it(serve: Serve, option: str) -> None:
    """Without any Runtime API."""
    served = serve(ECHO, arguments=(option,), env={"AWS_LAMBDA_RUNTIME_API": ""})

    assert served.stdout.startswith("usage: python -m lambda_ric [HANDLER]\n")
    assert "lambda-ric invoke HANDLER" in served.stdout
    assert (served.exit_code, served.stderr, served.api.requests) == (0, "", [])


def test_too_many_arguments_are_refused_with_the_usage(serve: Serve) -> None:
    """Nothing is posted: the mistake is in the image, not in the function."""
    served = serve(ECHO, arguments=("app.handler", "more"))

    assert served.stderr.startswith("usage: python -m lambda_ric [HANDLER]\n")
    assert served.stderr.endswith("\nexpected one handler, got 'app.handler more'\n")
    assert (served.exit_code, served.stdout, served.api.requests) == (2, "", [])


# ...the environment...


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("", "[ERROR] AWS_LAMBDA_RUNTIME_API is not set: this is a program for Lambda to start."),
        ("ftp://127.0.0.1:1", "[ERROR] AWS_LAMBDA_RUNTIME_API='ftp://127.0.0.1:1' is not an address: expected "),
        ("127.0.0.1:99999", "[ERROR] AWS_LAMBDA_RUNTIME_API='127.0.0.1:99999' is not an address: expected "),
    ],
)
def test_unusable_address_is_one_clear_line(serve: Serve, address: str, line: str) -> None:
    """AWS's runtime ends in a KeyError. Parity 3."""
    served = serve(ECHO, env={"AWS_LAMBDA_RUNTIME_API": address})

    assert served.stderr.startswith(line)
    assert served.stderr.count("\n") == 1
    assert (served.exit_code, served.stdout) == (1, "")


def test_api_that_is_not_there_is_one_clear_line(serve: Serve) -> None:
    """Parity 44."""
    served = serve(ECHO, env={"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"})

    (line,) = served.lines
    text = "cannot connect to the Runtime API at 127.0.0.1:9: [Errno 111] Connection refused"
    assert logged("ERROR", text).fullmatch(line)
    assert (served.exit_code, served.stderr) == (1, "")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("LAMBDA_RIC_MAX_THREADS", "many", "a number from 1 to 1000"),
        ("LAMBDA_RIC_SOFT_DEADLINE_MS", "-5", "a number from 0 to 1800000, or off"),
        ("LAMBDA_RIC_ORPHANS", "ignore", "warn, adopt, cancel"),
    ],
)
def test_malformed_setting_is_an_init_error(serve: Serve, variable: str, value: str, expected: str) -> None:
    """Never a silent default."""
    served = serve(ECHO, "x", env={variable: value})

    text = f"{variable}={value!r} is not understood: expected {expected}"
    assert names(served) == ["init/error"]
    assert served.answers == [
        {"errorMessage": text, "errorType": "Runtime.InvalidConfiguration", "requestId": "", "stackTrace": []}
    ]
    assert served.posts[0].headers["lambda-runtime-function-error-type"] == "Runtime.InvalidConfiguration"
    assert served.lines == [f"[ERROR] Runtime.InvalidConfiguration: {text}"]
    assert (served.exit_code, served.stderr) == (1, "")


def test_malformed_setting_is_logged_in_the_functions_format(serve: Serve) -> None:
    """A line of text among JSON counts as INFO."""
    served = serve(ECHO, env={"LAMBDA_RIC_MAX_THREADS": "many", "AWS_LAMBDA_LOG_FORMAT": "JSON"})

    (event,) = served.events
    assert (event["level"], event["errorType"]) == ("ERROR", "Runtime.InvalidConfiguration")


def test_unknown_setting_is_a_warning(serve: Serve) -> None:
    """A typing error, most likely; the function is served."""
    served = serve(ECHO, "x", env={"LAMBDA_RIC_MAX_THREAD": "8"})

    text = (
        "the environment variable LAMBDA_RIC_MAX_THREAD means nothing to this version: "
        "did you mean LAMBDA_RIC_MAX_THREADS?"
    )
    assert logged("WARNING", text).fullmatch(served.lines[0])
    assert served.answers == ["x"]


def test_environment_reaches_the_handler_as_it_is(serve: Serve) -> None:
    """Nothing is set, and only the descriptor of the log is taken away. Parity 7, 16, 41."""
    pipe = _, write = os.pipe()
    given = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.15",
        "LAMBDA_RIC_MAX_THREADS": "8",
        "_LAMBDA_TELEMETRY_LOG_FD": str(write),
        "LC_CTYPE": "C.UTF-8",
    }
    try:
        served = serve(
            "import os\ndef handler(event, context): return dict(os.environ)", None, env=given, pass_fds=(write,)
        )
    finally:
        for descriptor in pipe:
            os.close(descriptor)

    expected = {
        **CLEAN_ENVIRONMENT,
        **given,
        "AWS_LAMBDA_RUNTIME_API": served.api.requests[0].headers["host"],
        "_HANDLER": "app.handler",
    }
    del expected["_LAMBDA_TELEMETRY_LOG_FD"]
    (seen,) = served.answers
    assert seen.pop("LAMBDA_TASK_ROOT")
    assert seen == expected


# ...the handler...


def test_init_error_is_logged_then_posted_then_the_process_exits(serve: Serve, tmp_path: Path) -> None:
    """One event in the log, without advice on AWS's own runtime updates. Parity 27, 28, 29, 31."""
    log_at_post: list[bytes] = []

    def intercept(request: Request) -> None:
        log_at_post.append((tmp_path / "log").read_bytes())

    served = serve(
        """
        import os
        os.dup2(os.open("log", os.O_CREAT | os.O_WRONLY), 1)
        raise LookupError("at import")
        """,
        intercept=intercept,
    )

    (post,) = served.posts
    assert post.path == "/2018-06-01/runtime/init/error"
    assert list(post.json()) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert list(post.json().values())[:3] == ["at import", "LookupError", ""]
    assert post.headers["content-type"] == "application/json"
    assert post.headers["lambda-runtime-function-error-type"] == "LookupError"
    assert post.headers["user-agent"].startswith("lambda-ric/")
    assert log_at_post[0].startswith(b"[ERROR] LookupError: at import\rTraceback (most recent call last):\r")
    assert log_at_post[0].count(b"\n") == 1
    assert (served.exit_code, served.stderr) == (1, "")


def test_init_error_has_its_causes_in_the_log(serve: Serve) -> None:
    """The import that failed is often the cause of another error. Parity 74."""
    served = serve(
        """
        try:
            import no_such_module
        except ImportError as error:
            raise RuntimeError("cannot start") from error
        """
    )

    assert "\rCaused by ModuleNotFoundError: No module named 'no_such_module'\r" in served.lines[0]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (reply(200), None),
        (reply(403, b"no"), "posting the init error failed: the Runtime API said 403 no; another answer was given"),
        (reply(500), "posting the init error failed: the Runtime API said 500"),
        (b"", "the init error was not acknowledged: the connection was closed without a reply"),
        (b"GARBAGE connection: close\r\n\r\n", "the init error was not acknowledged: not the first line of an HTTP"),
    ],
)
def test_init_error_that_is_refused_is_one_more_line(serve: Serve, answer: bytes, line: str | None) -> None:
    """AWS's runtime ends in a second traceback. Parity 30, 47."""
    served = serve("1 / 0", intercept=lambda request: answer)

    assert served.lines[0].startswith("[ERROR] ZeroDivisionError: division by zero\r")
    assert len(served.lines) == (1 if line is None else 2)
    assert line is None or logged("ERROR", line).match(served.lines[1])
    assert (served.exit_code, served.stderr) == (1, "")


@pytest.mark.parametrize(
    ("statement", "error_type", "code"),
    [
        ("sys.exit(7)", "SystemExit", 7),
        ("sys.exit(0)", "SystemExit", 1),
        ("sys.exit('no licence')", "SystemExit", 1),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", 130),
        ("raise GeneratorExit", "GeneratorExit", 1),
    ],
)
def test_module_that_ends_the_process_is_told_first(serve: Serve, statement: str, error_type: str, code: int) -> None:
    """The code is kept, but never one that says that all is well. Parity 25, 31."""
    served = serve(f"import sys\n{statement}")

    assert names(served) == ["init/error"]
    assert served.answers[0]["errorType"] == error_type
    assert (served.exit_code, served.stderr) == (code, "")


def test_failing_startup_hook_is_an_init_error(serve: Serve) -> None:
    """The environment cannot be used without what it sets up."""
    served = serve(
        """
        from lambda_ric import on_startup

        @on_startup
        def connect():
            raise ConnectionError("no database")

        def handler(event, context):
            return event
        """,
        "x",
    )

    assert names(served) == ["init/error"]
    assert served.answers[0]["errorType"] == "ConnectionError"
    assert served.exit_code == 1


def test_handler_that_cannot_be_called_is_an_init_error(serve: Serve) -> None:
    """And not an error of every invocation. Parity 26."""
    served = serve("handler = 5", "x")

    assert names(served) == ["init/error"]
    assert served.answers[0]["errorType"] == "Runtime.HandlerNotCallable"


def test_malformed_name_of_the_handler_is_an_init_error(serve: Serve) -> None:
    """Parity 24."""
    served = serve(ECHO, handler="../app.handler")

    assert served.answers[0]["errorType"] == "Runtime.MalformedHandlerName"
    assert served.answers[0]["errorMessage"].startswith("Bad handler '../app.handler': expected module.function")


# ...the way out...


def test_functions_atexit_functions_are_called(serve: Serve) -> None:
    """Also when its threads never end, which Python itself would wait for."""
    served = serve(
        """
        import atexit, sys, threading
        atexit.register(print, "at exit", flush=True)

        def handler(event, context):
            threading.Thread(target=threading.Event().wait).start()
            sys.exit(3)
        """,
        None,
    )

    assert served.exit_code == 3
    assert served.lines[-1] == "at exit"


@pytest.mark.parametrize("statement", ["sys.stdout.close()", "sys.stdout = None", "os.close(1)"])
def test_exit_code_is_kept_without_a_standard_output(serve: Serve, statement: str) -> None:
    """There is nothing to flush then, and nothing to fail."""
    served = serve(f"import os, sys\ndef handler(event, context):\n    {statement}\n    sys.exit(3)", None)

    assert [post.name for post in served.posts] == ["error"]
    assert served.exit_code == 3
    assert "lambda_ric" not in served.stderr


def test_interrupt_from_the_keyboard_while_waiting_is_a_quiet_end(serve: Serve) -> None:
    """Whoever tries a function on a terminal ends it so."""
    process: list[int] = []

    def intercept(request: Request) -> bytes | None:
        if request.name == "response":
            process.append(request.json())
        elif process:
            os.kill(process[0], signal.SIGINT)
            return b""
        return None

    served = serve("import os\ndef handler(event, context): return os.getpid()", 1, intercept=intercept)

    assert (served.exit_code, served.stdout, served.stderr) == (130, "", "")


def test_what_was_printed_without_a_line_break_is_not_lost(serve: Serve) -> None:
    """The standard streams are flushed before the process ends."""
    served = serve("print('unfinished', end='')\nimport sys\nsys.stderr.write('too')\nsys.exit(3)")

    assert served.lines[-1] == "unfinished"
    assert served.stderr.rstrip() == "too"


# ...and through a snapshot.


SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}

SNAPSHOT = """
import snapshot_restore_py as snapshot

def say(*args, **kwargs):
    print("hook", *args, *kwargs.values(), flush=True)

@snapshot.register_before_snapshot
def first():
    say("before 1")

snapshot.register_before_snapshot(say, "before", number=2)
snapshot.register_after_restore(say, "after", number=1)

@snapshot.register_after_restore
def second():
    say("after 2")

def handler(event, context):
    say("handler")
    return event
"""


def restoring(answer: bytes = reply(200), post: bytes | None = None) -> Intercept:
    """Answer the wait for a restore with *answer*, and what is posted with *post*."""
    return lambda request: answer if request.path.endswith("/restore/next") else post if request.body else None


@pytest.fixture(params=["ours", "awss"])
def serve_on_either(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Callable[..., Served]:
    """Serve on this runtime, and on AWS's own."""

    def serve_on_theirs(source: str, *events: Any, **options: Any) -> Served:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        return serve_on_awslambdaric(tmp_path, *events, **options)

    return serve if request.param == "ours" else serve_on_theirs


def hooks(served: Served) -> list[str]:
    """Return what the hooks have printed."""
    return [line.removeprefix("hook ") for line in served.lines if line.startswith("hook ")]


def test_hooks_run_around_the_snapshot(serve_on_either: Callable[..., Served]) -> None:
    """Before it the last registered first, after it the first registered first. Parity 10, 132, 133."""
    served = serve_on_either(SNAPSHOT, "x", env=SNAP_START, intercept=restoring())

    assert names(served)[:2] == ["restore/next", "invocation/next"]
    assert names(served)[2].endswith("/response")
    assert hooks(served) == ["before 2", "before 1", "after 1", "after 2", "handler"]


def test_hook_registered_by_a_hook_runs_too(serve_on_either: Callable[..., Served]) -> None:
    """Parity 132."""
    source = """
    import snapshot_restore_py as snapshot

    @snapshot.register_before_snapshot
    def outer():
        snapshot.register_before_snapshot(print, "hook inner before")

    @snapshot.register_after_restore
    def outer_after():
        snapshot.register_after_restore(print, "hook inner after")

    def handler(event, context): pass
    """

    served = serve_on_either(source, env=SNAP_START, intercept=restoring())

    assert hooks(served) == ["inner before", "inner after"]


OWN_HOOKS = """
import asyncio, random
import snapshot_restore_py as snapshot
from lambda_ric import after_restore, before_snapshot

def say(*words):
    print("hook", *words, flush=True)

async def say_soon(*words):
    await asyncio.sleep(0)
    say(*words)

snapshot.register_before_snapshot(say_soon, "library before")
snapshot.register_after_restore(say_soon, "library after")

@before_snapshot
def first():
    say("before 1")
    before_snapshot(lambda: say("before, late"))

@before_snapshot
async def second():
    await say_soon("before 2")

@after_restore
async def third():
    await say_soon("after 1")

@after_restore
def fourth():
    say("after 2")

def handler(event, context):
    say("handler")
"""


def test_own_hooks_run_around_the_snapshot_and_around_those_of_libraries(serve: Serve) -> None:
    """Synchronous or not, with either registry; the last registered first before it. Parity 135."""
    served = serve(OWN_HOOKS, None, env=SNAP_START, intercept=restoring())

    before = ["before 2", "before 1", "before, late", "library before"]
    assert hooks(served) == [*before, "library after", "after 1", "after 2", "handler"]
    assert names(served)[:2] == ["restore/next", "invocation/next"]
    assert served.stderr == ""


def test_own_hooks_do_not_run_without_a_snapshot(serve: Serve) -> None:
    """There is nothing to prepare for."""
    assert hooks(serve(OWN_HOOKS, None)) == ["handler"]


def test_copies_of_a_snapshot_have_random_numbers_of_their_own(serve: Serve) -> None:
    """All of them begin with the state that `random` had in the init. Parity 135."""
    source = """
    import random
    from lambda_ric import after_restore, before_snapshot

    expected = []

    @before_snapshot
    def remember():
        copy = random.Random()
        copy.setstate(random.getstate())
        expected.append(copy.random())

    in_hook = []
    after_restore(lambda: in_hook.append(random.random()))

    def handler(event, context):
        return expected == in_hook
    """

    assert serve(source, None, env=SNAP_START, intercept=restoring()).answers == [False]


@pytest.mark.parametrize("moment", ["before_snapshot", "after_restore"])
def test_own_hook_that_fails_ends_the_process_as_a_librarys_does(serve: Serve, moment: str) -> None:
    """With its own line in the stack, and the name of the moment for Lambda's metrics."""
    source = f"""
    from lambda_ric import {moment}

    @{moment}
    async def hook():
        raise ValueError("boom")

    def handler(event, context): pass
    """

    served = serve(source, env=SNAP_START, intercept=restoring())

    (post,) = served.posts
    assert post.headers["lambda-runtime-function-error-type"] in (
        "Runtime.BeforeSnapshotError", "Runtime.AfterRestoreError",
    )  # fmt: skip
    assert [entry.split(", in ")[1].split("\n")[0] for entry in post.json()["stackTrace"]] == ["hook"]
    assert served.exit_code == {"before_snapshot": 64, "after_restore": 65}[moment]


def test_connection_of_before_the_snapshot_is_not_used_after_it(serve: Serve) -> None:
    """Every restored copy would have the same one. Parity 132."""
    served = serve(SNAPSHOT, "x", env=SNAP_START, intercept=restoring())

    assert [request.connection for request in served.api.requests] == [0, 1, 1, 1]


def test_without_snap_start_no_restore_is_waited_for(serve_on_either: Callable[..., Served]) -> None:
    """Parity 10."""
    served = serve_on_either(SNAPSHOT, "x", env={"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"})

    assert names(served)[0] == "invocation/next"
    assert hooks(served) == ["handler"]


@pytest.mark.parametrize("moment", ["before_snapshot", "after_restore"])
@pytest.mark.parametrize("statement", ["raise ValueError('boom')", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_failing_hook_ends_the_process_with_a_code_of_its_moment(
    serve: Serve, tmp_path: Path, moment: str, statement: str
) -> None:
    """What is posted where, and the code, are those of AWS's runtime. Parity 31, 32, 134."""
    source = f"""
    import sys
    import snapshot_restore_py as snapshot

    @snapshot.register_{moment}
    def hook():
        {statement}

    def handler(event, context): pass
    """

    ours = serve(source, env=SNAP_START, intercept=restoring())
    theirs = serve_on_awslambdaric(tmp_path, env=SNAP_START, intercept=restoring())

    (our,), (their,) = ours.posts, theirs.posts
    frames = [entry.split(", in ")[1].split("\n")[0] for entry in our.json()["stackTrace"]]
    assert names(ours) == names(theirs)
    assert our.headers["lambda-runtime-function-error-type"] == their.headers["lambda-runtime-function-error-type"]
    assert {**our.json(), "stackTrace": ""} == {**their.json(), "stackTrace": ""}
    assert frames == ["hook"]
    assert ours.exit_code == theirs.exit_code == {"before_snapshot": 64, "after_restore": 65}[moment]
    assert ours.lines[0].startswith(f"[ERROR] {our.json()['errorType']}")
    assert ours.stderr == ""


@pytest.mark.parametrize("answer", [reply(403, b"no"), reply(500), reply(204), b""])
def test_restore_that_is_refused_ends_the_process(serve: Serve, answer: bytes) -> None:
    """Parity 31, 48."""
    served = serve(SNAPSHOT, "x", env=SNAP_START, intercept=restoring(answer))

    assert names(served)[-1] == "init/error"
    assert served.posts[0].headers["lambda-runtime-function-error-type"] == "Runtime.BeforeSnapshotError"
    assert served.answers[0]["errorType"] == "Runtime.LambdaRuntimeClientError"
    assert served.exit_code == 64
    assert (served.stderr, hooks(served)) == ("", ["before 2", "before 1"])


@pytest.mark.parametrize("post", [reply(403), b""])
def test_restore_error_that_is_refused_is_one_more_line(serve: Serve, post: bytes) -> None:
    """Parity 47."""
    source = """
    import snapshot_restore_py as snapshot
    snapshot.register_after_restore(int, "x")
    def handler(event, context): pass
    """

    served = serve(source, env=SNAP_START, intercept=restoring(post=post))

    assert len(served.lines) == 2
    assert "the restore error" in served.lines[1]
    assert (served.exit_code, served.stderr) == (65, "")


def test_function_without_the_hooks_package_is_restored_all_the_same(serve: Serve, tmp_path: Path) -> None:
    """It is optional: without it there can be no hooks. Parity 133."""
    (tmp_path / "snapshot_restore_py.py").write_text("raise ImportError('not installed')")

    served = serve(ECHO, "x", env=SNAP_START, intercept=restoring())

    assert names(served)[0] == "restore/next"
    assert served.answers == ["x"]


# As a function of a program.


def test_function_is_served_by_a_program_of_its_own(tmp_path: Path) -> None:
    """`run` returns the exit code, and leaves the exit to its caller."""
    program = "import lambda_ric\ncode = lambda_ric.run(lambda event, context: event + 1)\nprint('code', code)\n"
    with FakeRuntimeAPI(Event(1)) as api:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    assert [json.loads(post.body) for post in api.posts] == [2]
    assert done.stdout.splitlines()[-1] == "code 1"
    assert done.returncode == 0


@pytest.mark.parametrize("encoded", ["'text'", "('text', 'text/plain')", "(b'', 'a\\r\\nb: c')", "None"])
def test_codec_that_encodes_to_nothing_that_can_be_posted_fails_the_invocation_only(serve: Serve, encoded: str) -> None:
    """Neither a crash nor a header of the codec's making."""
    served = serve(
        f"""
        import sys
        import lambda_ric

        class OwnCodec(lambda_ric.Codec):
            def encode(self, result):
                return {encoded} if result else super().encode(result)

        sys.exit(lambda_ric.run(lambda event, context: event, codec=OwnCodec()))
        """,
        1,
        0,
    )

    # The module serves the events itself, while it is imported: its exit is the init error that follows.
    assert [post.path.rpartition("/")[2] for post in served.posts[:2]] == ["error", "response"]
    assert served.answers[0]["errorType"] == "Runtime.MarshalError"
    assert "OwnCodec.encode returned" in served.answers[0]["errorMessage"]
