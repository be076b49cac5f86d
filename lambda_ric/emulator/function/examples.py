"""
Events as AWS services send them, to try a function with.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.resources import files

from lambda_ric.errors import ConfigurationError

_FOLDER = files("lambda_ric.emulator.function") / "examples"


def example_names() -> list[str]:
    """Return the names of the examples, in alphabetical order."""
    return sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir() if file.name.endswith(".json"))


def example(name: str) -> bytes:
    """
    Return the event called *name*, as JSON.

    Raises:
        ConfigurationError: There is no such example; the text lists those that there are.
    """
    known = example_names()
    if name not in known:
        close = get_close_matches(name, known)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise ConfigurationError(f"no example is called {name!r}{hint}; there are: {', '.join(known)}")
    return (_FOLDER / f"{name}.json").read_bytes()
