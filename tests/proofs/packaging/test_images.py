"""
The images of `lambda-ric build`: their Dockerfiles replayed stage by stage, and started as Lambda starts them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import PATIENCE
from tests.packaging.conftest import Run
from tests.support.dockerfiles import Stage, replay
from tests.support.fakes import FakeRuntimeAPI, Request, reply
from tests.support.projects import PYTHON, make_wheel, unpack, write_project

APP = "import greeting, os\n\ndef handler(event, context):\n    return [greeting.__cached__, os.getuid()]\n"


@pytest.fixture
def project(tmp_path: Path, offline: Path) -> Path:
    """A function with a dependency."""
    make_wheel(offline, "greeting", "2.1", {"greeting/__init__.py": "def greet(name):\n    return name\n"})
    return write_project(tmp_path / "shop", {"app.py": APP, "requirements.txt": "greeting\nlambda-ric\n"})


def answer_of(stage: Stage, *command: str, **variables: str) -> object:
    """Start the image, with what Lambda adds; return what the function posts."""
    with FakeRuntimeAPI({}) as api:
        function = subprocess.run(
            stage.arguments(*stage.entrypoint, *command),
            env={**stage.variables, **variables, "AWS_LAMBDA_RUNTIME_API": api.address},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert len(api.posts) == 1, function
    return api.posts[0].json()


@pytest.mark.parametrize(
    ("base", "image"),
    [
        ("slim", f"public.ecr.aws/docker/library/python:{PYTHON}-slim"),
        ("aws", f"public.ecr.aws/lambda/python:{PYTHON}"),
    ],
)
def test_image_of_a_function_has_bytecode_and_runs_without_rights(
    run: Run, project: Path, offline: Path, tmp_path: Path, base: str, image: str
) -> None:
    """uv installs, with hashes, in a stage of its own; nothing of that stage but the function is in the image."""
    assert run("build", project, "--target", "image", "--handler", "app.handler", "--base", base).exit_code == 0

    stage = replay(project / "dist" / "image", tmp_path, offline, Path(find_uv_bin()))

    assert stage.base == image
    assert not (stage.root / "uv").exists()
    tag = sys.implementation.cache_tag
    assert answer_of(stage, *stage.command) == [f"/var/task/greeting/__pycache__/__init__.{tag}.pyc", 1000]


def test_image_of_a_runtime_serves_a_zip_that_has_none(run: Run, project: Path, offline: Path, tmp_path: Path) -> None:
    """Lambda puts the function's zip into /var/task; the runtime is in the interpreter's own packages."""
    assert run("build", project, "--target", "runtime").exit_code == 0
    dockerfile = project / "dist" / "runtime" / "Dockerfile"
    library = f"/usr/local/lib/python{PYTHON}/site-packages"
    # The base image's interpreter is this machine's, whose own packages are out of reach: a path of their own.
    dockerfile.write_text(dockerfile.read_text().replace(library, "/srv/packages"))
    stage = replay(dockerfile.parent, tmp_path, offline, Path(find_uv_bin()))
    run("build", project, "--output", project / "function.zip")
    task = unpack(project / "function.zip", stage.root / "var" / "task")
    write_project(task, {"lambda_ric/__init__.py": "raise ImportError('the one of the zip')"})

    assert (stage.entrypoint[1], stage.command) == ("-P", [])
    assert answer_of(stage, _HANDLER="app.handler", PYTHONPATH="/srv/packages")[1] == 1000  # type: ignore[index]


def test_image_names_the_handler_that_it_starts(run: Run, project: Path) -> None:
    """An image without one would end at once."""
    ended = run("build", project, "--target", "image")

    assert ended.exit_code == 1
    assert "an image names the handler that it starts" in ended.stderr


def test_image_cannot_hold_what_lies_on_this_machine_only(run: Run, project: Path) -> None:
    """Its build stage sees the folder that it is given, and the index."""
    words = '[project]\nname = "words"\nversion = "1"\n'
    write_project(project, {"libs/words/pyproject.toml": words, "requirements.txt": "./libs/words\n"})

    ended = run("build", project, "--target", "image", "--handler", "app.handler")

    assert ended.exit_code == 1
    assert "words comes from a folder of this machine, which an image cannot install" in ended.stderr


# Publishing a runtime...


def test_publish_script_makes_the_four_calls(run: Run, project: Path) -> None:
    """Against a server that writes down what it is asked; the dry run comes before the version."""
    run("build", project, "--target", "runtime")

    def answer(request: Request) -> bytes:
        return reply(200, json.dumps({"State": "ACTIVE", "Arn": "arn"}).encode(), Content_Type="application/json")

    with FakeRuntimeAPI(intercept=answer) as service:
        published = subprocess.run(
            [sys.executable, project / "dist" / "runtime" / "publish.py", "1.dkr.ecr.eu-west-1.amazonaws.com/python:1"],
            env={
                "AWS_ENDPOINT_URL": f"http://{service.address}",
                "AWS_DEFAULT_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert published.returncode == 0, published
    version = {"Name": "1", "ImageUri": "1.dkr.ecr.eu-west-1.amazonaws.com/python:1"}
    said = [(post.path.partition("/runtimes")[2], post.json()) for post in service.posts]
    assert said[0] == ("", {"Name": "shop", "Description": said[0][1]["Description"]})
    assert said[1:] == [
        ("/shop/versions", {**version, "DryRun": True}),
        ("/shop/versions", version),
        ("/shop/aliases", {"RuntimeVersion": "1", "Name": "live"}),
    ]
