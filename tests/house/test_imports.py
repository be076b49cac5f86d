"""
What a function's process loads: at a cold start every module is waited for, on a fraction of a core.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lambda_ric
from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.support.fakes import FakeRuntimeAPI

HEAVY = {
    "anyio", "asyncio", "concurrent.futures", "dataclasses", "decimal", "email", "h11", "http.client", "httpx",
    "inspect", "pathlib", "sniffio", "ssl", "subprocess", "tempfile", "typing", "typing_extensions", "urllib.parse",
    "uuid",
}  # fmt: skip
PACKAGE = Path(lambda_ric.__file__).parent

# A folder is a feature, or a tool: it is loaded by what uses it.
FEATURES = {f"lambda_ric.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
TOOLS = {"lambda_ric.cli", "lambda_ric.emulator", "lambda_ric.httpx_connection", "lambda_ric.testing"}


def features_of(modules: set[str]) -> set[str]:
    """Return the folders of the package that *modules* are in."""
    return {".".join(name.split(".")[:2]) for name in modules} & FEATURES


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """
    What the interpreter has loaded before any of our code, and what its `logging` brings, which no function is without.

    Files of its installation may load more than others; `logging` loads dataclasses in Python 3.14, pathlib in 3.15.
    """
    return loaded_by("import logging")


def loaded_by(statement: str) -> set[str]:
    """Return the modules of a fresh interpreter after *statement*."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return set(json.loads(done.stdout)) - {"json", "json.decoder", "json.encoder", "json.scanner"}


@pytest.fixture(scope="module")
def cold_path() -> set[str]:
    """What the start of a process loads of the package."""
    return ours(loaded_by("import lambda_ric.entry"))


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.split(".")[0] == "lambda_ric"}


def test_start_loads_no_feature(cold_path: set[str]) -> None:
    """Every module is waited for there."""
    assert features_of(cold_path) == set()


def test_plain_invocation_loads_nothing_heavy_and_no_more_than_the_start(
    serve: Serve, bare: set[str], cold_path: set[str]
) -> None:
    """Not for an event, an error, or a log record."""
    served = serve(
        """
        import logging, sys

        def handler(event, context):
            if event == "modules":
                return sorted(sys.modules)
            if event == "fail":
                raise ValueError("no")
            logging.error("x")
        """,
        {"any": "event"},
        "fail",
        "modules",
    )

    (modules,) = [answer for answer in served.answers if isinstance(answer, list)]
    assert (set(modules) - bare) & HEAVY == set()
    assert ours(set(modules)) - cold_path - {"lambda_ric.__main__"} == set()


def test_work_after_the_response_loads_nothing_heavy_and_its_own_folder_only(serve: Serve, bare: set[str]) -> None:
    """Functions run in threads without asyncio, and without concurrent.futures."""
    served = serve(
        """
        import sys
        from lambda_ric import after_response, wait_until

        @after_response
        def handler(event, context):
            if event == "modules":
                yield sorted(sys.modules)
            wait_until(int, "17")
            yield {"statusCode": 200}
        """,
        {"any": "event"},
        "modules",
    )

    modules = set(served.answers[1])
    assert (modules - bare) & HEAVY == set()
    assert features_of(modules) == {"lambda_ric.background"}


def test_background_work_is_loaded_in_the_init_of_functions_that_import_wait_until() -> None:
    """There Lambda gives a function more of a processor, and no caller waits."""
    assert "lambda_ric.background.drain" in loaded_by("from lambda_ric import wait_until")


def test_asynchronous_handler_loads_asyncio_but_no_other_library(serve: Serve, bare: set[str]) -> None:
    """asyncio is the function's own choice then; anyio and httpx are tools' libraries."""
    served = serve("import sys\nasync def handler(event, context): return sorted(sys.modules)", None)

    modules = set(served.answers[0])
    assert "asyncio" in modules
    assert features_of(modules) == set()
    assert (modules - bare) & {"anyio", "h11", "httpx", "sniffio", "typing_extensions", "http.client"} == set()


def test_importing_the_package_loads_nothing_heavy_and_no_tool(bare: set[str]) -> None:
    """The function's own modules import it, at every cold start."""
    modules = loaded_by("import lambda_ric")

    assert (modules - bare) & HEAVY == set()
    assert features_of(modules) | (modules & TOOLS) == set()


def test_synchronous_stream_loads_nothing_heavy(serve: Serve, bare: set[str]) -> None:
    """It is written by the runtime itself, without asyncio."""
    served = serve("import sys\ndef handler(event, context):\n    yield ' '.join(sys.modules)", None)

    modules = set(served.posts[0].body.decode().split())
    assert (modules - bare) & HEAVY == set()
    assert features_of(modules) == {"lambda_ric.streaming"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def handler(event, context): return event['n']", 17),
        ("async def handler(event, context): return event['n']", 17),
        ("def handler(event, context): yield str(event['n'])", 17),
        ("from lambda_ric import wait_until\ndef handler(event, context): return wait_until(int, 1).state", "pending"),
    ],
)
def test_runtime_needs_the_standard_library_only(tmp_path: Path, source: str, expected: Any) -> None:
    """`pip install --no-deps` makes the smallest package, and it serves every kind of handler."""
    (tmp_path / "app.py").write_text(source)
    with FakeRuntimeAPI({"n": 17}) as api:
        # Without site-packages there is nothing but the standard library and the package itself.
        done = subprocess.run(
            [sys.executable, "-S", "-m", "lambda_ric", "app.handler"],
            cwd=tmp_path,
            env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert [post.json() for post in api.posts] == [expected], done
