"""The first versions that the documentation names answer like their servers, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests.proofs.frameworks.conftest import App, as_function, under_server
from tests.proofs.frameworks.test_like_servers import APPS, CALLS, CALLS_OF, assert_same
from tests.support import environments


@pytest.fixture(scope="module")
def python() -> str:
    return environments.python_with_first_versions()


def test_environment_has_the_versions_that_are_documented(python: str) -> None:
    """Each of them, and no other."""
    packages = next(Path(python).parents[1].glob("lib/python*/site-packages"))
    found = {installed.name.lower(): installed.version for installed in _installed(packages)}

    assert {app.module.removesuffix("_app") for app in APPS} == set(environments.first_versions())
    for name, version in environments.first_versions().items():
        assert f"{found[name]}.".startswith(f"{version}.")


def _installed(packages: Path) -> Iterator[Distribution]:
    yield from distributions(path=[str(packages)])


@pytest.mark.parametrize("app", APPS, ids=str)
def test_responses_are_those_of_a_server(python: str, app: App, tmp_path: Path) -> None:
    """To all requests that the newest versions are sent."""
    app = replace(app, python=python)
    for name in ("server", "function"):
        (tmp_path / name).mkdir()
    with (
        under_server(app, tmp_path / "server") as server,
        as_function(app, tmp_path / "function", "buffered") as function,
    ):
        for call in [*CALLS, *CALLS_OF.get(app.module, ())]:
            assert_same(call, server, function)
