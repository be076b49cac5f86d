"""
That docs/differences.md is true: every behaviour of awslambdaric is accounted for, and tested where it says so.

Below that, what libraries made for awslambdaric do with a function, as far as
no other file of tests is about it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.conftest import ROOT, Serve
from tests.support.fakes import Event, Request, reply

LAST = 147


@cache
def rows() -> list[tuple[int, str]]:
    """Return the number and the last column, where a behaviour is tested, of each row of the page's table."""
    page = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    return [(int(number), where) for number, where in table]


@cache
def files_by_number() -> dict[int, set[str]]:
    """Return the files whose docstrings name a behaviour, as in "Parity 91, 93-95.", by number."""
    files: dict[int, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not node.name.startswith("test_"):
                continue
            for numbers in re.findall(r"Parity ((?:\d+(?:-\d+)?(?:, | and )?)+)", ast.get_docstring(node) or ""):
                for first, last in re.findall(r"(\d+)(?:-(\d+))?", numbers):
                    for number in range(int(first), int(last or first) + 1):
                        files.setdefault(number, set()).add(path.relative_to(ROOT / "tests").with_suffix("").as_posix())
    return files


def test_every_behaviour_is_accounted_for_once() -> None:
    """In order, so that a missing one is seen."""
    assert [number for number, _ in rows()] == list(range(1, LAST + 1))


def test_behaviours_are_tested_where_the_page_says() -> None:
    """Each file that a row names has a test that names the row."""
    wrong = {
        number: missing
        for number, where in rows()
        if (missing := files_in(where) - files_by_number().get(number, set()))
    }

    assert wrong == {}


def test_behaviours_without_a_test_have_a_reason() -> None:
    """And the page is to be told when there is a test."""
    untested = {number: where for number, where in rows() if not files_in(where)}

    assert [where for where in untested.values() if not where.startswith(("not wanted: ", "not yet: "))] == []
    assert set(untested) & set(files_by_number()) == set()
    assert set(files_by_number()) <= set(range(1, LAST + 1))


def files_in(where: str) -> set[str]:
    """Return the files of tests that a row names."""
    return set(re.findall(r"`((?:\w+/)*test_\w+)`", where))


# What libraries and users see...


def test_hook_follows_the_response_without_a_patch(serve: Serve, tmp_path: Path) -> None:
    """Parity 116. What users replace a function of AWS's runtime for."""
    flushed = tmp_path / "flushed"
    seen = {}

    def look(request: Request) -> bytes | None:
        seen[request.name, flushed.exists()] = request
        return None

    serve(
        """
        import pathlib
        from lambda_ric import after_invoke

        @after_invoke
        def flush(outcome):
            pathlib.Path("flushed").touch()

        def handler(event, context):
            pass
        """,
        None,
        intercept=look,
    )

    assert list(seen) == [("next", False), ("response", False), ("next", True)]


def test_init_error_that_another_worker_has_told_is_no_failure_of_its_own(serve: Serve) -> None:
    """Parity 128. The answer is 403 then; the process ends as it would have."""
    served = serve(
        "raise ValueError('no')",
        intercept=lambda request: reply(403, b"InvalidStateTransition") if request.name == "error" else None,
    )

    assert served.exit_code == 1
    assert served.lines[0].startswith("[ERROR] ValueError: no\r")
    assert [post.path.split("/", 3)[3] for post in served.posts] == ["init/error"]
    assert served.stderr == ""


def test_wrapper_of_a_handler_finds_what_it_reads_from_the_context(serve: Serve) -> None:
    """Parity 138, 141. Sentry's reads these attributes, New Relic's assigns one of its own."""
    served = serve(
        """
        def wrapped(handler):
            def wrapper(event, context):
                context.iopipe = object()
                left = context.get_remaining_time_in_millis()
                names = (
                    context.function_name, context.function_version, context.log_group_name, context.log_stream_name
                )
                return [0 < left <= 30_000, context.invoked_function_arn.split(":")[3], context.aws_request_id, *names]
            return wrapper

        @wrapped
        def handler(event, context):
            pass
        """,
        Event(request_id="an-id"),
        env={
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[7]abc",
        },
    )

    assert served.answers == [
        [True, "eu-west-1", "an-id", "orders", "7", "/aws/lambda/orders", "2026/11/21/[7]abc"],
    ]


def test_result_travels_as_plain_json(serve: Serve) -> None:
    """Parity 145. The durable execution SDK, and callers who compare strings, get what the standard library writes."""
    source = """
        def handler(event, context):
            return {"Status": "SUCCEEDED", "Result": "[1, 2.5, null]", "Error": None, "n": [1, 2.5, True]}
        """

    (post,) = serve(source, None).posts

    assert post.body == b'{"Status": "SUCCEEDED", "Result": "[1, 2.5, null]", "Error": null, "n": [1, 2.5, true]}'
