"""
Hot reload: which changes count, and that the next event finds them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from lambda_ric.emulator import Emulator, Invocation, LogLine
from lambda_ric.emulator.function.changes import _SHARE, SourceFiles


class Clock:
    """Moves on by *step* each time it is read, and otherwise when a test says so."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A task root with a few files."""
    for name in ["app.py", "package/module.py", "data/table.json"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def rewritten(root: Path) -> None:
    (root / "app.py").write_text("x = 2\n")


def appended_in_a_package(root: Path) -> None:
    with (root / "package/module.py").open("a") as file:
        file.write("y = 2\n")


def made(root: Path) -> None:
    (root / "package/new.py").touch()


def removed(root: Path) -> None:
    (root / "package/module.py").unlink()


def directory_removed(root: Path) -> None:
    shutil.rmtree(root / "package")


def renamed(root: Path) -> None:
    (root / "app.py").rename(root / "other.py")


def replaced_as_editors_do(root: Path) -> None:
    """Write a new file and move it over the old one, of the same size and time."""
    status = (root / "app.py").stat()
    (root / "app.py.tmp").write_text("x = 3\n")
    os.utime(root / "app.py.tmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / "app.py.tmp").replace(root / "app.py")


def older_version_restored(root: Path) -> None:
    os.utime(root / "app.py", (1, 1))


CHANGES = [
    rewritten,
    appended_in_a_package,
    made,
    removed,
    directory_removed,
    renamed,
    replaced_as_editors_do,
    older_version_restored,
]


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_seen_once(root: Path, change: Callable[[Path], None]) -> None:
    """
    Whatever a developer does to a file of the function.
    """
    sources = SourceFiles(root, clock=Clock())
    assert not sources.changed()
    # A file system's time may be as coarse as a few milliseconds; what was there is old.
    for path in root.rglob("*.py"):
        os.utime(path, (1000, 1000))
    assert sources.changed()

    change(root)

    assert sources.changed()
    assert not sources.changed()


@pytest.mark.parametrize(
    "name",
    [
        "__pycache__/app.cpython-311.pyc",
        "package/__pycache__/new",
        "old.pyc",
        ".git/index",
        ".venv/lib/python3.11/site-packages/boto3/client.py",
        ".pytest_cache/v/lastfailed",
        "venv/bin/activate.py",
        "lib/site-packages/requests/api.py",
        "node_modules/left-pad/index.js",
        "orders.db",
        "data/table.json",
        "package/notes.txt",
        ".env",
    ],
)
def test_what_is_not_the_function_does_not_count(root: Path, name: str) -> None:
    """
    What Python, git and the like write is passed over, and data, or a reload would lead to the next.
    """
    for directory in (root / name).relative_to(root).parents:
        (root / directory).mkdir(parents=True, exist_ok=True)
    sources = SourceFiles(root, clock=Clock())

    (root / name).write_text("new")

    assert not sources.changed()


@pytest.mark.parametrize(("pattern", "name"), [("*.html", "a/b/page.html"), ("data/*", "data/new"), ("run", "run")])
def test_what_is_asked_for_counts_beside_the_code(root: Path, pattern: str, name: str) -> None:
    """
    By its name or by its path; what does not match, does not.
    """
    sources = SourceFiles(root, [pattern], clock=Clock())
    (root / name).parent.mkdir(parents=True, exist_ok=True)

    (root / "other").write_text("new")
    assert sources.changed() == []
    (root / name).write_text("new")
    assert sources.changed() == [name]


def test_directories_may_be_nested_deeply(root: Path) -> None:
    """
    Deeper than Python nests its calls.
    """
    path = root
    for _ in range(1500):
        path /= "d"
        path.mkdir()
    sources = SourceFiles(root, clock=Clock())

    (path / "a.py").touch()
    changed = sources.changed()
    subprocess.run(["rm", "-r", root / "d"], check=True)  # which pytest's own calls would be nested too deeply for

    assert [name.count("/") for name in changed] == [1500]


def test_link_to_a_file_counts_as_that_file(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """
    Links to directories are not followed: they may lead in a circle.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "shared.py").write_text("x = 1\n")
    (root / "shared.py").symlink_to(elsewhere / "shared.py")
    (root / "circle").symlink_to(root)
    (root / "nowhere.py").symlink_to(elsewhere / "missing.py")
    sources = SourceFiles(root, clock=Clock())

    (elsewhere / "shared.py").write_text("x = 22\n")

    assert sources.changed()
    assert not sources.changed()


def test_directory_that_is_gone_is_a_change_and_no_error(root: Path) -> None:
    """
    A build may remove everything and write it anew.
    """
    sources = SourceFiles(root, clock=Clock())

    shutil.rmtree(root)
    assert sources.changed()
    assert not sources.changed()

    root.mkdir()
    (root / "app.py").touch()
    assert sources.changed()


def test_looks_take_a_small_part_of_the_time(root: Path) -> None:
    """
    The longer one took, the later is the next.
    """
    clock = Clock(step=2.0)
    sources = SourceFiles(root, clock=clock)
    clock.step = 0.0
    made(root)

    clock.now += 2.0 / _SHARE - 0.1
    assert not sources.changed()
    clock.now += 0.2
    assert sources.changed()


def test_quick_looks_leave_five_milliseconds_at_most_between_them(root: Path) -> None:
    """
    What is saved after a call is served by the next one, even where a program saves and calls.
    """
    clock = Clock(step=100e-6)
    sources = SourceFiles(root, clock=clock)
    clock.step = 0.0
    made(root)

    clock.now += 0.0049
    assert not sources.changed()
    clock.now += 0.0002
    assert sources.changed()


# From end to end...

APP = """
    import os, time

    def handler(event, context):
        while event and os.path.exists(event):
            time.sleep(0.005)
        return {version!r}
"""


def write(root: Path, version: str) -> None:
    """Write an app that answers with *version*, of a length that tells versions apart on any file system."""
    lines = APP.format(version=version).strip("\n").split("\n")
    (root / "app.py").write_text("\n".join(line[4:] for line in lines) + "\n")


def reloading(root: Path, **options: Any) -> Emulator:
    emulator = Emulator("app.handler", task_root=root, timeout=20, reload=True, **options)
    # With a clock that stands still it looks at every event, however long a look takes on this machine.
    emulator._sources = SourceFiles(root, clock=Clock())
    return emulator


class Begun:
    """Tells when an invocation has begun."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.notes: list[tuple[str, str]] = []

    def changed(self, invocation: Invocation) -> None:
        if not math.isnan(invocation.started_at):
            self.event.set()

    def log(self, line: LogLine, invocation: Invocation | None, environment: int) -> None:
        pass

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        self.notes.append((kind, text))


async def value(emulator: Emulator, event: Any = None) -> Any:
    return json.loads((await emulator.invoke(event)).payload)


def test_changed_code_takes_effect_on_the_next_request(tmp_path: Path) -> None:
    """
    There is nothing to wait for in between, and without a change the environment is kept.
    """

    async def main() -> None:
        write(tmp_path, "1")
        async with reloading(tmp_path) as emulator:
            for version in ("1", "22", "333"):
                write(tmp_path, version)
                assert await value(emulator) == version
                answer = await emulator.invoke()
                assert (await answer.finished()).init_duration is None

    anyio.run(main)


def test_file_that_is_saved_twice_in_a_second_is_served_as_it_is(tmp_path: Path) -> None:
    """
    With as many bytes: what Python keeps of the first would be valid for the second.
    """

    def save(version: str) -> None:
        write(tmp_path, version)
        os.utime(tmp_path / "app.py", ns=(0, 1_700_000_000_000_000_000 + int(version)))

    async def main() -> None:
        save("1")
        async with reloading(tmp_path) as emulator:
            for version in ("1", "2", "3"):
                save(version)
                assert await value(emulator) == version
        assert not (tmp_path / "__pycache__").exists()

    anyio.run(main)


def test_note_names_the_files_that_have_changed(tmp_path: Path) -> None:
    """
    A few of them.
    """

    async def main() -> None:
        begun = Begun()
        write(tmp_path, "1")
        async with reloading(tmp_path, observers=[begun]) as emulator:
            await emulator.invoke()
            for name in ("one.py", "two.py", "three.py", "four.py"):
                (tmp_path / name).touch()
            await emulator.invoke()
            (tmp_path / "one.py").unlink()
            await emulator.invoke()
        ending = ": new environments will have the new code"
        assert [text for kind, text in begun.notes if kind == "reload"] == [
            f"four.py, one.py, three.py and 1 more have changed{ending}",
            f"one.py has changed{ending}",
        ]

    anyio.run(main)


def test_request_in_flight_is_finished_by_the_code_that_began_it(tmp_path: Path) -> None:
    """
    None is dropped, and the new code does not wait for the old.
    """
    held = tmp_path / ".held"
    held.touch()

    async def main() -> None:
        write(tmp_path, "old")
        begun = Begun()
        async with reloading(tmp_path, concurrency=2, observers=[begun]) as emulator:
            first = emulator.invocation(json.dumps(str(held)).encode())
            emulator.submit(first)
            with anyio.fail_after(20):
                await begun.event.wait()
            write(tmp_path, "the new one")
            assert await value(emulator) == "the new one"
            held.unlink()
            assert json.loads((await first.answered()).payload) == "old"
            await first.finished()
            assert await value(emulator) == "the new one"

    anyio.run(main)


def test_error_in_the_changed_code_is_an_init_error_and_the_next_change_heals_it(tmp_path: Path) -> None:
    """
    The emulator goes on, whatever is saved halfway.
    """

    async def main() -> None:
        write(tmp_path, "good")
        async with reloading(tmp_path) as emulator:
            assert await value(emulator) == "good"
            (tmp_path / "app.py").write_text("def handler(event, context:\n")
            for _ in range(2):
                answer = await emulator.invoke()
                assert answer.function_error is not None
                assert json.loads(answer.payload)["errorType"] == "Runtime.UserCodeSyntaxError"
            write(tmp_path, "healed")
            assert await value(emulator) == "healed"

    anyio.run(main)


def test_without_reload_the_code_stays_as_it_was(tmp_path: Path) -> None:
    """
    As on Lambda.
    """

    async def main() -> None:
        write(tmp_path, "first")
        async with Emulator("app.handler", task_root=tmp_path, timeout=20) as emulator:
            assert await value(emulator) == "first"
            write(tmp_path, "second one")
            assert await value(emulator) == "first"

    anyio.run(main)
