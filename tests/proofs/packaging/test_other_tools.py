"""
What other tools make of a project: aws-lambda-builders, which `sam build` calls, and the templates of docs/templates.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from lambda_ric.cli import main
from tests.conftest import PATIENCE, ROOT
from tests.support.projects import PYTHON, make_wheel, write_project

TEMPLATES = ROOT / "docs" / "templates"
WRAPPER = "/var/task/bootstrap"
APP = """
import time

from lambda_ric import wait_until


def handler(event, context):
    wait_until(time.sleep, 0.1)
    return {"statusCode": 202}
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own wheel, and empty ones of what its tools need."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", f"--outdir={folder}", ROOT],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    for name, version in (("anyio", "4.7"), ("h11", "0.14"), ("httpx", "0.28"), ("typing_extensions", "4.10")):
        make_wheel(folder, name, version, {f"{name}_stub.py": ""})
    return folder


@pytest.fixture
def artifacts(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A function with `bootstrap` beside its code, as the page says; return where its artefacts go."""
    for name, value in (("PIP_NO_INDEX", "1"), ("UV_OFFLINE", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    function = write_project(
        tmp_path / "function",
        {
            "app.py": APP,
            "requirements.txt": "lambda-ric\n",
            "Makefile": (TEMPLATES / "sam" / "Makefile").read_text().replace("3.13", PYTHON).replace("arm64", "x86_64"),
        },
    )
    script = subprocess.run(
        [sys.executable, "-m", "lambda_ric.cli", "bootstrap"], capture_output=True, check=True, timeout=20
    )
    (function / "bootstrap").write_bytes(script.stdout)
    (function / "bootstrap").chmod(0o755)
    return tmp_path / "artifacts"


# Calls aws-lambda-builders as `sam build` does; in a process of its own, since it leaves pipes open.
BUILD = """
import json, sys
from aws_lambda_builders.builder import LambdaBuilder

how, where = json.loads(sys.argv[1]), json.loads(sys.argv[2])
LambdaBuilder(**how).build(**where)
"""


def build(artifacts: Path, language: str, manager: str | None, manifest: str, **options: Any) -> None:
    """Build the function into *artifacts*."""
    function, scratch = artifacts.with_name("function"), artifacts.with_name("scratch")
    artifacts.mkdir()
    scratch.mkdir()
    how = {"language": language, "dependency_manager": manager, "application_framework": None}
    where = {
        "source_dir": str(function),
        "artifacts_dir": str(artifacts),
        "scratch_dir": str(scratch),
        "manifest_path": str(function / manifest),
        "runtime": f"python{PYTHON}",
        "architecture": "x86_64",
        "options": options,
    }
    done = subprocess.run(
        [sys.executable, "-c", BUILD, json.dumps(how), json.dumps(where)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def timeline_of(artifacts: Path, capfd: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> list[str]:
    """Start what came out in the emulator, with the wrapper as Lambda calls it; return the rows of its timeline."""
    patch.chdir(artifacts)
    wrapped = [str(artifacts / "bootstrap"), sys.executable, "/var/runtime/bootstrap.py"]
    code = main(["invoke", "app.handler", "--output", "json", "--", *wrapped])
    out, err = capfd.readouterr()

    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["response"] == {"statusCode": 202}
    return [line[2:30].strip() for line in err.partition("TIMELINE")[2].splitlines()[1:]]


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_artefact_of_sam_starts_and_answers_first(
    artifacts: Path, manager: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pip workflow drops the data files of wheels and their modes; those of the function's own folder it keeps."""
    build(artifacts, "python", manager, "requirements.txt")

    rows = timeline_of(artifacts, capfd, monkeypatch)

    assert rows.index("response delivered") < next(number for number, row in enumerate(rows) if row.startswith("task"))


def test_makefile_of_the_template_puts_our_own_package_there(
    artifacts: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build method `makefile` leaves all to the Makefile: `lambda-ric build` into SAM's folder."""
    build(artifacts, "provided", None, "Makefile", build_logical_id="Function")

    assert (artifacts / "lambda-ric.json").exists()
    assert "response delivered" in timeline_of(artifacts, capfd, monkeypatch)


# The templates...


def test_sam_templates_have_nothing_that_cfn_lint_finds() -> None:
    """It knows SAM's transform, and every property of CloudFormation."""
    linted = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *sorted((TEMPLATES / "sam").glob("*.yaml"))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (linted.returncode, linted.stdout) == (0, "")


class _Cloudformation(yaml.SafeLoader):
    """Reads YAML with CloudFormation's short functions, whose values nobody asks for here."""


_Cloudformation.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def sam(name: str) -> dict[str, Any]:
    properties = yaml.load((TEMPLATES / "sam" / name).read_text(), _Cloudformation)["Resources"]["Function"]
    return dict(properties["Properties"], BuildMethod=properties.get("Metadata", {}).get("BuildMethod"))


@pytest.mark.parametrize(("name", "method"), [("python", None), ("python-uv", "python-uv"), ("makefile", "makefile")])
def test_sam_templates_differ_in_their_build_method_only(name: str, method: str | None) -> None:
    """The function is the same."""
    properties = sam(f"{name}.yaml")

    assert properties.pop("BuildMethod") == method
    assert properties == {key: value for key, value in sam("python.yaml").items() if key != "BuildMethod"}
    assert properties["Environment"]["Variables"] == {"AWS_LAMBDA_EXEC_WRAPPER": WRAPPER}


def test_terraform_takes_the_zip_as_it_is() -> None:
    """`archive_file` would lose the mode of `bootstrap`."""
    with (TEMPLATES / "terraform" / "main.tf").open() as file:
        resources = hcl2.load(file)["resource"]
    by_kind = {kind.strip('"'): bodies for resource in resources for kind, bodies in resource.items()}
    (function,) = by_kind["aws_lambda_function"].values()

    assert function["filename"].strip('"') == "dist/function.zip"
    assert function["environment"][0]["variables"]["AWS_LAMBDA_EXEC_WRAPPER"].strip('"') == WRAPPER
    assert function["timeout"] > 3


def test_serverless_framework_takes_the_zip_as_it_is() -> None:
    """With the wrapper, a timeout that leaves time for background work, and a URL."""
    template = yaml.safe_load((TEMPLATES / "serverless" / "serverless.yml").read_text())

    assert template["package"] == {"artifact": "dist/function.zip"}
    assert template["provider"]["environment"] == {"AWS_LAMBDA_EXEC_WRAPPER": WRAPPER}
    assert template["provider"]["timeout"] > 3
