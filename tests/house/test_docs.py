"""Every example in the README and the docs runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from lambda_ric.cli import main
from lambda_ric.emulator import Emulator, examples, in_thread
from lambda_ric.hooks import Hooks
from lambda_ric.settings import Settings
from lambda_ric.testing import invoke
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT
from tests.support import aws_cli
from tests.support.ports import free_port

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVENT = {"id": "o-17", "body": json.dumps({"id": "o-17"}), "Records": []}

# Commands that go on until Ctrl-C, and what each writes when it is ready; and those that end by themselves.
READY = {"lambda-ric dev": "Ctrl-C ends it", "moto_server": "Running on", "AWS_LAMBDA_RUNTIME_API=": ""}
ORDINARY = ("lambda-ric invoke", "curl ", "aws ", "echo ")


DEPLOYED = ("durable-functions.md", "external-extension.md", "observability.md")
"""Their examples need a process of their own, and a service: tests/proofs deploys each to the emulator."""


def blocks(language: str) -> list[Any]:
    """Return the code blocks of all pages, each named by its page and line."""
    found = []
    for page in PAGES:
        if language == "python" and page.name in DEPLOYED:
            continue
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


def write_files(page: str, directory: Path) -> None:
    """
    Write the README's app.py, and what the examples of *page* name themselves to be in their first lines.

    `emulator-api.md` is about the files of `emulator.md`, as its name says.
    """
    directory.mkdir(exist_ok=True)
    (directory / "app.py").write_text(str(blocks("python")[0].values[0]), encoding="utf-8")
    for block in [*blocks("python"), *blocks("bash")]:
        source = str(block.values[0])
        name = re.match(r"(?:#!.*\n)?# ([\w./]+)\n", source)
        if name and page.startswith(str(block.id).partition(".md")[0]):
            path = directory / name[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
            path.chmod(0o755)


def with_page(language: str) -> list[Any]:
    """Return the blocks, each with its page and line before it."""
    return [pytest.param(str(block.id), *block.values, id=block.id) for block in blocks(language)]


def sessions() -> list[Any]:
    """Return the blocks of commands, but for those that build a zip, which run in test_packaging."""
    run = tuple(READY) + ORDINARY
    return [block for block in with_page("sh") if any(line.startswith(run) for line in block.values[1].splitlines())]


@pytest.mark.parametrize(("page", "source"), with_page("python"))
def test_python_example_runs(page: str, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A handler is invoked with its background work, a test is called, and nothing fails."""
    directory = tmp_path / "here"
    write_files(page, directory)
    monkeypatch.chdir(directory)
    if "@pytest.fixture" in source:
        Path("test_example.py").write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q"], capture_output=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout.decode()
        return
    application = re.match(r"# (\w+)\.py\n(?s:.*)^handler = (?:ASGIHandler|WSGIHandler|Mangum)\(", source, re.MULTILINE)
    if application:
        # In a process of its own: Django, for one, has one configuration only. Some take long to import.
        emulator = Emulator(
            f"{application[1]}.handler",
            task_root=directory,
            environment={"PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"]},
            timeout=60,
            init_timeout=60,
        )
        with in_thread(emulator) as served:
            answer = served.invoke(examples.example("function-url"))
            assert served.finished(answer).status == "success", answer.payload
        return
    if ":9000" in source:
        with Session(directory) as session:
            session.run("lambda-ric dev app.handler")
            exec(compile(session.local(source), "example", "exec"), {})
        return
    hooks = Hooks()
    monkeypatch.setattr("lambda_ric.hooks.PROCESS_HOOKS", hooks)
    monkeypatch.setattr("lambda_ric.tasks.policy.TASKS", {})
    names: dict[str, Any] = {"__name__": "example"}

    exec(compile(source, "example", "exec"), names)
    for hook in hooks.startup:
        hook()
    for name, test in list(names.items()):
        if name.startswith("test_"):
            test()
    if "handler" in names:
        invoked = invoke(names["handler"], EVENT | {"order_id": "o-17"}, hooks=hooks)

        assert invoked.outcome.error is None
        assert {task.state for task in invoked.tasks} <= {"succeeded"}


@pytest.mark.parametrize("source", blocks("json"))
def test_json_example_is_json(source: str) -> None:
    """Readers copy them."""
    assert json.loads(source)


@pytest.mark.parametrize(("page", "source"), sessions())
def test_commands_of_an_example_succeed(page: str, source: str, tmp_path: Path) -> None:
    """
    They are run as they stand, but for ports and /tmp; what goes on to the end answers an event, and ends by Ctrl-C.
    """
    directory = tmp_path / "here"
    write_files(page, directory)
    with Session(directory) as session:
        if ":9000" in source and "lambda-ric dev" not in source:
            session.run("lambda-ric dev app.handler")
        for line in source.splitlines():
            session.run(line)


class Session:
    """Runs commands, one after the other, in *directory*; those of READY go on beside the others."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment = {
            **CLEAN_ENVIRONMENT,
            "PATH": f"{Path(sys.executable).parent}:{aws_cli.path().parent}:{os.environ['PATH']}",
        }
        self._ports = {port: str(free_port()) for port in ("9000", "9001", "5000")}
        self._running: list[Running] = []
        (directory.parent / "tmp").mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._end(check=kind is None)

    def run(self, line: str) -> None:
        command = self.local(line)
        if line.startswith("export "):
            self._environment |= dict(word.split("=", 1) for word in shlex.split(line)[1:])
        elif line.startswith("lambda-ric dev"):
            self._end(check=True, only="lambda-ric dev")
            options = f"--port {self._ports['9000']} --runtime-api-port {self._ports['9001']}"
            self._start(command.replace("lambda-ric dev", f"lambda-ric dev {options}"), line)
        elif line.startswith(tuple(READY)):
            self._start(command, line)
        elif line.startswith(ORDINARY):
            self._succeed(command)

    def local(self, text: str) -> str:
        """Return *text* with the ports and the directory that stand for those in it."""
        text = re.sub(r"(?<=[: ])(9000|9001|5000)\b", lambda port: self._ports[port[1]], text)
        return text.replace("/tmp/", f"{self._directory.parent}/tmp/")

    def _start(self, command: str, line: str) -> None:
        ready = next(text for beginning, text in READY.items() if line.startswith(beginning))
        self._running.append(Running(command, line, self._directory, self._environment, ready))

    def _succeed(self, command: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def _end(self, *, check: bool, only: str = "") -> None:
        ending = [running for running in reversed(self._running) if running.line.startswith(only)]
        self._running = [running for running in self._running if running not in ending]
        try:
            for running in ending:
                if check and running.line.startswith("lambda-ric dev"):
                    event = shlex.quote(json.dumps(EVENT))
                    self._succeed(f"lambda-ric invoke --endpoint http://127.0.0.1:{self._ports['9000']} --data {event}")
        finally:
            codes = {running.line: running.end() for running in ending}
        assert {code for line, code in codes.items() if line.startswith("lambda-ric dev")} <= {128 + signal.SIGINT}


class Running:
    """A command that goes on until it is ended; it is *ready* when it has written so."""

    def __init__(self, command: str, line: str, directory: Path, environment: dict[str, str], ready: str) -> None:
        self.line = line
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec env {command}"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        written = ""
        while ready and ready not in written:
            said = self._process.stderr.readline()
            written += said
            if not said:
                self._process.stderr.close()
                raise AssertionError(f"{line} has ended with {self._process.wait()}: {written}")
        self._rest = threading.Thread(target=self._process.stderr.read)
        self._rest.start()

    def end(self) -> int:
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(30)
        self._rest.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


def options_of(command: str, capsys: pytest.CaptureFixture[str]) -> set[tuple[str, str]]:
    """Return the options that a command's --help lists, each with its default."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    listed = re.findall(r"^  (-\S.*?)(?: {2,}|\n +)(.*)$", capsys.readouterr().out, re.MULTILINE)
    defaults = {option: re.search(r"\(default: (.*?)\)$", text) for option, text in listed if "--help" not in option}
    return {(option, default[1] if default else "") for option, default in defaults.items()}


SHARED = {"both": {"invoke", "dev"}, "packages": {"build", "deploy"}}


@pytest.mark.parametrize("command", ["invoke", "dev", "build", "deploy", "doctor", "new"])
def test_options_in_the_docs_are_those_of_the_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/commands.md is the one table of them, defaults included."""
    monkeypatch.setenv("COLUMNS", "1000")
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(--.+?)` \| (\w+) \| (?:`(.+?)` )?\|", page, re.MULTILINE)

    documented = {(option, default) for option, of, default in rows if command in SHARED.get(of, {of})}
    assert documented == options_of(command, capsys)


def test_demo_shows_the_answer_before_the_receipt_is_accepted() -> None:
    """`make demo`, the README's first screen: its output is the page's, but for times and ids."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/examples/demo.py")],
        env={**CLEAN_ENVIRONMENT, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    shown = re.search(r"```text\n(\$ lambda-ric invoke.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert sorted(_without_figures(done.stdout)) == sorted(_without_figures(shown[1]))


def _without_figures(output: str) -> list[str]:
    """Return the lines without numbers, ids and bars, which differ from run to run."""
    ids = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", output)
    words = [re.sub(r"[█▏▎▍▌▋▊▉▐◆]+", " ", re.sub(r"[\d.:]+", "N", line)) for line in ids.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in words]


def test_every_setting_is_documented() -> None:
    """docs/settings.md is the one table of them."""
    documented = set(re.findall(r"^\| `(LAMBDA_RIC_\w+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    read = set(re.findall(r'"(LAMBDA_RIC_\w+)"', (ROOT / "lambda_ric/settings.py").read_text()))

    assert documented == read


def test_every_named_setting_is_one_that_is_read() -> None:
    """A page that names a variable with a typing error helps nobody."""
    settings = Settings(dict.fromkeys(re.findall(r"LAMBDA_RIC_\w+", "".join(p.read_text() for p in PAGES)), ""))

    assert settings.unknown == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A reader follows them."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []
