"""`lambda-ric bootstrap`: the start script, for tools that drop a wheel's data files."""

from __future__ import annotations

import pytest

from lambda_ric.cli import main
from tests.conftest import ROOT


def test_bootstrap_is_written_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`lambda-ric bootstrap > bootstrap` makes the file that the zip needs."""
    assert main(["bootstrap"]) == 0
    assert capfdbinary.readouterr().out == (ROOT / "bootstrap").read_bytes()
