"""The pages for those who come from another adapter: what they replace answers the same, and each step runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Invocation, in_thread
from lambda_ric.emulator.function.examples import example
from tests.conftest import ROOT
from tests.proofs.frameworks.conftest import emulator_of

PAGES = ["from-mangum", "from-serverless-wsgi"]
FILES = {
    page: dict(
        re.findall(r"^```py\n# (\w+)\.py\n(.*?)^```$", (ROOT / f"docs/{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    for page in PAGES
}


def invoked(source: str, directory: Path, *events: bytes) -> list[Invocation]:
    """Return how the function with *source* has served *events*, to the end of its work."""
    directory.mkdir()
    with in_thread(emulator_of(source, directory)) as emulator:
        return [emulator.finished(emulator.invoke(event)) for event in events]


def answer(invocation: Invocation) -> Any:
    """Return what the handler has returned."""
    assert invocation.answer is not None
    return json.loads(invocation.answer.payload)


@pytest.mark.parametrize("page", PAGES)
def test_handler_is_replaced_and_the_answer_is_the_same(page: str, tmp_path: Path) -> None:
    """For each source that the old adapter knows, on the same runtime."""
    events = [example(name) for name in ("function-url", "apigw-v1", "apigw-v2")]
    of_orders = [event.replace(b'"httpMethod": "GET"', b'"httpMethod": "POST"') for event in events]
    before = invoked(FILES[page]["before"], tmp_path / "before", *of_orders)
    after = invoked(FILES[page]["after"], tmp_path / "after", *of_orders)

    for old, new in zip(map(answer, before), map(answer, after), strict=True):
        assert (new["statusCode"], new["isBase64Encoded"]) == (old["statusCode"], False)
        assert json.loads(new["body"]) == json.loads(old["body"])
    if page == "from-mangum":
        assert all("receipt for o-17" in [line.text for line in invocation.logs] for invocation in after)


@pytest.mark.parametrize(
    ("page", "name", "event", "result"),
    [
        ("from-mangum", "shared", "sqs", {"batchItemFailures": []}),
        ("from-serverless-wsgi", "warm", "eventbridge-scheduled", {}),
    ],
)
def test_other_events_have_their_handler(page: str, name: str, event: str, result: Any, tmp_path: Path) -> None:
    """And requests have the application."""
    other, request = invoked(FILES[page][name], tmp_path / "after", example(event), example("function-url"))

    assert answer(other) == result
    assert answer(request)["statusCode"] == 202
