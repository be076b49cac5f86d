"""
From the handler's name to the handler: the import path, and every way to fail.
"""

from __future__ import annotations

import importlib
import os
import site
import sys

from .callables import application_kind, code_holder, may_take, unwrapped
from .errors import (
    HandlerConflictError,
    HandlerImportError,
    HandlerLoadError,
    HandlerNameError,
    HandlerNotCallableError,
    HandlerNotFoundError,
    HandlerSyntaxError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_LAYERS = "/opt/python"


def extend_import_path(task_root: str, path: list[str]) -> None:
    """
    Put the function's directory first on *path*, and the layers' directories behind it.

    The same order that AWS's bootstrap makes on its managed runtimes; on an
    OS-only runtime and in images nobody else does. Files ending in ``.pth``
    in these directories count.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    first = [task_root] if task_root else [os.getcwd()]
    found = [*first, f"{_LAYERS}/lib/{version}/site-packages", _LAYERS]
    wanted = [directory for directory in found if os.path.isdir(directory)]
    path[:] = wanted + [entry for entry in path if entry not in wanted]
    for directory in wanted:
        site.addsitedir(directory)


def load_handler(name: str) -> Callable[[Any, Any], Any]:
    """
    Import the module and return the function that *name* names: ``module.function``.

    Slashes in the module's name are read as dots, as Lambda's own runtimes do.

    Raises:
        HandlerLoadError: One of its kinds, with the name that Lambda gives it.
        BaseException: Whatever else the module raises, as it is.
    """
    if not name:
        raise HandlerNameError("no handler is named: set _HANDLER, or give it as an argument, such as app.handler")
    if "." not in name and ":" not in name:
        words_of_aws = "not enough values to unpack (expected 2, got 1)"
        error = HandlerNameError(f"Bad handler '{name}': {words_of_aws}")
        error.add_note(_AS_WRITTEN.format(name))
        raise error
    if ":" in name:
        raise HandlerNameError(f"Bad handler '{name}': it is written with a point, {name.replace(':', '.')}")
    module_name, function_name = name.rsplit(".", 1)
    dotted = module_name.replace("/", ".")
    if not all(part for part in (*dotted.split("."), function_name)):
        raise HandlerNameError(f"Bad handler '{name}': expected module.function, such as app.handler")
    if dotted.split(".")[0] in sys.builtin_module_names:
        raise HandlerConflictError(f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(dotted)
    except ImportError as error:
        refusal: HandlerLoadError = HandlerImportError(f"Unable to import module '{module_name}': {error}")
        if error.name == dotted:
            _note_alike(refusal, dotted, _modules_here(), f"{{}}.{function_name}")
        raise refusal from error
    except SyntaxError as error:
        raise HandlerSyntaxError(f"Syntax error in module '{module_name}': {error}") from error
    try:
        handler = getattr(module, function_name)
    except AttributeError:
        refusal = HandlerNotFoundError(f"Handler '{function_name}' missing on module '{module_name}'")
        if function_name == "py":
            refusal.add_note(_AS_WRITTEN.format(module_name))
        else:
            functions = [known for known, value in vars(module).items() if callable(value)]
            _note_alike(refusal, function_name, functions, f"{module_name}.{{}}")
        raise refusal from None
    if not callable(handler):
        kind = type(handler).__name__
        raise HandlerNotCallableError(
            f"Handler '{function_name}' on module '{module_name}' cannot be called: it is of type {kind}"
        )
    application = application_kind(handler)
    if application:
        raise HandlerNotCallableError(
            f"Handler '{function_name}' on module '{module_name}' is an application for {application} servers. Wrap "
            f"it: from lambda_ric.{application.lower()} import {application}Handler; handler = "
            f"{application}Handler({function_name}); and name {module_name}.handler"
        )
    return handler  # type: ignore[no-any-return]


_AS_WRITTEN = "A handler is written as module.function, such as {}.handler"


def _note_alike(error: HandlerLoadError, name: str, known: Iterable[str], pattern: str) -> None:
    """Add a note to *error* with that of the *known* names which was most likely meant."""
    from difflib import get_close_matches  # only for a mistake

    for meant in get_close_matches(name, known, n=1):
        error.add_note(f"Did you mean {pattern.format(meant)}?")


def _modules_here() -> list[str]:
    """Return the modules in the function's directory."""
    try:
        names = os.listdir(os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd())
    except OSError:
        return []
    return [name.removesuffix(".py") for name in names if name.endswith(".py")]


def is_of_the_call(error: BaseException, handler: Any) -> bool:
    """
    Say whether *error*, as the one who called *handler* caught it, comes from the call itself.

    No code has run, or decorators of ours at most.
    """
    if error.__traceback__ is None:
        return False
    trace = error.__traceback__.tb_next
    if trace is None:
        return True
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            return False
        trace = trace.tb_next
    return not may_take(unwrapped(handler), 2)


_PACKAGE = os.path.dirname(__file__) + os.sep


def explain_call(error: TypeError, handler: Any) -> None:
    """Have *error*, with which the call of *handler* itself has failed, say what a handler takes."""
    function = code_holder(unwrapped(handler))
    code = function.__code__ if function else None
    which = f"{function.__qualname__} in {code.co_filename}, line {code.co_firstlineno}" if code else repr(handler)
    error.args = (f"{error}. A handler takes an event and a context; {which}, does not",)
