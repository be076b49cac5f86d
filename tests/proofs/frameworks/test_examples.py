"""The files of docs/frameworks.md are functions, each in a process of its own: Django has one configuration only."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lambda_ric.emulator import in_thread
from lambda_ric.emulator.function.examples import example
from tests.conftest import ROOT
from tests.proofs.frameworks.conftest import emulator_of

FILES = dict(
    re.findall(
        r"^```python\n# ([\w/]+)\.py\n(.*?)^```$", (ROOT / "docs/frameworks.md").read_text(), re.MULTILINE | re.DOTALL
    )
)
FUNCTIONS = [name for name in FILES if name.endswith("_function")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_answers_and_then_sends_the_receipt(name: str, tmp_path: Path) -> None:
    """A reader copies them."""
    (tmp_path / "mysite").mkdir()
    for file, source in FILES.items():
        (tmp_path / f"{file}.py").write_text(source)

    with in_thread(emulator_of(f"from {name} import handler", tmp_path)) as emulator:
        invocation = emulator.finished(emulator.invoke(example("function-url")))

    assert invocation.answer is not None
    answer = json.loads(invocation.answer.payload)
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"accepted": "o-17"})
    assert "receipt for o-17" in [line.text for line in invocation.logs]
