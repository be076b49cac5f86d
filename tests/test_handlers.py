"""From the handler's name to the handler, and every way to fail, in the words of AWS's own runtime."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from awslambdaric.bootstrap import _get_handler
from awslambdaric.lambda_runtime_exception import FaultException

from lambda_ric.errors import (
    HandlerConflictError,
    HandlerImportError,
    HandlerLoadError,
    HandlerNameError,
    HandlerNotCallableError,
    HandlerNotFoundError,
    HandlerSyntaxError,
)
from lambda_ric.failures import Failure
from lambda_ric.handlers import extend_import_path, load_handler
from tests.conftest import Serve
from tests.support.private_mounts import with_mounts
from tests.support.reference import serve_on_awslambdaric

MODULES = {
    "app.py": "def handler(event, context): return 'app'\nclass Class:\n    def method(self): pass\nnumber = 5\n",
    "needs.py": "import missing_package\n",
    "needs_name.py": "from app import nothing\n",
    "deep.py": "import needs\n",
    "broken.py": "def handler(event, context)\n    return 1\n",
    "shift.py": "x = 1\n  y = 2\n",
    "below.py": "import broken\n",
    "raises.py": "class Mine(Exception): pass\nraise Mine('at import')\n",
    "package/__init__.py": "",
    "package/inner.py": "def handler(event, context): return 'inner'\n",
    "package/sys.py": "def handler(event, context): return 'sys'\n",
    "hidden.py": "def __getattr__(name):\n    raise LookupError(name)\n",
}


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The function's directory, on the path of this process for a while."""
    for name, source in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal_of(name: str) -> HandlerLoadError:
    """Return the error that loading the handler *name* ends in."""
    with pytest.raises(HandlerLoadError) as refusal:
        load_handler(name)
    return refusal.value


# Names...


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("app.handler", "app"),
        ("package.inner.handler", "inner"),
        ("package/inner.handler", "inner"),
        ("package/sys.handler", "sys"),
    ],
)
def test_handler_is_found_below_packages_with_dots_and_slashes(task: Path, name: str, result: str) -> None:
    """A module may have the name of a built-in one inside of a package. Parity 20."""
    assert load_handler(name)(None, None) == result


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("app", HandlerNameError, "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
        ("a/b", HandlerNameError, "Bad handler 'a/b': not enough values to unpack (expected 2, got 1)"),
        ("no_such.handler", HandlerImportError, "Unable to import module 'no_such': No module named 'no_such'"),
        ("no/such.handler", HandlerImportError, "Unable to import module 'no/such': No module named 'no'"),
        ("needs.handler", HandlerImportError, "Unable to import module 'needs': No module named 'missing_package'"),
        ("deep.handler", HandlerImportError, "Unable to import module 'deep': No module named 'missing_package'"),
        ("broken.handler", HandlerSyntaxError, "Syntax error in module 'broken': expected ':' (broken.py, line 1)"),
        ("shift.handler", HandlerSyntaxError, "Syntax error in module 'shift': unexpected indent (shift.py, line 2)"),
        ("below.handler", HandlerSyntaxError, "Syntax error in module 'below': expected ':' (broken.py, line 1)"),
        ("sys.exit", HandlerConflictError, "Cannot use built-in module sys as a handler module"),
        ("sys.x.handler", HandlerConflictError, "Cannot use built-in module sys.x as a handler module"),
        ("app.handle", HandlerNotFoundError, "Handler 'handle' missing on module 'app'"),
        ("package/inner.handle", HandlerNotFoundError, "Handler 'handle' missing on module 'package/inner'"),
        (
            "app.Class.method",
            HandlerImportError,
            "Unable to import module 'app.Class': No module named 'app.Class'; 'app' is not a package",
        ),
    ],
)
def test_handler_that_cannot_be_loaded_is_refused_in_awss_words(
    name: str, kind: type[HandlerLoadError], message: str
) -> None:
    """Type and text, compared with that runtime itself. Parity 17, 18, 19, 20, 21, 22."""
    with pytest.raises(FaultException) as fault:
        _get_handler(name)

    error = refusal_of(name)

    assert type(error) is kind
    assert (error.error_type, str(error)) == (fault.value.exception_type, fault.value.msg)
    assert str(error) == message


@pytest.mark.usefixtures("task")
def test_failed_import_of_a_name_is_refused_in_awss_words() -> None:
    """The text names the file, and is Python's. Parity 18."""
    with pytest.raises(FaultException) as fault:
        _get_handler("needs_name.handler")

    assert str(refusal_of("needs_name.handler")) == fault.value.msg
    assert fault.value.msg.startswith("Unable to import module 'needs_name': cannot import name 'nothing' from 'app' (")


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize(
    "name", ["../app.handler", ".handler", "app.", "/app.handler", "app..handler", "..", "a//b.c", "."]
)
def test_name_with_an_empty_part_is_malformed(name: str) -> None:
    """AWS's runtime calls these a TypeError or a ValueError. Parity 24."""
    error = refusal_of(name)

    assert error.error_type == "Runtime.MalformedHandlerName"
    assert str(error) == f"Bad handler '{name}': expected module.function, such as app.handler"


def test_no_name_at_all_is_explained() -> None:
    """Parity 1."""
    error = refusal_of("")

    assert error.error_type == "Runtime.MalformedHandlerName"
    assert str(error) == "no handler is named: set _HANDLER, or give it as an argument, such as app.handler"


@pytest.mark.usefixtures("task")
def test_handler_that_cannot_be_called_is_refused_at_once() -> None:
    """AWS's runtime accepts it, and every invocation fails. Parity 26."""
    error = refusal_of("app.number")

    assert type(error) is HandlerNotCallableError
    assert str(error) == "Handler 'number' on module 'app' cannot be called: it is of type int"


@pytest.mark.usefixtures("task")
def test_whatever_else_the_module_raises_comes_as_it_is() -> None:
    """The function's own errors are never wrapped. Parity 23."""
    with pytest.raises(Exception, match="at import") as raised:
        load_handler("raises.handler")
    with pytest.raises(LookupError, match="handler"):
        load_handler("hidden.handler")

    assert type(raised.value).__name__ == "Mine"


# ...stacks...


@pytest.mark.parametrize("name", ["broken.handler", "shift.handler", "below.handler"])
def test_syntax_error_is_shown_with_its_line_as_awss_runtime_does(task: Path, name: str) -> None:
    """One string. Parity 19."""
    with pytest.raises(FaultException) as fault:
        _get_handler(name)
    module = "shift" if name.startswith("shift") else "broken"

    (entry,) = Failure(refusal_of(name)).stack

    assert [entry] == fault.value.trace
    assert entry.startswith(f'  File "{task}/{module}.py" Line ')


def frames_of(error: BaseException) -> list[tuple[str, str]]:
    """Return file and text of each frame."""
    return [(Path(entry.split('"')[1]).name, entry.split("\n    ")[1].strip()) for entry in Failure(error).stack]


@pytest.mark.usefixtures("task")
def test_import_that_failed_is_shown_where_it_failed() -> None:
    """Which import it was, AWS's runtime does not tell. Parity 18."""
    assert frames_of(refusal_of("deep.handler")) == [
        ("deep.py", "import needs"),
        ("needs.py", "import missing_package"),
    ]
    assert frames_of(refusal_of("no_such.handler")) == []


def test_frames_of_the_import_are_left_out(serve: Serve, tmp_path: Path) -> None:
    """AWS's runtime shows eight of importlib's. Parity 23."""
    (tmp_path / "inner.py").write_text("def fail(): raise ValueError('at import')\nfail()\n")

    served = serve("import inner")

    document = served.answers[0]
    frames = [entry.split(", in ")[1].split("\n")[0] for entry in document["stackTrace"]]
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "at import")
    assert frames == ["<module>", "<module>", "fail"]


@pytest.mark.parametrize(
    "name", ["app", "sys.exit", "app.missing", "app.Class.method", "broken.handler", "no/such.handler"]
)
def test_init_error_is_posted_as_by_awss_runtime(serve: Serve, tmp_path: Path, name: str) -> None:
    """The same bytes. Parity 17, 18, 19, 20, 21, 22, 29."""
    (tmp_path / "broken.py").write_text(MODULES["broken.py"])

    ours = serve(MODULES["app.py"], handler=name)
    theirs = serve_on_awslambdaric(tmp_path, handler=name)

    (our,), (their,) = ours.posts, theirs.posts
    assert (our.path, our.body) == (their.path, their.body)
    assert our.headers["lambda-runtime-function-error-type"] == their.headers["lambda-runtime-function-error-type"]
    assert ours.exit_code == theirs.exit_code == 1


# ...and the import path.


def test_functions_directory_comes_first_on_the_path(tmp_path: Path) -> None:
    """Before the standard library's, as on managed runtimes. Parity 13."""
    path = ["/usr/lib/python3", str(tmp_path), "/elsewhere"]

    extend_import_path(str(tmp_path), path)

    assert path == [str(tmp_path), "/usr/lib/python3", "/elsewhere"]


def test_current_directory_stands_in_for_the_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LAMBDA_TASK_ROOT is not set. Parity 2, 13."""
    monkeypatch.chdir(tmp_path)
    path = ["/elsewhere"]

    extend_import_path("", path)

    assert path == [str(tmp_path), "/elsewhere"]


def test_directory_that_is_not_there_is_left_out() -> None:
    """Most functions have no layer. Parity 13."""
    path = ["/elsewhere"]

    extend_import_path("/no/such/directory", path)

    assert path == ["/elsewhere"]


def test_task_root_is_where_the_handler_is_found_whatever_the_current_directory(serve: Serve, tmp_path: Path) -> None:
    """Parity 2, 13."""
    root = tmp_path / "var" / "task"
    root.mkdir(parents=True)
    (root / "function.py").write_text("def handler(event, context): return __file__")

    served = serve("", None, handler="function.handler", env={"LAMBDA_TASK_ROOT": str(root)})

    assert served.answers == [str(root / "function.py")]


def test_pth_files_of_the_functions_directory_count(serve: Serve, tmp_path: Path) -> None:
    """Some packages need theirs. Parity 13."""
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "dependency.py").write_text("name = 'vendored'")
    (tmp_path / "vendored.pth").write_text("vendored\n")

    served = serve("import dependency\ndef handler(event, context): return dependency.name", None)

    assert served.answers == ["vendored"]


def test_layers_are_imported_from_behind_the_function(serve: Serve, tmp_path: Path) -> None:
    """The same order that AWS's bootstrap makes, on every runtime. Parity 13."""
    layer, stage = tmp_path / "layer", tmp_path / "stage"
    stage.mkdir()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for directory, modules in (
        (layer, ("low", "both", "everywhere")),
        (layer / "lib" / version / "site-packages", ("high", "both", "everywhere")),
    ):
        directory.mkdir(parents=True, exist_ok=True)
        for module in modules:
            (directory / f"{module}.py").write_text("")
    (tmp_path / "everywhere.py").write_text("")
    python = tmp_path / "python"
    command = with_mounts({"/opt/python": layer}, stage, [sys.executable])
    python.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    python.chmod(0o755)

    served = serve(
        """
        import both, everywhere, high, low, os
        def handler(event, context):
            return [os.path.dirname(module.__file__) for module in (low, high, both, everywhere)]
        """,
        None,
        python=str(python),
    )

    packages = f"/opt/python/lib/{version}/site-packages"
    assert served.answers == [["/opt/python", packages, packages, str(tmp_path)]]
