"""What went wrong, told to the caller, to X-Ray and to the log as AWS's runtime tells it, and never failing itself."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from awslambdaric.lambda_runtime_exception import FaultException

import lambda_ric
from lambda_ric.errors import (
    ContextDecodeError,
    EventDecodeError,
    HandlerTimeoutError,
    InvocationError,
    ResultEncodeError,
)
from lambda_ric.failures import Failure
from tests.conftest import PATIENCE, Serve
from tests.support.fakes import Event, Request
from tests.support.reference import serve_on_awslambdaric


def raised(function: Callable[[], object]) -> BaseException:
    """Return what *function* raises."""
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def fail() -> None:
    raise ValueError("boom")


# The document...


def test_document_has_awss_keys_in_awss_order() -> None:
    """Parity 70."""
    document = json.loads(Failure(raised(fail), "r-1").document())

    assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (document["errorMessage"], document["errorType"], document["requestId"]) == ("boom", "ValueError", "r-1")


def test_nothing_to_tell_is_empty_not_null() -> None:
    """Parity 70."""
    assert json.loads(Failure(ValueError()).document()) == {
        "errorMessage": "",
        "errorType": "ValueError",
        "requestId": "",
        "stackTrace": [],
    }


class Outer:
    class Inner(Exception):
        pass


@pytest.mark.parametrize(
    ("error", "error_type", "message"),
    [
        (KeyError("missing"), "KeyError", "'missing'"),
        (Outer.Inner("x"), "Inner", "x"),
        (OSError(2, "No such file", "f"), "FileNotFoundError", "[Errno 2] No such file: 'f'"),
        (SystemExit(3), "SystemExit", "3"),
        (ValueError("a", 1), "ValueError", "('a', 1)"),
        (ExceptionGroup("all", [ValueError("one")]), "ExceptionGroup", "all (1 sub-exception)"),
        (ResultEncodeError("no"), "Runtime.MarshalError", "no"),
        (HandlerTimeoutError("late"), "Function.Timeout", "late"),
    ],
)
def test_error_has_the_name_of_its_class_and_its_own_text(error: Exception, error_type: str, message: str) -> None:
    """Not qualified; the runtime's own errors have the names that Lambda gives them. Parity 32, 71."""
    failure = Failure(error)

    assert (failure.error_type, failure.message) == (error_type, message)


def test_error_of_the_functions_that_derives_from_ours_has_its_own_name() -> None:
    """Only the runtime's own classes speak for the runtime. Parity 71."""

    class Mine(InvocationError):
        error_type = "Runtime.Forged"

    assert Failure(Mine("x")).error_type == "Mine"


@pytest.mark.parametrize(
    ("error", "header"),
    [(ValueError(), "Function.ValueError"), (EventDecodeError(), "Runtime.UnmarshalError")],
)
def test_header_names_the_category_before_the_type(error: Exception, header: str) -> None:
    """The platform's metrics read Runtime.Unknown otherwise. Parity 37."""
    assert Failure(error).error_type_header == header


def test_stack_has_one_string_a_frame_without_carets() -> None:
    """Parity 72."""
    stack = Failure(raised(fail)).stack

    assert [entry.partition(", line ")[0] for entry in stack] == [f'  File "{__file__}"'] * 2
    assert [entry.partition(", in ")[2] for entry in stack] == [
        "raised\n    function()\n",
        'fail\n    raise ValueError("boom")\n',
    ]


def test_recursion_is_collapsed() -> None:
    """Parity 72."""

    def recurse() -> None:
        recurse()

    stack = Failure(raised(recurse)).stack

    assert 4 <= len(stack) <= 6
    assert any(entry.startswith("  [Previous line repeated ") and entry.endswith(" more times]\n") for entry in stack)


def test_error_of_awss_own_keeps_its_type_and_trace() -> None:
    """For code that raises FaultException itself. Parity 78."""
    failure = Failure(raised(lambda: (_ for _ in ()).throw(FaultException("My.Type", "my message", ["line"]))), "r-1")

    assert failure.as_dict(causes=False) == {
        "errorMessage": "my message",
        "errorType": "My.Type",
        "requestId": "r-1",
        "stackTrace": ["line"],
    }
    assert Failure(FaultException("My.Type", "m")).stack == []


# ...the cause for X-Ray...


def test_cause_has_awss_keys() -> None:
    """Parity 79."""
    cause = json.loads(Failure(raised(fail)).xray_cause())

    assert list(cause) == ["working_directory", "exceptions", "paths"]
    assert cause["working_directory"] == str(Path.cwd())
    assert cause["paths"] == [__file__]
    (exception,) = cause["exceptions"]
    assert (exception["message"], exception["type"]) == ("boom", "ValueError")
    assert [frame["label"] for frame in exception["stack"]] == ["raised", "fail"]
    assert [list(frame) for frame in exception["stack"]] == [["label", "path", "line"]] * 2
    assert all(type(frame["line"]) is int for frame in exception["stack"])


@pytest.mark.parametrize("kind", [EventDecodeError, ContextDecodeError, ResultEncodeError])
def test_cause_of_a_fault_is_a_validation_error_without_a_stack(kind: type[InvocationError]) -> None:
    """Parity 79."""

    def refuse() -> None:
        raise kind("Unable to")

    (exception,) = json.loads(Failure(raised(refuse)).xray_cause())["exceptions"]

    assert exception == {"message": "Unable to", "type": "LambdaValidationError", "stack": []}


def deep_error(frames: int, filename: str) -> BaseException:
    """Return an error whose traceback has *frames* frames of functions in *filename*."""
    source = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(frames - 1)) + f"\ndef f{frames - 1}(): 1 / 0"
    namespace: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), namespace)
    return raised(namespace["f0"])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x" * 10_000_000),
        ValueError("\N{GRINNING FACE}" * 100_000),
        ValueError("\0" * 100_000),
        ValueError("\ud800" * 100_000),
        deep_error(900, "/var/task/" + "d" * 200 + ".py"),
        deep_error(50, "/var/task/" + "\N{GRINNING FACE}" * 5000 + ".py"),
        deep_error(2, "x" * 200_000),
        type("T" * 100_000, (Exception,), {})("x"),
    ],
    ids=["long", "astral", "null", "surrogate", "deep", "wide", "one wide", "type"],
)
def test_cause_is_cut_down_to_64_kib_of_ascii_json(error: Exception) -> None:
    """RAPID crops more, and not at frames; the rest of the header must survive. Parity 38."""
    cause = Failure(error).xray_cause()

    assert cause.isascii()
    assert len(cause) <= 64 * 1024
    assert "\n" not in cause
    assert json.loads(cause)["exceptions"][0]["message"]


def test_innermost_frames_are_kept_in_the_cause() -> None:
    """They say most. Parity 38."""
    (exception,) = json.loads(Failure(deep_error(900, "/var/task/" + "d" * 200 + ".py")).xray_cause())["exceptions"]

    assert exception["message"] == "division by zero"
    assert exception["stack"][-1]["label"] == "f899"
    assert len(exception["stack"]) > 100


def test_working_directory_that_is_gone_is_left_empty(tmp_path: Path) -> None:
    """A function may remove the directory that it works in. Parity 79."""
    source = """
import json, os, sys
from lambda_ric.failures import Failure
os.rmdir(os.getcwd())
print(json.loads(Failure(ValueError("x")).xray_cause())["working_directory"] == "")
"""
    environment = {"PYTHONPATH": str(Path(lambda_ric.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (done.stdout, done.stderr) == (b"True\n", b"")


# ...causes, notes and groups...


def chained() -> None:
    try:
        fail()
    except ValueError as error:
        error.add_note("a note\nof two lines")
        raise KeyError("outer") from error


def grouped() -> None:
    raise BaseExceptionGroup("several", [raised(fail), TypeError("second")])


def test_causes_notes_and_members_are_in_the_log() -> None:
    """AWS's runtime loses them everywhere. Parity 74."""
    chain, group = "\n".join(Failure(raised(chained)).lines()), "\n".join(Failure(raised(grouped)).lines())

    assert chain.startswith("[ERROR] KeyError: 'outer'\nTraceback (most recent call last):\n")
    assert "\nCaused by ValueError: boom\nTraceback (most recent call last):\n" in chain
    assert chain.endswith('raise ValueError("boom")\na note\nof two lines')
    assert group.startswith("[ERROR] ExceptionGroup: several (2 sub-exceptions)\n")
    assert "\nException 1 of the group, ValueError: boom\nTraceback (most recent call last):\n" in group
    assert group.endswith("\nException 2 of the group, TypeError: second")


def test_causes_notes_and_members_are_in_the_document_on_request_only() -> None:
    """Callers may depend on the four keys. Parity 70, 74."""
    chain, group = Failure(raised(chained)), Failure(raised(grouped))

    with_causes = json.loads(chain.document(causes=True))
    with_members = json.loads(group.document(causes=True))
    assert "cause" not in json.loads(chain.document())
    assert list(with_causes)[:4] == list(json.loads(chain.document()))
    assert with_causes["cause"]["errorType"] == "ValueError"
    assert with_causes["cause"]["errorMessage"] == "boom"
    assert with_causes["cause"]["notes"] == ["a note\nof two lines"]
    assert len(with_causes["cause"]["stackTrace"]) == 2
    assert [member["errorType"] for member in with_members["exceptions"]] == ["ValueError", "TypeError"]


def test_context_that_was_suppressed_is_not_told() -> None:
    """``raise … from None`` says so. Parity 74."""

    def suppress() -> None:
        try:
            fail()
        except ValueError:
            raise KeyError("outer") from None

    def implicit() -> None:
        try:
            fail()
        except ValueError:
            raise KeyError("outer")  # noqa: B904

    assert Failure(raised(suppress)).causes() == {}
    assert Failure(raised(implicit)).causes()["cause"]["errorMessage"] == "boom"


def test_circle_of_causes_is_told_once() -> None:
    """Parity 74."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    lines = Failure(one).lines()

    told = [line for line in lines if "one" in line or "two" in line]
    assert told == ["[ERROR] ValueError: one", "Caused by ValueError: two"]


def test_long_chain_of_causes_is_cut() -> None:
    """Parity 74, 81."""
    error = ValueError("0")
    for number in range(1, 5000):
        error, cause = ValueError(str(number)), error
        error.__cause__ = cause

    assert sum(line.startswith("Caused by") for line in Failure(error).lines()) == 7


def test_huge_group_is_cut_and_says_so() -> None:
    """Parity 74, 81."""
    failure = Failure(ExceptionGroup("many", [ValueError(str(number)) for number in range(10_000)]))

    assert failure.lines()[-1] == "9993 more exceptions of the group are left out"
    assert len(json.loads(failure.document(causes=True))["exceptions"]) == 7
    assert json.loads(failure.document(causes=True))["exceptionsLeftOut"] == 9993


def test_many_notes_are_cut_and_say_so() -> None:
    """Parity 74, 81."""
    error = ValueError("x")
    for number in range(1000):
        error.add_note(str(number))

    assert Failure(error).lines()[-1] == "980 more notes are left out"


# ...hostile errors...


class RaisingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


class NoStr(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [RaisingStr, NoStr])
def test_error_without_a_text_is_told_by_its_class(kind: type[Exception]) -> None:
    """It ends AWS's runtime with nothing posted. Parity 76."""
    error = kind()
    error.__cause__ = kind()
    failure = Failure(error)

    assert failure.message == f"<unprintable {kind.__name__} object>"
    assert failure.causes()["cause"]["errorMessage"] == f"<unprintable {kind.__name__} object>"


@pytest.mark.parametrize("name", ["app", 5, None])
def test_code_that_belongs_to_no_module_is_shown(name: object) -> None:
    """Generated code has any globals. Parity 73."""
    error = raised(lambda: exec(compile("1 / 0", "<generated>", "exec"), {"__name__": name}))
    while error.__traceback__ is not None and error.__traceback__.tb_next is not None:
        error.__traceback__ = error.__traceback__.tb_next

    assert Failure(error).stack == ['  File "<generated>", line 1, in <module>\n']


def test_lone_surrogates_are_escaped() -> None:
    """They end AWS's runtime with nothing posted. Parity 76."""
    failure = Failure(ValueError("\ud800ü"), "r-1")

    assert b'"errorMessage": "\\ud800\xc3\xbc"' in failure.document()
    assert json.loads(failure.xray_cause())["exceptions"][0]["message"] == "\ud800ü"


@pytest.mark.parametrize("character", ["x", "\0", "\N{GRINNING FACE}", "\ud800"])
@pytest.mark.parametrize("causes", [False, True])
def test_document_fits_into_what_lambda_takes_whatever_the_error_says(character: str, causes: bool) -> None:
    """A larger one would be refused, and the caller told of its size instead. Parity 81."""
    error = deep_error(900, "/var/task/" + character.replace("\0", "n") + "d" * 3000)
    error.args = (character * 10_000_000,)
    error.__cause__ = ValueError(character * 10_000_000)
    error.add_note(character * 10_000_000)

    document = Failure(error, "r-1").document(causes=causes)

    assert len(document) <= 1024 * 1024
    assert json.loads(document)["requestId"] == "r-1"
    assert json.loads(document)["errorMessage"].startswith(character * 1000)
    assert json.loads(document)["errorMessage"].endswith("… (9934464 characters left out)")


@pytest.mark.parametrize("causes", [False, True])
@pytest.mark.parametrize("limit", [1000, 2300, 10_000])
def test_document_is_cut_down_to_a_smaller_limit(limit: int, causes: bool) -> None:
    """Trailers of a streamed response take no more: the innermost frames and the start of the message are kept."""
    error = deep_error(200, "/var/task/app.py")
    error.args = ("m" * 100_000,)
    error.__cause__ = ValueError("cause")

    document = Failure(error, "r-1").document(causes=causes, limit=limit)

    assert len(document) <= limit
    assert json.loads(document)["errorMessage"].startswith("mmm")
    assert json.loads(document)["requestId"] == "r-1"


def test_long_stack_loses_its_middle() -> None:
    """Where it began and where it broke are kept. Parity 81."""
    stack = Failure(deep_error(900, "/var/task/" + "d" * 300)).stack

    assert len(stack) < 900
    assert ", in raised\n" in stack[0]
    assert stack[-1].endswith(", in f899\n")
    assert sum(entry.endswith(" frames left out]\n") for entry in stack) == 1


def test_frame_with_a_line_without_end_is_cut() -> None:
    """Generated code has such lines, and files with such names. Parity 81."""
    stack = Failure(deep_error(2, "x" * 1_000_000)).stack

    assert len(stack) == 3
    assert all(len(entry) < 5000 for entry in stack)
    assert stack[-1].endswith("x…\n")


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (ValueError("two\nlines"), ["[ERROR] ValueError: two", "lines"]),
        (ValueError(""), ["[ERROR] ValueError"]),
        (FaultException("", "text"), ["[ERROR] text"]),
        (FaultException("", ""), ["[ERROR]"]),
        (ValueError("blank "), ["[ERROR] ValueError: blank "]),
    ],
)
def test_log_begins_with_type_and_message_as_far_as_there_are_any(error: Exception, first: list[str]) -> None:
    """Alarms look for it. Parity 82, 83."""
    assert Failure(error).lines() == first


# ...and in the loop, beside AWS's own runtime.


ERRORS = """
import json, sys

class Mine(Exception):
    pass

def recurse(n):
    return recurse(n + 1)

def even(n):
    raise KeyError("deep") if n > 20 else odd(n + 1)

def odd(n):
    even(n + 1)

def chained():
    try:
        1 / 0
    except ZeroDivisionError:
        raise Mine("müde\\n\\u2028\\x7f")

def handler(event, context):
    if event == "mine":
        raise Mine("text", 5)
    if event == "empty":
        raise Mine
    if event == "chained":
        chained()
    if event == "recursion":
        recurse(0)
    if event == "mutual":
        even(0)
    if event == "json":
        json.loads("{")
    if event == "group":
        raise ExceptionGroup("g", [Mine("a"), ValueError("b")])
    if event == "set":
        return {1}
    if event == "circle":
        circle = []
        circle.append(circle)
        return circle
    if event == "exec":
        exec("1 / 0")
    if event == "assert":
        assert event == "other", {"a": 1}
    if event == "fault":
        from awslambdaric.lambda_runtime_exception import FaultException
        raise FaultException("My.Type", "my message", ["my trace"])
"""
KINDS = ("mine", "empty", "chained", "mutual", "json", "group", "set", "circle", "exec", "assert", "fault")


def test_errors_are_told_as_awss_runtime_tells_them(serve: Serve, tmp_path: Path) -> None:
    """Documents byte for byte, causes for X-Ray value for value. Parity 70, 71, 72, 77, 78, 79."""
    events = [Event(kind, request_id=kind) for kind in KINDS]
    events.append(Event(b'{"a": }', request_id="event"))
    events.append(Event("x", request_id="context", headers={"Lambda-Runtime-Client-Context": "{"}))

    ours = serve(ERRORS, *events)
    theirs = serve_on_awslambdaric(tmp_path, *events)

    assert [post.request_id for post in ours.posts] == [*KINDS, "event", "context"]
    for our, their in zip(ours.posts, theirs.posts, strict=True):
        our_cause, their_cause = cause_of(our), cause_of(their)
        assert our.body == their.body
        assert our_cause.pop("paths") == sorted(their_cause.pop("paths"))
        assert our_cause == their_cause


def cause_of(post: Request) -> dict[str, Any]:
    """Return the cause for X-Ray; AWS's runtime sends it as UTF-8."""
    cause: dict[str, Any] = json.loads(post.headers["lambda-runtime-function-xray-error-cause"].encode("latin-1"))
    return cause


def test_recursion_is_told_as_awss_runtime_tells_it(serve: Serve, tmp_path: Path) -> None:
    """Up to the depth at which the handler is called. Parity 72."""
    ours = serve(ERRORS, "recursion").answers[0]
    theirs = serve_on_awslambdaric(tmp_path, "recursion").answers[0]

    assert ours["errorType"] == theirs["errorType"] == "RecursionError"
    assert ours["stackTrace"][:3] == theirs["stackTrace"][:3]
    assert ours["stackTrace"][-1].startswith("  [Previous line repeated ")
    assert theirs["stackTrace"][-1].startswith("  [Previous line repeated ")


def test_function_in_a_file_named_as_awss_has_all_of_its_frames(serve: Serve, tmp_path: Path) -> None:
    """AWS's runtime takes its frames for its own. Parity 73."""
    (tmp_path / "bootstrap.py").write_text("import app\ndef handler(event, context):\n    app.fail()\n")

    served = serve("def fail(): raise ValueError('boom')", None, handler="bootstrap.handler")

    frames = [entry.split(", in ")[1].split("\n")[0] for entry in served.answers[0]["stackTrace"]]
    assert frames == ["handler", "fail"]


def test_frames_of_the_runtime_and_of_asyncio_are_left_out(serve: Serve) -> None:
    """An async handler's stack begins with the handler, too. Parity 73."""
    served = serve("async def handler(event, context):\n    raise ValueError('boom')", None)

    frames = [entry.split(", in ")[1].split("\n")[0] for entry in served.answers[0]["stackTrace"]]
    assert frames == ["handler"]


@pytest.mark.parametrize(
    ("statement", "error_type", "message", "code"),
    [
        ("sys.exit(7)", "SystemExit", "7", 7),
        ("sys.exit()", "SystemExit", "", 0),
        ("sys.exit('out of order')", "SystemExit", "out of order", 1),
        ("sys.exit(300)", "SystemExit", "300", 44),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "", 130),
    ],
)
def test_handler_that_ends_the_process_is_told_first(
    serve: Serve, statement: str, error_type: str, message: str, code: int
) -> None:
    """AWS's runtime posts nothing then, and the caller learns of an exit. Parity 75."""
    served = serve(f"import sys\ndef handler(event, context):\n    {statement}", "first", "second")

    assert len(served.posts) == 1
    assert served.posts[0].name == "error"
    assert (served.answers[0]["errorType"], served.answers[0]["errorMessage"]) == (error_type, message)
    assert served.posts[0].headers["lambda-runtime-function-error-type"] == f"Function.{error_type}"
    assert served.exit_code == code
    assert served.stderr == ""
    assert served.lines[0].startswith(f"[ERROR] {error_type}")


def test_other_errors_that_are_no_exceptions_do_not_end_the_process(serve: Serve) -> None:
    """A library's own BaseException is an error like any other. Parity 75."""
    served = serve(
        """
        class Stop(BaseException):
            pass

        def handler(event, context):
            if event == "first":
                raise Stop("stop")
            raise GeneratorExit
        """,
        "first",
        "second",
    )

    assert [answer["errorType"] for answer in served.answers] == ["Stop", "GeneratorExit"]


def test_hostile_errors_are_posted_and_the_loop_goes_on(serve: Serve) -> None:
    """Headers, bodies and log lines stay whole. Parity 37, 38, 76, 81, 83."""
    served = serve(
        """
        class Raising(Exception):
            def __str__(self):
                raise ValueError

        def handler(event, context):
            if event == "name":
                raise type("Bösé\\r\\nX-Injected: 1", (Exception,), {})("text")
            raise {
                "str": Raising(),
                "surrogate": ValueError("\\ud800"),
                "huge": ValueError("x" * 10_000_000),
                "newlines": ValueError("a\\r\\nContent-Length: 0\\r\\n\\r\\nb"),
            }[event]
        """,
        "str",
        "surrogate",
        "huge",
        "newlines",
        "name",
    )

    assert [post.name for post in served.posts] == ["error"] * 5
    assert [answer["errorMessage"][:60] for answer in served.answers] == [
        "<unprintable Raising object>",
        "\ud800",
        "x" * 60,
        "a\r\nContent-Length: 0\r\n\r\nb",
        "text",
    ]
    assert served.posts[4].headers["lambda-runtime-function-error-type"] == "Function.B_s_X-Injected:_1"
    for post in served.posts:
        assert "x-injected" not in post.headers
        assert json.loads(post.headers["lambda-runtime-function-xray-error-cause"])
    assert len(served.lines) == 6
    assert served.stderr == ""


def test_causes_are_posted_on_request(serve: Serve) -> None:
    """LAMBDA_RIC_ERROR_CAUSES. Parity 74."""
    source = """
    def handler(event, context):
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise ValueError("outer") from error
    """

    off, on = serve(source, None), serve(source, None, env={"LAMBDA_RIC_ERROR_CAUSES": "on"})

    assert "cause" not in off.answers[0]
    assert on.answers[0]["cause"]["errorMessage"] == "division by zero"
    for served in (off, on):
        assert "\rCaused by ZeroDivisionError: division by zero\r" in served.lines[0]


def test_error_is_in_the_log_before_it_is_posted(serve: Serve, tmp_path: Path) -> None:
    """If the post breaks, the log still says why. Parity 80."""
    seen: list[bytes] = []

    def intercept(request: Request) -> None:
        if request.name == "error":
            seen.append((tmp_path / "log").read_bytes())

    serve(
        """
        import os
        os.dup2(os.open("log", os.O_CREAT | os.O_WRONLY), 1)

        def handler(event, context):
            raise ValueError("boom")
        """,
        None,
        intercept=intercept,
    )

    assert seen[0].startswith(b"[ERROR] ValueError: boom\r")


def test_background_work_runs_after_a_failed_handler_too(serve: Serve) -> None:
    """Parity 80."""
    served = serve(
        """
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(print, "in the background")
            raise ValueError("boom")
        """,
        None,
    )

    assert [request.name for request in served.api.requests] == ["next", "error", "next"]
    assert "in the background" in served.lines


def test_error_at_an_instruction_without_a_line_is_told() -> None:
    """An interruption can strike at one of those that the compiler adds, which no line of the source has."""
    code = compile("1 / 0", "app.py", "exec")
    code = code.replace(co_linetable=b"\xf8" * len(code.co_linetable))  # no instruction has a line
    with pytest.raises(ZeroDivisionError) as raised:
        exec(code)

    assert [line for _, line in traceback.walk_tb(raised.tb)][-1] is None
    failure = Failure(raised.value)
    assert "app.py" in "".join(failure.stack)
    assert json.loads(failure.document())["errorType"] == "ZeroDivisionError"
    assert failure.xray_cause()
