"""
From the handler's name to the handler: the import path, and every way to fail.
"""

from __future__ import annotations

import importlib
import os
import site
import sys

from .callables import application_kind
from .errors import (
    HandlerConflictError,
    HandlerImportError,
    HandlerNameError,
    HandlerNotCallableError,
    HandlerNotFoundError,
    HandlerSyntaxError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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
        raise HandlerNameError(f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)")  # AWS's words
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
        raise HandlerImportError(f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        raise HandlerSyntaxError(f"Syntax error in module '{module_name}': {error}") from error
    try:
        handler = getattr(module, function_name)
    except AttributeError:
        raise HandlerNotFoundError(f"Handler '{function_name}' missing on module '{module_name}'") from None
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


def is_of_the_call(error: BaseException) -> bool:
    """Say whether *error*, as the one who called a handler caught it, comes from the call itself: no code has run."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def explain_call(error: TypeError, handler: Any) -> None:
    """Have *error*, with which the call of *handler* itself has failed, say what a handler takes."""
    code = getattr(handler, "__code__", None) or getattr(getattr(handler, "__func__", None), "__code__", None)
    which = f"{handler.__qualname__} in {code.co_filename}, line {code.co_firstlineno}" if code else repr(handler)
    error.args = (f"{error}. A handler takes an event and a context; {which}, does not",)
