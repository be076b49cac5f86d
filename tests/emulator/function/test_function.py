"""
A function's configuration: what is accepted, and what its process finds in its environment.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_ric.emulator import Function
from lambda_ric.emulator.function.variables import read_env_file
from lambda_ric.errors import ConfigurationError


def variables(caller: Mapping[str, str], tmp_path: Path, **options: Any) -> dict[str, str]:
    function = Function(handler="app.handler", task_root=tmp_path, caller=caller, **options)
    return function.variables("127.0.0.1:9001", "token")


def test_environment_is_lambdas_and_not_the_developers(tmp_path: Path) -> None:
    """
    Of the caller's environment PATH, LANG, PYTHONPATH and the region go through; secrets do not.
    """
    caller = {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/src",
        "HOME": "/home/me",
        "AWS_ACCESS_KEY_ID": "mine",
        "AWS_REGION": "eu-central-1",
        "LAMBDA_RIC_MAX_THREADS": "1",
    }
    found = variables(caller, tmp_path, environment={"TABLE": "orders", "AWS_ACCESS_KEY_ID": "given"}, memory=256)

    assert found.pop("AWS_LAMBDA_LOG_STREAM_NAME").split("/")[3].startswith("[$LATEST]")
    assert found == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/src",
        "TZ": ":UTC",
        "TABLE": "orders",
        "AWS_ACCESS_KEY_ID": "given",
        "_HANDLER": "app.handler",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_METADATA_API": "127.0.0.1:9001",
        "AWS_LAMBDA_METADATA_TOKEN": "token",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "LAMBDA_TASK_ROOT": str(tmp_path.resolve()),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.mark.parametrize(
    ("caller", "region"),
    [({}, "us-east-1"), ({"AWS_DEFAULT_REGION": "a"}, "a"), ({"AWS_DEFAULT_REGION": "a", "AWS_REGION": "b"}, "b")],
)
def test_region_is_the_callers_or_the_first_one(caller: dict[str, str], region: str, tmp_path: Path) -> None:
    """
    AWS_REGION comes before AWS_DEFAULT_REGION, and us-east-1 after both.
    """
    assert variables(caller, tmp_path)["AWS_REGION"] == region


def test_command_is_our_own_runtime_unless_given(tmp_path: Path) -> None:
    """
    Without a command the handler is run by this interpreter and this package.
    """
    own = Function(handler="app.handler", task_root=tmp_path)
    other = Function(command=["./bootstrap"], task_root=tmp_path)

    assert own.arguments == [sys.executable, "-m", "lambda_ric", "app.handler"]
    assert other.arguments == ["./bootstrap"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"handler": ""}, "no handler"),
        ({"timeout": 0}, "not 0"),
        ({"timeout": 1800.1}, "at most 1800 seconds, not 1800.1"),
        ({"timeout": float("nan")}, "not nan"),
        ({"memory": 127}, "128 to 10240 MB, not 127"),
        ({"task_root": Path("no-such-directory")}, "'no-such-directory' is not a directory"),
        ({"environment": {"_HANDLER": "x"}}, "_HANDLER is reserved"),
        ({"environment": {"AWS_REGION": "x"}}, "AWS_REGION is reserved: the emulator takes it from its own"),
        ({"environment": {"LAMBDA_RIC_SPANS_FD": "1"}}, "LAMBDA_RIC_SPANS_FD is reserved"),
        ({"environment": {"1A": "x"}}, "'1A' is not the name"),
        ({"environment": {"A-B": "x"}}, "'A-B' is not the name"),
        ({"environment": {"": "x"}}, "'' is not the name"),
        ({"environment": {"SECRET": "s3\0cret"}}, "^the value of SECRET contains a NUL character$"),
    ],
)
def test_what_lambda_would_refuse_is_refused(options: dict[str, Any], text: str) -> None:
    """
    The error names the value and what is expected; of variables it shows no value.
    """
    with pytest.raises(ConfigurationError, match=text):
        Function(**{"handler": "app.handler", **options})


def test_env_file_is_read_as_shells_and_docker_write_it() -> None:
    """
    Comments, export, quotes and escapes are understood.
    """
    text = r"""
# comment
PLAIN=some value
  export  EXPORTED=1
EMPTY=
SPACED =  around
HASH=a#b # comment
EQUALS=a=b
SINGLE='it is $HOME\n # here' # comment
DOUBLE="line\nquote \" backslash \\ # here"
WINDOWS=crlf"""
    found = read_env_file(text.replace("WINDOWS=crlf", "WINDOWS=crlf\r\n"), "file")

    assert found == {
        "PLAIN": "some value",
        "EXPORTED": "1",
        "EMPTY": "",
        "SPACED": "around",
        "HASH": "a#b",
        "EQUALS": "a=b",
        "SINGLE": "it is $HOME\\n # here",
        "DOUBLE": 'line\nquote " backslash \\ # here',
        "WINDOWS": "crlf",
    }


def test_values_in_quotes_go_over_several_lines() -> None:
    """
    As keys and JSON do, in both kinds of quotes; a name may refer to one before, or to one outside.
    """
    text = """
KEY="-----BEGIN KEY-----
MFww
-----END KEY-----"  # a comment
JSON='{
  "a": "b"
}'
'QUOTED'=1
HOST=example.org
URL=https://${HOST}/${STAGE}/${MISSING:-default}${NOTHING}
"""
    assert read_env_file(text, "file", {"STAGE": "prod"}) == {
        "KEY": "-----BEGIN KEY-----\nMFww\n-----END KEY-----",
        "JSON": '{\n  "a": "b"\n}',
        "QUOTED": "1",
        "HOST": "example.org",
        "URL": "https://example.org/prod/default",
    }


TEXTS = st.text(st.sampled_from("aB1_ =#'\"\\\n\r\t${}:-é"), max_size=40)


@given(TEXTS)
@example("1=\t#")
@example("1= # a comment")
@example("1=\t'")
@example("1='a\\\\'")
@example("1='a\\'")
@example("1=\u00a0é")
def test_file_reads_as_python_dotenv_reads_it(text: str) -> None:
    """
    Wherever that one does not pass over what it cannot parse.
    """
    statements = list(parse_stream(io.StringIO(text)))
    try:
        found = read_env_file(text, "file")
    except ConfigurationError:
        assert any(statement.error or (statement.key and statement.value is None) for statement in statements)
    else:
        assert not any(statement.error for statement in statements)
        assert found == dotenv_values(stream=io.StringIO(text))


@pytest.mark.parametrize("line", ["NOTHING", "=value", "export", "A B=c", "OPEN='x", 'OPEN="x', "A='b'c", 'A="b" c'])
def test_line_of_another_form_is_named(line: str) -> None:
    """
    The error says in which line of which file, and does not show the line, which may hold a secret.
    """
    with pytest.raises(ConfigurationError, match=r"^prod\.env, line 2: expected KEY=VALUE[^']*$"):
        read_env_file(f"FINE=1\n{line}\n", "prod.env")


@pytest.mark.parametrize(("source", "limit"), [("invoke", 1800), ("stream", 1800), ("event", 5400), ("sqs", 5400)])
def test_managed_instances_give_only_those_that_nobody_waits_for_ninety_minutes(source: str, limit: int) -> None:
    """A function with a longer timeout is cut at thirty minutes when a caller waits."""
    assert Function(handler="a.b", timeout=5400, max_concurrency=2).timeout_of(source) == limit
