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

from tests.conftest import CLEAN_ENVIRONMENT, Serve
from tests.fakes import FakeRuntimeAPI

HEAVY = {
    "anyio", "asyncio", "concurrent.futures", "dataclasses", "decimal", "email", "h11", "http.client", "httpx",
    "inspect", "pathlib", "sniffio", "ssl", "subprocess", "tempfile", "typing", "typing_extensions", "urllib.parse",
    "uuid",
}  # fmt: skip
_ADAPTERS = (
    "asgi", "children", "consumer", "envelope", "extension", "http_events", "lifespan", "metrics", "overflow",
    "recycling", "reports", "streaming", "supervision", "synchronous", "tasks", "wsgi",
)  # fmt: skip
# What a function asks for by using it.
ADAPTERS = {f"lambda_ric.{name}" for name in _ADAPTERS}
TOOLS = {"lambda_ric.cli", "lambda_ric.emulator", "lambda_ric.httpx_connection", "lambda_ric.testing"}


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """What the interpreter has loaded before any of our code: files of its installation may load more than others."""
    return loaded_by("import sys")


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


def test_synchronous_handler_loads_nothing_heavy(serve: Serve, bare: set[str]) -> None:
    """Not for an event, an error, a log record, nor for a function handed over and run in a thread."""
    served = serve(
        """
        import logging, sys
        from lambda_ric import after_response, wait_until

        @after_response
        def handler(event, context):
            if event == "modules":
                yield sorted(sys.modules)
            if event == "fail":
                raise ValueError("no")
            wait_until(int, "17")
            yield {"statusCode": 200}
            logging.error("x")
        """,
        {"any": "event"},
        "fail",
        "modules",
    )

    (modules,) = [answer for answer in served.answers if isinstance(answer, list)]
    assert (set(modules) - bare) & HEAVY == set()
    assert set(modules) & (TOOLS | ADAPTERS) == set()


def test_asynchronous_handler_loads_asyncio_but_no_other_library(serve: Serve, bare: set[str]) -> None:
    """asyncio is the function's own choice then; anyio and httpx are tools' libraries."""
    served = serve("import sys\nasync def handler(event, context): return sorted(sys.modules)", None)

    modules = set(served.answers[0])
    assert "asyncio" in modules
    assert modules & ADAPTERS == set()
    assert (modules - bare) & {"anyio", "h11", "httpx", "sniffio", "typing_extensions", "http.client"} == set()
    assert modules & TOOLS == set()


def test_importing_the_package_loads_nothing_heavy_and_no_tool(bare: set[str]) -> None:
    """The function's own modules import it, at every cold start."""
    modules = loaded_by("import lambda_ric")

    assert (modules - bare) & HEAVY == set()
    assert modules & (TOOLS | ADAPTERS) == set()


def test_synchronous_stream_loads_nothing_heavy(serve: Serve, bare: set[str]) -> None:
    """It is written by the runtime itself, without asyncio."""
    served = serve("import sys\ndef handler(event, context):\n    yield ' '.join(sys.modules)", None)

    modules = set(served.posts[0].body.decode().split())
    assert (modules - bare) & HEAVY == set()
    assert modules & ADAPTERS == {"lambda_ric.streaming"}


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
