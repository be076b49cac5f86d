"""
`lambda-ric build --target provided`: an interpreter in the package.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.packaging.conftest import Ran, Run
from tests.support.ports import free_port
from tests.support.projects import PYTHON, cc, for_arm64, make_library, names_in, write_project

SYSCONFIG = "_sysconfigdata__linux_x86_64-linux-gnu.py"
SYSCONFIG_TEXT = """\
# system configuration generated and used by the sysconfig module
build_time_vars = {
    "LIBDIR": "/install/lib"
}
"""
APP = {"app.py": "def handler(event, context): ..."}


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """A folder that looks like one of python-build-standalone, with debug symbols."""
    folder = tmp_path / "python"
    library = f"lib/python{PYTHON}"
    write_project(
        folder,
        {
            f"{library}/os.py": "",
            f"{library}/encodings/__init__.py": "",
            f"{library}/site.py": "",
            f"{library}/{SYSCONFIG}": SYSCONFIG_TEXT,
            f"{library}/EXTERNALLY-MANAGED": "",
            f"{library}/build-details.json": "{}",
            f"{library}/test/test_os.py": "",
            f"{library}/idlelib/help.html": "",
            f"{library}/site-packages/pip/__init__.py": "",
            f"{library}/config-3-x86_64-linux-gnu/libpython.a": "",
            f"{library}/__pycache__/os.cpython-39.pyc": "",
            f"include/python{PYTHON}/patchlevel.h": f'#define PY_VERSION  "{PYTHON}.17"\n',
            "lib/libtcl8.6.so": "",
            "share/man/man1/python.1": "",
            "bin/pip": "#!python",
            "main.c": "int main_of_nothing;",
        },
    )
    library_of_it = f"libpython{PYTHON}.so.1.0"
    cc("-g", "-o", folder / "lib" / library_of_it, folder / "main.c", f"-Wl,-soname,{library_of_it}")
    program = folder / f"bin/python{PYTHON}"
    cc("-g", "-o", program, folder / "main.c", "-Wl,--no-as-needed", folder / "lib" / library_of_it)
    (folder / "bin/python3").symlink_to(program.name)
    return folder


@pytest.fixture
def build(run: Run, tmp_path: Path) -> Run:
    """Build a project of one file for provided.al2023."""
    project = write_project(tmp_path / "shop", APP)

    def build(*options: str | Path) -> Ran:
        return run("build", project, "--target", "provided", "--output", tmp_path / "out.zip", *options)

    return build


def test_interpreter_lies_where_bootstrap_looks_for_it(build: Run, interpreter: Path, tmp_path: Path) -> None:
    """With its standard library and the libraries that it is linked with; nobody tests or builds in Lambda."""
    assert build("--interpreter", interpreter).exit_code == 0

    names = {name for name in names_in(tmp_path / "out.zip") if name.startswith(("bin/", "lib/", "share/", "include/"))}

    assert {name for name in names if not name.endswith(".pyc")} == {
        "bin/python3",
        f"lib/libpython{PYTHON}.so.1.0",
        f"lib/python{PYTHON}/{SYSCONFIG}",
        f"lib/python{PYTHON}/encodings/__init__.py",
        f"lib/python{PYTHON}/os.py",
        f"lib/python{PYTHON}/site.py",
    }
    assert f"lib/python{PYTHON}/__pycache__/os.cpython-{PYTHON.replace('.', '')}.pyc" in names


def test_programs_lose_their_symbols(build: Run, interpreter: Path, tmp_path: Path) -> None:
    """They are most of the size of an interpreter that was built by hand."""
    build("--interpreter", interpreter)

    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.getinfo("bin/python3").file_size < (interpreter / f"bin/python{PYTHON}").stat().st_size
        assert archive.getinfo("bin/python3").external_attr >> 16 & 0o777 == 0o755


def test_archive_gives_the_same_package_as_its_folder(build: Run, interpreter: Path, tmp_path: Path) -> None:
    """As python-build-standalone publishes it, or a mirror of one's own."""
    with tarfile.open(tmp_path / "cpython.tar.gz", "w:gz") as archive:
        archive.add(interpreter, "python")
    build("--interpreter", interpreter)
    by_folder = (tmp_path / "out.zip").read_bytes()

    assert build("--interpreter", tmp_path / "cpython.tar.gz").exit_code == 0
    assert (tmp_path / "out.zip").read_bytes() == by_folder


def test_layer_may_bring_an_interpreter(run: Run, interpreter: Path, tmp_path: Path) -> None:
    """Functions on provided.al2023 then need none of their own."""
    project = write_project(tmp_path / "shop", APP)

    assert run("build", project, "--target", "layer", "--interpreter", interpreter).exit_code == 0
    assert {"bootstrap", "bin/python3", "python/lambda_ric/runtime.py"} <= names_in(project / "dist" / "layer.zip")


def test_interpreter_of_another_version_is_refused(build: Run, interpreter: Path) -> None:
    """Its extension modules would not load."""
    ended = build("--interpreter", interpreter, "--python", "3.99")

    assert ended.exit_code == 1
    assert f"is Python {PYTHON}, and the package is for 3.99" in ended.stderr


def test_one_of_several_interpreters_is_chosen_by_its_version(build: Run, interpreter: Path, tmp_path: Path) -> None:
    """As in /usr: without --python it is not guessed."""
    write_project(interpreter, {"bin/python3.99": "", "lib/python3.99/os.py": ""})

    unsaid = build("--interpreter", interpreter)
    said = build("--interpreter", interpreter, "--python", PYTHON)

    assert unsaid.exit_code == 1
    assert "holds several interpreters" in unsaid.stderr
    assert said.exit_code == 0, said
    assert "bin/python3" in names_in(tmp_path / "out.zip")


def test_interpreter_for_another_machine_is_refused(build: Run, interpreter: Path) -> None:
    """Lambda would say "exec format error"."""
    program = interpreter / f"bin/python{PYTHON}"
    program.write_bytes(for_arm64(program.read_bytes()))

    ended = build("--interpreter", interpreter)

    assert ended.exit_code == 1
    assert "is for arm64, and the package is for x86_64" in ended.stderr


def test_interpreter_that_needs_a_newer_c_library_is_refused(build: Run, interpreter: Path, tmp_path: Path) -> None:
    """As one that was built on Debian 12: one symbol is enough."""
    module = make_library(tmp_path / "c", "cmath.so", needs="hypot@GLIBC_2.35")
    write_project(interpreter, {f"lib/python{PYTHON}/lib-dynload/cmath.so": module})

    ended = build("--interpreter", interpreter)

    assert ended.exit_code == 1
    assert "lib-dynload/cmath.so of python needs hypot@GLIBC_2.35; the package is for glibc 2.34" in ended.stderr


@pytest.mark.parametrize("kind", ["missing", "empty folder", "text", "tar without one"])
def test_what_is_no_interpreter_is_refused(build: Run, tmp_path: Path, kind: str) -> None:
    """With what is expected instead."""
    given = tmp_path / "given"
    if kind == "empty folder":
        given.mkdir()
    elif kind == "text":
        given.write_text("no archive")
    elif kind == "tar without one":
        with tarfile.open(given, "w:gz") as archive:
            archive.add(__file__, "python/readme")

    ended = build("--interpreter", given)

    assert ended.exit_code == 1
    assert "no interpreter" in ended.stderr or "--interpreter" in ended.stderr
    assert not (tmp_path / "out.zip").exists()


# Downloaded by uv, here from a mirror on this machine...


class Mirror:
    """
    Serves one archive at the path that python-build-standalone has it at; uv's own list would name another's checksum.

    It cuts the archive off after *half*, if that is set, and sends nothing before *held* is, if there is one.
    """

    def __init__(self, folder: Path, archive: bytes) -> None:
        self.half: int | None = None
        self.held: threading.Event | None = None
        self.asked: list[str] = []
        self.come = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                mirror.come.set()
                if mirror.held is not None:
                    mirror.held.wait()
                    return
                found = self.path == "/mirror/1/cpython.tar.gz"
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(archive) if found else 0))
                self.end_headers()
                self.wfile.write(archive[: mirror.half] if found else b"")

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/mirror"
        self.list = folder / "downloads.json"
        self.name(hashlib.sha256(archive).hexdigest())

    def name(self, sha256: str, file: str = "1/cpython.tar.gz") -> None:
        """Have uv's list of downloads name *file*, with a checksum."""
        major, minor = map(int, PYTHON.split("."))
        entry = {
            "name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu",
            "major": major, "minor": minor, "patch": 17, "prerelease": "", "variant": None, "build": "1",
            "url": f"https://github.com/astral-sh/python-build-standalone/releases/download/{file}", "sha256": sha256,
        }  # fmt: skip
        self.list.write_text(json.dumps({f"cpython-{PYTHON}.17-linux-x86_64-gnu": entry}))


@pytest.fixture
def mirror(interpreter: Path, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that uv is told of, and a folder of its own for what a build leaves behind."""
    with tarfile.open(tmp_path / "cpython.tar.gz", "w:gz") as archive:
        archive.add(interpreter, "python")
    mirror = Mirror(tmp_path, (tmp_path / "cpython.tar.gz").read_bytes())
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("UV_OFFLINE")
    for name, value in (
        ("UV_PYTHON_INSTALL_MIRROR", mirror.url),
        ("UV_PYTHON_DOWNLOADS_JSON_URL", str(mirror.list)),
        ("UV_HTTP_RETRIES", "0"),
        ("TMPDIR", str(tmp_path / "tmp")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    serving = threading.Thread(target=mirror.server.serve_forever)
    serving.start()
    yield mirror
    mirror.server.shutdown()
    serving.join()
    mirror.server.server_close()


def test_downloaded_interpreter_is_packed_and_always_the_same(build: Run, mirror: Mirror, tmp_path: Path) -> None:
    """uv writes the folder that it installs into, another one each time, into what `sysconfig` reads."""
    first, out = build(), tmp_path / "out.zip"
    before = out.read_bytes()
    second = build()

    assert (first.exit_code, second.exit_code) == (0, 0), first
    assert mirror.asked == ["/mirror/1/cpython.tar.gz"] * 2
    assert out.read_bytes() == before
    with zipfile.ZipFile(out) as archive:
        assert {"bin/python3", f"lib/libpython{PYTHON}.so.1.0"} <= set(archive.namelist())
        assert "/var/task/lib" in archive.read(f"lib/python{PYTHON}/{SYSCONFIG}").decode()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("another file", "Hash mismatch"),
        ("no file", "404 Not Found"),
        ("interrupted", "error decoding response body"),
        ("no mirror", "error sending request"),
        ("forbidden", "downloads are not allowed"),
    ],
)
def test_download_that_fails_leaves_nothing_and_names_the_other_ways(
    build: Run, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    """An archive, a folder, a mirror; uv's words say what was wrong."""
    if fault == "another file":
        mirror.name("0" * 64)
    elif fault == "no file":
        mirror.name("0" * 64, "1/other.tar.gz")
    elif fault == "interrupted":
        mirror.half = 100
    elif fault == "no mirror":
        monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", f"http://127.0.0.1:{free_port()}")
    elif fault == "forbidden":
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")

    ended = build()

    assert ended.exit_code == 1
    assert f"uv could not download cpython-{PYTHON}-linux-x86_64-gnu" in ended.stderr
    assert "--interpreter, or name a mirror in UV_PYTHON_INSTALL_MIRROR" in ended.stderr
    assert said in ended.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "out.zip").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_build_that_is_stopped_leaves_nothing(mirror: Mirror, tmp_path: Path, number: signal.Signals) -> None:
    """By Ctrl-C, or by whoever cancels a job: neither a package nor what was prepared for one."""
    project = write_project(tmp_path / "shop", APP)
    mirror.held = threading.Event()
    command = [sys.executable, "-m", "lambda_ric.cli", "build", str(project), "--target", "provided"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as build:
        assert mirror.come.wait(40)
        build.send_signal(number)
        said = build.communicate(timeout=40)
    mirror.held.set()

    assert build.returncode == 128 + number, said
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (project / "dist").exists()
