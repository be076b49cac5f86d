"""
The shell script that Lambda executes, with stand-ins for interpreters and wrappers.

A stand-in reports how it was started, so each test sees the command and the environment that the script
arrived at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.private_mounts import with_mounts

BOOTSTRAP = Path(__file__).parents[1] / "bootstrap"

SHELLS = [shell for shell in ("dash", "bash", "busybox sh") if shutil.which(shell.split()[0])] or ["sh"]

STAND_IN = """#!/bin/sh
printf '%s\\0' "$#" "$0" "$@"
exec env -0
"""

# As Lambda starts it: little more than this, and no HOME.
PATH = "/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Started:
    """How a stand-in was started."""

    program: str
    arguments: list[str]
    environ: dict[str, str]


def stand_in(path: Path, text: str = STAND_IN) -> Path:
    """Put an executable at *path* that reports its command line and its environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A package as it lies in /var/task: bootstrap, lambda_ric, and an interpreter in bin."""
    task = tmp_path / "var task"
    (task / "lambda_ric").mkdir(parents=True)
    shutil.copy(BOOTSTRAP, task / "bootstrap")
    stand_in(task / "bin" / "python3")
    return task


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Every shell of this machine that may stand behind /bin/sh."""
    name: str = request.param
    return name.split()


def run(command: list[str], environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={"PATH": PATH, **(environ or {})}, cwd="/", capture_output=True, text=True, timeout=10
    )


def started(command: list[str], environ: Mapping[str, str] | None = None) -> Started:
    """Run *command* and return what the stand-in at its end reports."""
    done = run(command, environ)
    assert (done.returncode, done.stderr) == (0, "")
    count, program, *rest = done.stdout.removesuffix("\0").split("\0")
    return Started(
        program=program,
        arguments=rest[: int(count)],
        environ=dict(line.split("=", 1) for line in rest[int(count) :]),
    )


def refused(command: list[str], environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run *command* and return the exit code and the message of its refusal."""
    done = run(command, environ)
    assert done.stdout == ""
    return done.returncode, done.stderr


# Finding the interpreter...


def test_without_arguments_the_runtime_starts_with_the_interpreter_of_the_zip(shell: list[str], task: Path) -> None:
    """
    Lambda runs bootstrap without arguments; the zip's own interpreter is the first choice.
    """
    runtime = started([*shell, f"{task}/bootstrap"], {"_HANDLER": "app.handler"})

    assert runtime.program == f"{task}/bin/python3"
    assert runtime.arguments == ["-m", "lambda_ric"]
    assert runtime.environ["_HANDLER"] == "app.handler"


@pytest.mark.parametrize("missing", range(4))
def test_interpreter_is_looked_for_in_zip_layer_image_and_path(
    shell: list[str], tmp_path: Path, task: Path, missing: int
) -> None:
    """
    What the user packed goes before what the image offers.
    """
    layer, lang, path, stage = (tmp_path / name for name in ("layer", "lang", "path", "stage"))
    for directory in (layer, lang, path, stage):
        directory.mkdir()
    # Where each interpreter is looked for, and where it lies outside the private mounts.
    places = {
        f"{task}/bin/python3": task / "bin" / "python3",
        "/opt/bin/python3": layer / "python3",
        "/var/lang/bin/python3": lang / "bin" / "python3",
        f"{path}/python3": path / "python3",
    }
    for interpreter in places.values():
        stand_in(interpreter)
    for interpreter in list(places.values())[:missing]:
        interpreter.unlink()

    runtime = started(
        with_mounts({"/opt/bin": layer, "/var/lang": lang}, stage, [*shell, f"{task}/bootstrap"]),
        {"PATH": f"{path}:{PATH}"},
    )

    assert runtime.program == list(places)[missing]


def test_lambda_ric_python_goes_before_every_other_interpreter(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    LAMBDA_RIC_PYTHON wins over what would be found.
    """
    chosen = stand_in(tmp_path / "chosen" / "python3.13")

    runtime = started([*shell, f"{task}/bootstrap"], {"LAMBDA_RIC_PYTHON": str(chosen)})

    assert runtime.program == str(chosen)
    assert runtime.arguments == ["-m", "lambda_ric"]


def test_lambda_ric_python_may_be_a_name_on_path(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    LAMBDA_RIC_PYTHON=python3.13 means the one on PATH.
    """
    chosen = stand_in(tmp_path / "path" / "python3.13")

    runtime = started(
        [*shell, f"{task}/bootstrap"],
        {"LAMBDA_RIC_PYTHON": "python3.13", "PATH": f"{tmp_path}/path:{PATH}"},
    )

    assert runtime.program == str(chosen)


@pytest.mark.parametrize("value", ["/no/such/python", "no-such-python", "/etc/passwd", "/etc"])
def test_unusable_lambda_ric_python_is_named_in_the_refusal(shell: list[str], task: Path, value: str) -> None:
    """
    A setting that cannot be used is an error, never a silent default.
    """
    code, message = refused([*shell, f"{task}/bootstrap"], {"LAMBDA_RIC_PYTHON": value})

    assert code == 127
    assert message.startswith(f"bootstrap: LAMBDA_RIC_PYTHON is '{value}', which is not an executable file")


def test_without_any_interpreter_the_refusal_says_where_it_looked(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    The message names every place that was searched, and what to do.
    """
    (task / "bin" / "python3").unlink()
    for name in ("empty", "stage"):
        (tmp_path / name).mkdir()
    mounts = {"/opt/bin": tmp_path / "empty", "/var/lang": tmp_path / "empty"}
    searched = ["env", "PATH=/no/such/directory", *map(absolute, shell[:1]), *shell[1:], f"{task}/bootstrap"]

    code, message = refused(with_mounts(mounts, tmp_path / "stage", searched))

    assert code == 127
    assert message == (
        f"bootstrap: no Python interpreter: looked for {task}/bin/python3, /opt/bin/python3, "
        "/var/lang/bin/python3 and python3 on PATH (/no/such/directory). Put one into the zip or a layer, "
        "or name one in LAMBDA_RIC_PYTHON.\n"
    )


def absolute(program: str) -> str:
    return shutil.which(program) or program


# Called by AWS's own start script, as its exec wrapper...


def test_as_exec_wrapper_the_interpreter_of_the_managed_runtime_is_used(
    shell: list[str], tmp_path: Path, task: Path
) -> None:
    """
    AWS calls its wrapper with an interpreter and a script: the first is used, the second is replaced.
    """
    managed = stand_in(tmp_path / "lang" / "python3.13")

    runtime = started(
        [*shell, f"{task}/bootstrap", str(managed), "/var/runtime/bootstrap.py"],
        {"AWS_LAMBDA_EXEC_WRAPPER": f"{task}/bootstrap", "_HANDLER": "app.handler"},
    )

    assert runtime.program == str(managed)
    assert runtime.arguments == ["-m", "lambda_ric"]
    assert runtime.environ["_HANDLER"] == "app.handler"


def test_as_exec_wrapper_lambda_ric_python_still_wins(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    LAMBDA_RIC_PYTHON wins over the managed runtime's interpreter.
    """
    managed = stand_in(tmp_path / "lang" / "python3.13")
    chosen = stand_in(tmp_path / "chosen" / "python3.13")

    runtime = started(
        [*shell, f"{task}/bootstrap", str(managed), "/var/runtime/bootstrap.py"],
        {"LAMBDA_RIC_PYTHON": str(chosen)},
    )

    assert runtime.program == str(chosen)


def test_as_exec_wrapper_the_wrapper_that_called_is_not_called_back(tmp_path: Path, task: Path) -> None:
    """
    AWS_LAMBDA_EXEC_WRAPPER may name a script that ends in `exec /var/task/bootstrap "$@"`.
    """
    managed = stand_in(tmp_path / "lang" / "python3.13")
    calling = stand_in(tmp_path / "calling", f'#!/bin/sh\nexec "{task}/bootstrap" "$@"\n')

    runtime = started(
        [str(calling), str(managed), "/var/runtime/bootstrap.py"], {"AWS_LAMBDA_EXEC_WRAPPER": str(calling)}
    )

    assert runtime.program == str(managed)
    assert runtime.environ["AWS_LAMBDA_EXEC_WRAPPER"] == str(calling)


# Starting through a further wrapper...


def test_chained_wrapper_gets_the_interpreter_and_the_module(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    LAMBDA_RIC_EXEC_WRAPPER is called as AWS calls wrappers: with the command that it is to execute.
    """
    managed = stand_in(tmp_path / "lang" / "python3.13")
    otel = stand_in(tmp_path / "opt" / "otel instrument")

    wrapper = started(
        [*shell, f"{task}/bootstrap", str(managed), "/var/runtime/bootstrap.py"],
        {"AWS_LAMBDA_EXEC_WRAPPER": f"{task}/bootstrap", "LAMBDA_RIC_EXEC_WRAPPER": str(otel)},
    )

    assert wrapper.program == str(otel)
    assert wrapper.arguments == [str(managed), "-m", "lambda_ric"]


def test_on_os_only_runtimes_the_wrapper_of_aws_is_honoured(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    Lambda does not serve AWS_LAMBDA_EXEC_WRAPPER on OS-only runtimes, so bootstrap does.
    """
    otel = stand_in(tmp_path / "otel-instrument")

    wrapper = started([*shell, f"{task}/bootstrap"], {"AWS_LAMBDA_EXEC_WRAPPER": str(otel)})

    assert wrapper.program == str(otel)
    assert wrapper.arguments == [f"{task}/bin/python3", "-m", "lambda_ric"]


def test_own_wrapper_variable_goes_before_that_of_aws(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    LAMBDA_RIC_EXEC_WRAPPER is the nearer of the two.
    """
    ours = stand_in(tmp_path / "ours")
    theirs = stand_in(tmp_path / "theirs")

    wrapper = started(
        [*shell, f"{task}/bootstrap"],
        {"LAMBDA_RIC_EXEC_WRAPPER": str(ours), "AWS_LAMBDA_EXEC_WRAPPER": str(theirs)},
    )

    assert wrapper.program == str(ours)


@pytest.mark.parametrize("variable", ["LAMBDA_RIC_EXEC_WRAPPER", "AWS_LAMBDA_EXEC_WRAPPER"])
def test_wrapper_variable_that_names_bootstrap_itself_ends_in_the_runtime(
    shell: list[str], task: Path, variable: str
) -> None:
    """
    A wrapper is started once, so naming this very script is harmless.
    """
    runtime = started([*shell, f"{task}/bootstrap"], {variable: f"{task}/bootstrap"})

    assert runtime.program == f"{task}/bin/python3"
    assert runtime.arguments == ["-m", "lambda_ric"]


@pytest.mark.parametrize("variable", ["LAMBDA_RIC_EXEC_WRAPPER", "AWS_LAMBDA_EXEC_WRAPPER"])
@pytest.mark.parametrize("arguments", ['"$@"', ""], ids=["with-arguments", "without-arguments"])
def test_wrapper_that_comes_back_to_bootstrap_is_started_once(
    shell: list[str], tmp_path: Path, task: Path, variable: str, arguments: str
) -> None:
    """
    A wrapper that executes bootstrap again, with or without its arguments, makes no circle.
    """
    returning = stand_in(
        tmp_path / "returning", f'#!/bin/sh\nCALLS="${{CALLS-}}x" exec "{task}/bootstrap" {arguments}\n'
    )

    runtime = started([*shell, f"{task}/bootstrap"], {variable: str(returning)})

    assert runtime.program == f"{task}/bin/python3"
    assert runtime.environ["CALLS"] == "x"


@pytest.mark.parametrize("variable", ["LAMBDA_RIC_EXEC_WRAPPER", "AWS_LAMBDA_EXEC_WRAPPER"])
def test_missing_wrapper_is_refused_as_aws_refuses_it(shell: list[str], task: Path, variable: str) -> None:
    """
    The text and exit code 127 are those of AWS's start script.
    """
    code, message = refused([*shell, f"{task}/bootstrap"], {variable: "/opt/no-such-wrapper"})

    assert (code, message) == (127, "bootstrap: /opt/no-such-wrapper: does not exist\n")


@pytest.mark.parametrize("variable", ["LAMBDA_RIC_EXEC_WRAPPER", "AWS_LAMBDA_EXEC_WRAPPER"])
def test_wrapper_that_is_not_executable_is_refused_as_aws_refuses_it(
    shell: list[str], tmp_path: Path, task: Path, variable: str
) -> None:
    """
    The text and exit code 126 are those of AWS's start script.
    """
    wrapper = stand_in(tmp_path / "wrapper")
    wrapper.chmod(0o644)

    code, message = refused([*shell, f"{task}/bootstrap"], {variable: str(wrapper)})

    assert (code, message) == (126, f"bootstrap: {wrapper}: is not an executable\n")


def test_wrapper_finds_the_same_interpreter_on_path(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    OpenTelemetry's wrapper starts with `env python3`, which the zip's interpreter must answer.
    """
    otel = stand_in(tmp_path / "otel-instrument")

    wrapper = started([*shell, f"{task}/bootstrap"], {"AWS_LAMBDA_EXEC_WRAPPER": str(otel)})

    assert wrapper.environ["PATH"] == f"{task}/bin:{PATH}"


# What the runtime is given...


def test_handler_argument_becomes_the_handler(shell: list[str], task: Path) -> None:
    """
    `./bootstrap app.handler` goes before _HANDLER, and a wrapper may still replace it there.
    """
    runtime = started([*shell, f"{task}/bootstrap", "src/app.handler"], {"_HANDLER": "other.handler"})

    assert runtime.program == f"{task}/bin/python3"
    assert runtime.environ["_HANDLER"] == "src/app.handler"


def test_lambda_ric_beside_bootstrap_is_put_behind_what_pythonpath_holds(shell: list[str], task: Path) -> None:
    """
    The package becomes importable from any directory, and nothing is taken from the user.
    """
    runtime = started([*shell, f"{task}/bootstrap"], {"PYTHONPATH": "/mine:/yours"})

    assert runtime.environ["PYTHONPATH"] == f"/mine:/yours:{task}"


def test_unset_pythonpath_gets_no_empty_entry(shell: list[str], task: Path) -> None:
    """
    An empty entry would put the current directory on the module path.
    """
    runtime = started([*shell, f"{task}/bootstrap"])

    assert runtime.environ["PYTHONPATH"] == str(task)


def test_lambda_ric_of_a_layer_is_made_importable(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    A layer carries Python packages in /opt/python.
    """
    (task / "lambda_ric").rmdir()
    (tmp_path / "layer" / "lambda_ric").mkdir(parents=True)
    (tmp_path / "stage").mkdir()
    mounts = {"/opt/python": tmp_path / "layer"}

    runtime = started(with_mounts(mounts, tmp_path / "stage", [*shell, f"{task}/bootstrap"]))

    assert runtime.environ["PYTHONPATH"] == "/opt/python"


def test_lambda_ric_in_site_packages_needs_no_pythonpath(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    An interpreter that has lambda_ric installed finds it by itself.
    """
    (task / "lambda_ric").rmdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "stage").mkdir()

    runtime = started(
        with_mounts({"/opt/python": tmp_path / "empty"}, tmp_path / "stage", [*shell, f"{task}/bootstrap"])
    )

    assert "PYTHONPATH" not in runtime.environ


def test_runtime_directory_is_set_where_lambda_sets_none(shell: list[str], task: Path) -> None:
    """
    Wrappers put LAMBDA_RUNTIME_DIR on PYTHONPATH, where an unset one would mean the current directory.
    """
    runtime = started([*shell, f"{task}/bootstrap"])

    assert runtime.environ["LAMBDA_RUNTIME_DIR"] == str(task)


def test_runtime_directory_of_the_managed_runtime_is_kept(shell: list[str], task: Path) -> None:
    """
    On managed runtimes AWS's own packages lie in LAMBDA_RUNTIME_DIR.
    """
    runtime = started([*shell, f"{task}/bootstrap"], {"LAMBDA_RUNTIME_DIR": "/var/runtime"})

    assert runtime.environ["LAMBDA_RUNTIME_DIR"] == "/var/runtime"


def test_nothing_else_is_added_to_the_environment(shell: list[str], task: Path) -> None:
    """
    The function sees the environment that Lambda gave it.
    """
    runtime = started([*shell, f"{task}/bootstrap"])

    # The shells set the last three by themselves.
    assert set(runtime.environ) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "LAMBDA_RUNTIME_DIR",
        "PATH",
        "PYTHONPATH",
    }


# Where it is called from...


@pytest.mark.parametrize("call", ["./bootstrap", "bootstrap"])
def test_relative_call_finds_its_own_directory(shell: list[str], task: Path, call: str) -> None:
    """
    The directory of the script is found from inside it.
    """
    runtime = started(["env", "-C", str(task), *shell, call])

    assert runtime.program == f"{task}/bin/python3"
    assert runtime.environ["PYTHONPATH"] == str(task)


def test_relative_call_is_not_led_astray_by_cdpath(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    CDPATH, a habit of interactive shells, would send `cd` to another directory of the same name.
    """
    (tmp_path / "projects" / task.name).mkdir(parents=True)

    runtime = started(["env", "-C", str(tmp_path), f"CDPATH={tmp_path}/projects", *shell, f"{task.name}/bootstrap"])

    assert runtime.program == f"{task}/bin/python3"


def test_call_by_name_on_path_finds_its_own_directory(task: Path) -> None:
    """
    A script found on PATH is told its whole path by the kernel.
    """
    runtime = started(["env", "bootstrap"], {"PATH": f"{task}:{PATH}"})

    assert runtime.program == f"{task}/bin/python3"


def test_call_through_a_symlink_finds_the_package_behind_it(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    What counts is where bootstrap lies, not where a link to it does.
    """
    link = tmp_path / "elsewhere" / "entrypoint"
    link.parent.mkdir()
    link.symlink_to("../var task/bootstrap")

    runtime = started([*shell, str(link)])

    assert runtime.program == f"{task}/bin/python3"


def test_read_only_package_without_home_starts(shell: list[str], tmp_path: Path, task: Path) -> None:
    """
    In Lambda the package is read-only and HOME is unset.
    """
    (tmp_path / "stage").mkdir()

    runtime = started(with_mounts({"/var/task": task}, tmp_path / "stage", [*shell, "/var/task/bootstrap"]))

    assert runtime.program == "/var/task/bin/python3"
    assert "HOME" not in runtime.environ


def test_exit_code_is_that_of_the_runtime(shell: list[str], task: Path) -> None:
    """
    The shell is replaced by the runtime, which keeps its process, its signals and its exit code.
    """
    stand_in(task / "bin" / "python3", '#!/bin/sh\necho "$$"\nexit 64\n')
    process = subprocess.Popen([*shell, f"{task}/bootstrap"], env={"PATH": PATH}, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=10)

    assert (process.returncode, output) == (64, f"{process.pid}\n")


def test_script_in_the_repository_is_executable() -> None:
    """
    Lambda answers Runtime.InvalidEntrypoint to a bootstrap that is not executable.
    """
    assert os.access(BOOTSTRAP, os.X_OK)
