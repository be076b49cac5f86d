"""
`lambda-ric build`: what goes into the zip, and why there is none.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from lambda_ric.version import __version__
from tests.conftest import PATIENCE
from tests.packaging.conftest import Run
from tests.support.fakes import FakeRuntimeAPI
from tests.support.projects import PYTHON, for_arm64, make_library, make_wheel, names_in, unpack, write_project
from tests.support.tls import certificate

APP = "import greeting\n\ndef handler(event, context):\n    return greeting.greet(event['name'])\n"
PROJECT = """
[project]
name = "shop"
version = "1"
dependencies = ["greeting", "lambda-ric"]

[tool.lambda-ric]
handler = "app.handler"
"""
TAG = f"cpython-{PYTHON.replace('.', '')}"


@pytest.fixture
def project(tmp_path: Path, offline: Path) -> Path:
    """A project with one dependency, whose wheel has what wheels have."""
    make_wheel(
        offline,
        "greeting",
        "2.1",
        {
            "greeting/__init__.py": "def greet(name):\n    return f'hello {name}'\n",
            "greeting/__init__.pyi": "def greet(name: str) -> str: ...\n",
            "greeting/tests/test_it.py": "",
            "greeting/table.json": "{}",
            "greeting-2.1.data/scripts/greet": "#!python\nprint(17)\n",
        },
    )
    return write_project(tmp_path / "shop", {"pyproject.toml": PROJECT, "app.py": APP})


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


# What is in it...


def test_built_function_answers(run: Run, project: Path, tmp_path: Path) -> None:
    """The zip is whole: its bootstrap starts it, from a folder that nothing can be written to."""
    assert run("build", project).exit_code == 0
    task = unpack(project / "dist" / "function.zip", tmp_path / "task")

    with FakeRuntimeAPI({"name": "Zoë"}) as api:
        function = subprocess.run(
            [task / "bootstrap"],
            env={
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "LAMBDA_RIC_PYTHON": sys.executable,
                "LAMBDA_TASK_ROOT": str(task),
                "_HANDLER": "app.handler",
            },
            cwd=task,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert [(post.name, post.json()) for post in api.posts] == [("response", "hello Zoë")], function


def test_package_holds_code_runtime_and_needs_and_no_noise(run: Run, project: Path) -> None:
    """Tests, stubs, programs, what installers write, and the parts for a developer's machine stay at home."""
    run("build", project)

    names = names_in(project / "dist" / "function.zip")

    assert {"app.py", "bootstrap", "lambda-ric.json", "greeting/__init__.py", "greeting/table.json"} <= names
    assert "lambda_ric/runtime.py" in names
    assert not [name for name in names if name.startswith(("lambda_ric/cli/", "lambda_ric/emulator/", "bin/"))]
    assert not [name for name in names if name.endswith((".pyi", "RECORD", "INSTALLER")) or "/tests/" in name]
    assert not [name for name in names if name.startswith(("httpx", "pyproject", "dist"))]


def test_every_module_has_bytecode_that_is_never_checked(run: Run, project: Path) -> None:
    """PEP 552: flags 1 are a hash that nobody compares, so no time and no place can make it stale."""
    run("build", project)

    files = contents(project / "dist" / "function.zip")
    code = files[f"greeting/__pycache__/__init__.{TAG}.pyc"]

    assert int.from_bytes(code[4:8], "little") == 0b01
    assert b"/var/task/greeting/__init__.py" in code
    modules = {name for name in files if name.endswith(".py")}
    assert len(modules) == len([name for name in files if name.endswith(".pyc")])


def test_programs_keep_their_mode_and_others_have_the_plain_one(run: Run, project: Path) -> None:
    """Whatever the umask of the machine was."""
    (project / "app.py").chmod(0o600)
    (project / "tool").write_text("#!/bin/sh\n")
    (project / "tool").chmod(0o700)
    run("build", project)

    with zipfile.ZipFile(project / "dist" / "function.zip") as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}

    assert (modes["bootstrap"], modes["tool"], modes["app.py"]) == (0o755, 0o755, 0o644)


def test_manifest_says_what_was_packed(run: Run, project: Path) -> None:
    """Without a time or a place, so that it is the same for the same inputs."""
    run("build", project)

    manifest = json.loads(contents(project / "dist" / "function.zip")["lambda-ric.json"])

    assert manifest["lambda-ric"] == __version__
    assert (manifest["target"], manifest["arch"], manifest["python"]) == ("managed", "x86_64", PYTHON)
    assert (manifest["handler"], manifest["packages"]) == ("app.handler", {"greeting": "2.1"})


def test_layer_has_the_wrapper_at_opt_and_no_code(run: Run, project: Path) -> None:
    """A function whose zip stays as it is finds the runtime in /opt."""
    assert run("build", project, "--target", "layer").exit_code == 0

    files = contents(project / "dist" / "layer.zip")

    assert {"bootstrap", "python/lambda_ric/runtime.py", "python/greeting/__init__.py"} <= files.keys()
    assert not [name for name in files if name.endswith("app.py")]
    assert b"/opt/python/greeting" in files[f"python/greeting/__pycache__/__init__.{TAG}.pyc"]


def test_folder_without_a_project_file_is_a_function_without_needs(run: Run, tmp_path: Path) -> None:
    """A file is enough."""
    folder = write_project(tmp_path / "plain", {"app.py": "def handler(event, context): ..."})

    assert run("build", folder).exit_code == 0
    assert "app.py" in names_in(folder / "dist" / "function.zip")


def test_requirements_file_is_enough(run: Run, project: Path) -> None:
    """Many projects have no other; lambda-ric in it is the one that builds."""
    (project / "pyproject.toml").unlink()
    (project / "requirements.txt").write_text("greeting==2.1  # the words\nlambda-ric\n")

    ended = run("build", project)

    assert ended.exit_code == 0
    assert "exact versions" in ended.stderr  # lambda-ric has none
    assert "greeting/__init__.py" in names_in(project / "dist" / "function.zip")


def test_locked_versions_are_packed(run: Run, project: Path, offline: Path) -> None:
    """`uv.lock` decides, not what has come since."""
    (project / "pyproject.toml").write_text(PROJECT.replace(', "lambda-ric"', "") + "\n[tool.uv]\npackage=false\n")
    from uv import find_uv_bin

    subprocess.run(
        [find_uv_bin(), "lock", "--quiet", "--python", sys.executable], cwd=project, check=True, timeout=PATIENCE
    )
    make_wheel(offline, "greeting", "3.0", {"greeting/__init__.py": ""})

    ended = run("build", project)

    assert ended.exit_code == 0, ended
    assert "greeting-2.1.dist-info/METADATA" in names_in(project / "dist" / "function.zip")
    assert "exact versions" not in ended.stderr


# Whose code it is...


FOR_DEVELOPERS = [
    ".env.py", "tests/test_app.py", "test_app.py", "conftest.py", "notes.md", "Dockerfile", "template.yaml", "main.tf",
    "node_modules/x/a.py", "ignored.py", "data/ignored.txt", "venv/lib/site.py", "app.pyi", "dist/old.py",
]  # fmt: skip


def test_what_serves_the_developer_stays_out(run: Run, project: Path) -> None:
    """By rules, by .gitignore files at any depth, and because it is a virtual environment."""
    write_project(project, dict.fromkeys(FOR_DEVELOPERS, ""))
    write_project(project, {"venv/pyvenv.cfg": "", "data/a.json": ""})
    write_project(project, {".gitignore": "ignored.py\n", "data/.gitignore": "*.txt\n"})
    run("build", project)

    names = names_in(project / "dist" / "function.zip")

    assert [path for path in FOR_DEVELOPERS if path in names] == []
    assert {"app.py", "data/a.json"} <= names


def test_patterns_of_the_project_leave_out_and_bring_back(run: Run, project: Path) -> None:
    """`include` is stronger than every rule, for other people's packages too."""
    write_project(project, {"tests/data.py": "", "draft.py": "", "keep.md": ""})
    with (project / "pyproject.toml").open("a") as file:
        file.write('exclude = ["draft.py"]\ninclude = ["tests/", "keep.md", "greeting/tests/"]\n')
    run("build", project)

    names = names_in(project / "dist" / "function.zip")

    assert {"tests/data.py", "keep.md", "greeting/tests/test_it.py"} <= names
    assert "draft.py" not in names


def test_src_folder_becomes_the_root(run: Run, project: Path) -> None:
    """The handler is app.handler there as it is with the package installed."""
    (project / "src").mkdir()
    (project / "app.py").rename(project / "src" / "app.py")
    run("build", project)

    assert "app.py" in names_in(project / "dist" / "function.zip")


def test_own_file_stands_before_that_of_a_dependency(run: Run, project: Path) -> None:
    """And is told, since one of the two is lost."""
    write_project(project, {"greeting/__init__.py": "def greet(name): return 'mine'\n"})

    ended = run("build", project)

    assert b"mine" in contents(project / "dist" / "function.zip")["greeting/__init__.py"]
    assert "greeting/__init__.py of greeting is left out: your code has a file of that name" in ended.stderr


# The same inputs make the same bytes...


def test_builds_in_other_places_and_at_other_times_are_the_same(run: Run, project: Path, tmp_path: Path) -> None:
    """Neither a path, nor a time, nor the order of a folder is in the zip."""
    other = tmp_path / "elsewhere" / "shop"
    write_project(other, {"app.py": APP, "pyproject.toml": PROJECT})
    os.utime(other / "app.py", (time.time() - 1e8,) * 2)
    run("build", project)
    run("build", other)

    assert (project / "dist/function.zip").read_bytes() == (other / "dist/function.zip").read_bytes()


def test_check_says_whether_the_zip_is_this_build(run: Run, project: Path) -> None:
    """It writes nothing, and names what differs."""
    run("build", project)
    before = (project / "dist/function.zip").read_bytes()

    same = run("build", project, "--check")
    (project / "app.py").write_text(APP + "# changed\n")
    other = run("build", project, "--check")

    assert (same.exit_code, other.exit_code) == (0, 1)
    assert "differs: app.py" in other.stderr
    assert (project / "dist/function.zip").read_bytes() == before


def test_check_without_a_build_says_so(run: Run, project: Path) -> None:
    """There is nothing to compare."""
    ended = run("build", project, "--check")

    assert ended.exit_code == 1
    assert "build it first" in ended.stderr


# Why there is no package...


def test_failure_leaves_the_last_good_package(run: Run, project: Path) -> None:
    """And nothing half-written beside it."""
    run("build", project)
    before = (project / "dist/function.zip").read_bytes()
    (project / "pyproject.toml").write_text(PROJECT.replace("greeting", "no-such-package"))

    ended = run("build", project)

    assert ended.exit_code == 1
    assert "no-such-package is on no index that uv knows" in ended.stderr
    assert [path.name for path in (project / "dist").iterdir()] == ["function.zip"]
    assert (project / "dist/function.zip").read_bytes() == before


@pytest.mark.parametrize(
    ("tag", "arch"),
    [(f"cp{PYTHON.replace('.', '')}-abi3-manylinux_2_17_x86_64", "arm64"), ("py3-none-win32", "x86_64")],
)
def test_package_without_a_wheel_for_the_platform_is_named(
    run: Run, project: Path, offline: Path, tag: str, arch: str
) -> None:
    """With the platform, and what can be done."""
    make_wheel(offline, "native", "1.0", {"native.py": ""}, tag)
    (project / "pyproject.toml").write_text(PROJECT.replace('"greeting"', '"native"'))

    ended = run("build", project, "--arch", arch, "--python", PYTHON)

    assert ended.exit_code == 1
    assert f"native has no wheel for {arch}" in ended.stderr
    assert "build-from-source" in ended.stderr


def test_index_whose_certificate_is_unknown_is_explained(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a company's proxy, say; uv names an option, which is for who calls it."""
    _, context = certificate(tmp_path)
    index = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    index.socket = context.wrap_socket(index.socket, server_side=True)
    for name in ("UV_OFFLINE", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"https://127.0.0.1:{index.server_port}/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    serving = threading.Thread(target=index.serve_forever)
    serving.start()
    try:
        ended = run("build", project)
    finally:
        index.shutdown()
        serving.join()
        index.server_close()

    assert ended.exit_code == 1
    assert "set UV_SYSTEM_CERTS=1, or SSL_CERT_FILE" in ended.stderr


def test_arm64_has_its_wheels_on_any_machine(run: Run, project: Path, offline: Path) -> None:
    """uv chooses for the platform that is asked for."""
    library = make_library(offline.parent / "c", "fast.so")
    for arch, content in (("x86_64", library), ("aarch64", for_arm64(library))):
        make_wheel(offline, "fast", "1.0", {"fast/_fast.abi3.so": content}, f"cp311-abi3-manylinux_2_17_{arch}")
    (project / "pyproject.toml").write_text(PROJECT.replace('"greeting"', '"fast", "greeting"'))

    ended = run("build", project, "--arch", "arm64")

    assert ended.exit_code == 0, ended
    assert contents(project / "dist/function.zip")["fast/_fast.abi3.so"] == for_arm64(library)


def test_library_for_another_machine_is_named(run: Run, project: Path, tmp_path: Path) -> None:
    """Compiled here, and copied into the project."""
    library = make_library(tmp_path / "c", "native.so")
    write_project(project, {"native.so": for_arm64(library)})

    ended = run("build", project)

    assert ended.exit_code == 1
    assert "native.so of your code is for arm64; the package is for x86_64" in ended.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fast.cpython-39-x86_64-linux-gnu.so", f"is for Python 3.9; the package is for {PYTHON}"),
        ("fast.cpython-311-x86_64-linux-musl.so", "is for musl"),
    ],
)
def test_library_with_another_abi_is_named(run: Run, project: Path, tmp_path: Path, name: str, reason: str) -> None:
    """Python would not even look at it."""
    write_project(project, {name: make_library(tmp_path / "c", "fast.so")})

    ended = run("build", project)

    assert ended.exit_code == 1
    assert f"{name} of your code {reason}" in ended.stderr


def test_symbol_that_the_c_library_does_not_have_is_named(run: Run, project: Path, tmp_path: Path) -> None:
    """Amazon Linux 2023 has glibc 2.34."""
    write_project(project, {"new.so": make_library(tmp_path / "c", "new.so", needs="hypot@GLIBC_2.35")})

    ended = run("build", project, "--python", "3.13")

    assert ended.exit_code == 1
    assert "new.so of your code needs hypot@GLIBC_2.35; the package is for glibc 2.34" in ended.stderr
    assert run("build", project, "--glibc", "2.36").exit_code == 0


def test_library_of_a_mac_is_named(run: Run, project: Path) -> None:
    """Its first bytes tell."""
    write_project(project, {"native.so": b"\xcf\xfa\xed\xfe" + bytes(60)})

    ended = run("build", project)

    assert "native.so of your code is for macOS; Lambda has Linux" in ended.stderr


AWS_KEY = "AKIA" + "IOSFODNN7ABCDEFG"


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [
        ("settings.py", f'a = 1\nkey = "{AWS_KEY}"\n', "settings.py:2 (AWS Access Key)"),
        ("certs/server.pem", "-----BEGIN " + "RSA PRIVATE KEY-----\n", "certs/server.pem:1 (Private Key)"),
        ("prod.env", "A=1\n", "prod.env (a file for secrets, by its name)"),
        ("hook.py", "token = 'ghp_" + "a1B2" * 9 + "'", "hook.py:1 (GitHub Token)"),
    ],
)
def test_secret_that_would_be_packed_is_named_and_not_shown(
    run: Run, project: Path, path: str, content: str, named: str
) -> None:
    """The place and the kind are enough to find it."""
    write_project(project, {path: content})

    ended = run("build", project)

    assert ended.exit_code == 1
    assert named in ended.stderr
    assert AWS_KEY not in ended.stderr
    assert not (project / "dist").exists()


def test_file_that_only_looks_like_a_secret_can_be_allowed(run: Run, project: Path) -> None:
    """By the project, or on the line itself, as detect-secrets has it."""
    write_project(project, {"a.py": f'k = "{AWS_KEY}"\n', "b.py": f'k = "{AWS_KEY}"  # pragma: allowlist secret\n'})
    with (project / "pyproject.toml").open("a") as file:
        file.write('allow-secrets = ["a.py"]\n')

    assert run("build", project).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--python", "3.10"], "Python 3.10 is too old"),
        (["--python", "3.99"], "Python 3.99 is too new: Lambda has managed runtimes for 3.11 to 3.15"),
        (["--python", "three"], "'three' is no version of Python"),
        (["--handler", "shop.handler"], "the handler shop.handler means shop.py, which is not among the packed files"),
        (["--handler", "app:handler"], "a handler is written with a point: app.handler"),
        (["--handler", "app"], "the handler app names no function: write module.function, such as app.handler"),
        (["--glibc", "2.5"], "'2.5' is no version of glibc from 2.17 on"),
        (["--interpreter", "/nowhere"], "--interpreter is for the targets provided and layer"),
    ],
)
def test_options_that_name_nothing_are_explained(run: Run, project: Path, options: list[str], said: str) -> None:
    """With what there is instead."""
    ended = run("build", project, *options)

    assert ended.exit_code == 1
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hander = 'app.handler'", "has no 'hander': did you mean 'handler'?"),
        ("include = 'tests'", "include = 'tests' in pyproject.toml: a list of texts is expected"),
        ("source = 'lib'", "source = 'lib': there is no such folder"),
        ("[", "pyproject.toml is not TOML"),
    ],
)
def test_settings_that_mean_nothing_are_explained(run: Run, project: Path, line: str, said: str) -> None:
    """A typing error is no default."""
    (project / "pyproject.toml").write_text(f"[tool.lambda-ric]\n{line}\n")

    ended = run("build", project)

    assert ended.exit_code == 1
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("project = 'shop'", "project = 'shop' in pyproject.toml: a table is expected"),
        ("tool = 5", "tool = 5 in pyproject.toml: a table is expected"),
        ("tool.lambda-ric = 5", "tool.lambda-ric = 5 in pyproject.toml: a table is expected"),
        ("project.requires-python = 'three'", "requires-python = 'three' in pyproject.toml"),
        ("project.requires-python = 3.11", "requires-python = 3.11 in pyproject.toml"),
        ("project.dependencies = 'greeting'", "dependencies = 'greeting' in pyproject.toml: a list of texts"),
        ("project.dependencies = [5]", "dependencies = [5] in pyproject.toml: a list of texts"),
        ("project.dependencies = ['greeting==']", "'greeting==' in the dependencies of pyproject.toml"),
    ],
)
def test_project_file_that_cannot_be_understood_is_explained(run: Run, project: Path, text: str, said: str) -> None:
    """It says where it is wrong, as the errors of its settings do."""
    (project / "pyproject.toml").write_text(f"{text}\n")

    ended = run("build", project)

    assert ended.exit_code == 1
    assert said in ended.stderr


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_requirements_in_another_encoding_are_explained(run: Run, project: Path, encoding: str) -> None:
    """PowerShell's `>` writes UTF-16."""
    (project / "requirements.txt").write_text("# für den Laden\ngreeting\n", encoding=encoding)

    ended = run("build", project)

    assert ended.exit_code == 1
    assert "requirements.txt is not UTF-8: save it so" in ended.stderr


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.12'\ngreeting = '*'\n", "poetry export"),
        ("Pipfile", "[packages]\ngreeting = '*'\n", "pipenv requirements > requirements.txt"),
        ("requirements.in", "greeting\n", "uv pip compile requirements.in -o requirements.txt"),
        ("setup.py", "setup(install_requires=['greeting'])\n", "uv pip compile setup.py -o requirements.txt"),
        ("setup.cfg", "[options]\ninstall_requires = greeting\n", "uv pip compile setup.cfg -o requirements.txt"),
        ("environment.yml", "dependencies:\n- pip: [greeting]\n", "write requirements.txt"),
        ("pyproject.toml", "[project]\nname = 'a'\nversion = '1'\ndynamic = ['dependencies']\n", "uv lock"),
    ],
)
def test_needs_that_another_tool_keeps_are_not_left_out(
    run: Run, project: Path, name: str, text: str, remedy: str
) -> None:
    """A package without them would be made, and would fail at its first import, in Lambda."""
    (project / "pyproject.toml").unlink()
    (project / name).write_text(text)

    ended = run("build", project)

    assert ended.exit_code == 1
    assert f"{name} " in ended.stderr
    assert remedy in ended.stderr


def test_file_of_another_tool_counts_for_nothing_beside_one_that_is_read(run: Run, project: Path) -> None:
    """What is read is complete."""
    write_project(project, {"Pipfile": "[packages]\nother = '*'\n", "setup.py": "setup(install_requires=['other'])\n"})

    assert run("build", project).exit_code == 0


def test_another_version_of_the_runtime_is_refused(run: Run, project: Path) -> None:
    """The runtime that is packed is the one that builds."""
    (project / "pyproject.toml").write_text(PROJECT.replace('"lambda-ric"', '"lambda-ric==0.0.1"'))

    ended = run("build", project)

    assert ended.exit_code == 1
    assert f"the project asks for lambda-ric==0.0.1, and this is lambda-ric {__version__}" in ended.stderr


def test_version_that_the_project_does_not_run_on_is_refused(run: Run, project: Path) -> None:
    """`requires-python` counts."""
    newer = PROJECT.replace('version = "1"', 'version = "1"\nrequires-python = ">=3.14"')
    (project / "pyproject.toml").write_text(newer)

    ended = run("build", project, "--python", "3.13")

    assert ended.exit_code == 1
    assert "requires-python = '>=3.14'" in ended.stderr


@pytest.mark.parametrize(("named", "is_noted"), [("greeting", True), ("greeting==2.1", False)])
def test_versions_in_another_file_are_looked_at_as_well(run: Run, project: Path, named: str, is_noted: bool) -> None:
    """What `-r` names is part of the requirements."""
    write_project(project, {"requirements.txt": "-r base.txt\n", "base.txt": f"{named}\n"})

    ended = run("build", project)

    assert ended.exit_code == 0
    assert ("does not name exact versions" in ended.stderr) == is_noted


def test_project_that_needs_nothing_has_no_versions_to_fix(run: Run, project: Path) -> None:
    """The same inputs make the same bytes on any day."""
    write_project(project, {"pyproject.toml": PROJECT.replace('"greeting", ', "")})

    ended = run("build", project)

    assert ended.exit_code == 0
    assert "note:" not in ended.stderr


def test_project_without_code_is_refused(run: Run, tmp_path: Path) -> None:
    """A wrong folder, most likely."""
    ended = run("build", write_project(tmp_path / "empty", {"README.md": ""}))

    assert ended.exit_code == 1
    assert "there is no Python file in" in ended.stderr


# A folder instead of a zip, for tools that make their own...


def test_folder_has_what_the_zip_has(run: Run, project: Path, tmp_path: Path) -> None:
    """With modes; a build before it is replaced."""
    (tmp_path / "artifacts").mkdir()
    run("build", project)
    run("build", project, "--output", tmp_path / "artifacts")
    again = run("build", project, "--output", tmp_path / "artifacts")

    folder = {path.relative_to(tmp_path / "artifacts").as_posix() for path in (tmp_path / "artifacts").rglob("*.*")}

    assert again.exit_code == 0
    assert {name for name in names_in(project / "dist/function.zip") if "." in name.rpartition("/")[2]} <= folder
    assert os.access(tmp_path / "artifacts" / "bootstrap", os.X_OK)
    assert run("build", project, "--output", tmp_path / "artifacts", "--check").exit_code == 0


def test_folder_with_other_things_is_left_alone(run: Run, project: Path, tmp_path: Path) -> None:
    """A typing error must not cost anybody their files."""
    precious = write_project(tmp_path / "home", {"letter.txt": "dear"})

    ended = run("build", project, "--output", precious)

    assert ended.exit_code == 1
    assert "is not empty and holds no package" in ended.stderr
    assert (precious / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("taken.zip", "taken.zip is a folder: name a file that ends in .zip"),
        ("app.py/function.zip", "app.py"),
        ("/proc/nowhere/function.zip", "/proc/nowhere"),
    ],
)
def test_output_that_cannot_be_written_is_named(run: Run, project: Path, output: str, said: str) -> None:
    """In a line, as whatever else is wrong."""
    (project / "taken.zip").mkdir()

    ended = run("build", project, "--output", project / output)

    assert ended.exit_code == 1
    assert "Traceback" not in ended.stderr
    assert said in ended.stderr.splitlines()[-1]
    assert not list(project.glob(".*.zip.*"))


def test_links_that_lead_nowhere_are_left_out(run: Run, project: Path) -> None:
    """An editor's lock, a loop: there is nothing to pack behind them."""
    (project / "nowhere.py").symlink_to(project / "missing")
    (project / "first").symlink_to(project / "second")
    (project / "second").symlink_to(project / "first")

    ended = run("build", project)

    assert ended.exit_code == 0
    assert not {"nowhere.py", "first", "second"} & names_in(project / "dist" / "function.zip")


def test_name_that_a_zip_cannot_hold_is_shown(run: Run, project: Path) -> None:
    """A zip's names are UTF-8."""
    Path(os.fsdecode(os.fsencode(project / "caf") + b"\xe9.txt")).touch()

    ended = run("build", project)

    assert ended.exit_code == 1
    assert "caf\\xe9.txt" in ended.stderr
    assert "is not UTF-8" in ended.stderr


def test_file_that_is_no_zip_is_left_alone(run: Run, project: Path) -> None:
    """Neither a folder nor a package is meant by it."""
    write_project(project, {"letter.txt": "dear"})

    ended = run("build", project, "--output", project / "letter.txt")

    assert ended.exit_code == 1
    assert "letter.txt is a file: name one that ends in .zip, or a folder" in ended.stderr
    assert (project / "letter.txt").read_text() == "dear"
