"""
`lambda-ric build --report` and `--sbom`: what a package is made of, and what its start costs.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path

import pytest

from lambda_ric.packaging.report import Report, Row
from lambda_ric.version import __version__
from tests.packaging.conftest import Run
from tests.support.projects import make_wheel, write_project

MB = 1024 * 1024


@pytest.fixture
def project(tmp_path: Path, offline: Path) -> Path:
    """A function that imports one of its two packages."""
    slow = {"slow/__init__.py": "import slow.inner\n", "slow/inner.py": "sum(range(10**5))\n"}
    make_wheel(offline, "slow", "1.0", slow)
    make_wheel(offline, "idle", "2.0", {"idle.py": f"text = {'x' * 100_000!r}\n"})
    app = (
        "import slow\n\nTABLE = [number**2 for number in range(10**5)]\n\n"
        "def handler(event, context):\n    raise SystemExit('the report has called the handler')\n"
    )
    return write_project(tmp_path / "shop", {"app.py": app, "requirements.txt": "slow==1.0\nidle==2.0\n"})


def rows_of(stdout: str) -> dict[str, str]:
    """Return the lines of the table, by package."""
    table = stdout.partition("the largest savings")[0].splitlines()
    return {line[:30].strip(): line[30:] for line in table}


def test_report_measures_the_imports_of_the_start(run: Run, project: Path) -> None:
    """In the emulator, with the package's own bytecode, and without a call of the handler."""
    ended = run("build", project, "--handler", "app.handler", "--report")

    rows = rows_of(ended.stdout)
    assert ended.exit_code == 0, ended
    assert rows["idle"].endswith(" 0.0 ms")
    assert rows["slow"].endswith(" ms")
    assert rows["slow"] != rows["idle"]
    assert rows["lambda-ric"].endswith(" ms")
    assert float(rows["your code"].split()[2]) > float(rows["idle"].split()[2])
    assert "not imported at the start. Leave it out" in ended.stdout
    assert "has called the handler" not in ended.stdout + ended.stderr


def test_handler_in_a_module_that_no_statement_could_name_is_measured(run: Run, project: Path) -> None:
    """Lambda imports `my-app` and `folder/app` by their names."""
    write_project(project, {"some/my-app.py": "def handler(event, context): ...\n"})

    ended = run("build", project, "--handler", "some/my-app.handler", "--report")

    assert ended.exit_code == 0, ended
    assert rows_of(ended.stdout)["your code"].endswith(" ms")


def test_report_of_another_machine_has_sizes_only(run: Run, project: Path) -> None:
    """What cannot be started here is not guessed."""
    ended = run("build", project, "--handler", "app.handler", "--report", "--arch", "arm64")

    assert rows_of(ended.stdout)["together"].endswith("not measured")


def test_report_of_a_function_that_does_not_start_shows_its_log(run: Run, project: Path) -> None:
    """There is nothing to measure, and a reason."""
    write_project(project, {"app.py": "import no_such_module\n"})

    ended = run("build", project, "--handler", "app.handler", "--report")

    assert ended.exit_code == 1
    assert "the package does not start" in ended.stderr
    assert "No module named 'no_such_module'" in ended.stderr


def test_picture_is_a_page_of_its_own(run: Run, project: Path) -> None:
    """It needs no other file, and no network."""
    run("build", project, "--handler", "app.handler", "--report")

    page = (project / "dist" / "function.html").read_text()
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    texts = [element.text for element in xml.etree.ElementTree.fromstring(svg).iter() if element.text]

    assert {"slow", "idle", "lambda-ric", "your code"} <= set(texts)
    assert "src=" not in page
    assert "href=" not in page


def test_savings_are_the_three_that_weigh_most() -> None:
    """By size and time together; the interpreter, the runtime and your own code are none."""
    rows = [
        Row("python", 90 * MB, 900.0), Row("a", 10 * MB, 0.0), Row("b", MB, 80.0), Row("c", 5 * MB, 10.0),
        Row("d", 0, 1.0), Row("your code", MB, None), Row("lambda-ric", 2 * MB, 10.0),
    ]  # fmt: skip

    savings = Report("shop", rows, 1000.0).savings()

    assert [text.partition(":")[0] for text in savings] == ["a", "b", "c"]
    assert savings[0] == (
        "a: 10.00 MB, 9% of the package, and not imported at the start. Leave it out if nothing needs it"
    )


def test_bill_of_materials_names_what_is_in_the_package(run: Run, project: Path, tmp_path: Path) -> None:
    """The runtime, every package with its address on the index, and the function that needs them."""
    run("build", project, "--sbom", tmp_path / "sbom.json")

    bill = json.loads((tmp_path / "sbom.json").read_text())

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {part["purl"] for part in bill["components"]} == {
        f"pkg:pypi/lambda-ric@{__version__}", "pkg:pypi/slow@1.0", "pkg:pypi/idle@2.0",
    }  # fmt: skip
    assert bill["metadata"]["component"]["name"] == "shop"


def test_bill_of_the_same_package_is_the_same(run: Run, project: Path, tmp_path: Path) -> None:
    """It carries no time and no number by chance."""
    for name in ("one.json", "two.json"):
        run("build", project, "--sbom", tmp_path / name)

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
