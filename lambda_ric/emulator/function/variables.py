"""
Environment variables as a developer gives them: which names are allowed, and how a file of them reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lambda_ric.errors import ConfigurationError
from lambda_ric.limits import MAX_ENVIRONMENT

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
# The credentials, reserved as well, are missing on purpose: here nobody else provides them.
RESERVED = frozenset(
    {
        "_HANDLER",
        "AWS_DEFAULT_REGION",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "LAMBDA_RIC_SPANS_FD",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)


def check_variables(variables: Mapping[str, str]) -> None:
    """
    Refuse environment variables that Lambda would refuse.

    Raises:
        ConfigurationError: One of them, or their sum, which is limited to 4 KB.
    """
    for name, value in variables.items():
        check_variable(name, value)
    size = sum(len(name.encode()) + len(value.encode("utf-8", "surrogateescape")) for name, value in variables.items())
    if size > MAX_ENVIRONMENT:
        text = f"the environment variables have {size} bytes, names included, and a function may have {MAX_ENVIRONMENT}"
        raise ConfigurationError(f"{text}: keep what is larger in a file, or in a service for parameters")


def check_variable(name: str, value: str) -> None:
    """
    Refuse an environment variable that Lambda would refuse.

    Raises:
        ConfigurationError: The name is reserved or has the wrong form, or the value holds a NUL.
    """
    if name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        raise ConfigurationError(f"{name} is reserved: the emulator takes it from its own environment")
    if name == "_HANDLER":
        text = "Lambda sets it to the function's handler, which comes first: lambda-ric dev app.handler -- COMMAND"
        raise ConfigurationError(f"_HANDLER is reserved: {text}")
    if name in RESERVED:
        raise ConfigurationError(f"{name} is reserved: Lambda, and so the emulator, sets it itself")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigurationError(
            f"{name!r} is not the name of an environment variable: letters, digits and _, a letter first"
        )
    if "\0" in value:
        raise ConfigurationError(f"the value of {name} contains a NUL character")


def read_env_file(text: str, name: str, outside: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Read the ``KEY=VALUE`` lines of a file called *name*, as python-dotenv does.

    Empty lines, those that begin with ``#`` and a leading ``export`` are passed
    over. A value may stand in quotes, and go over several lines then; a
    backslash escapes in double ones as in Python, in single ones the quote and
    itself. Without quotes it ends before a blank and ``#``. ``${KEY}`` and
    ``${KEY:-default}`` are what the file has said before, or *outside* has.

    Raises:
        ConfigurationError: A line has another form; the text names it.
    """
    variables: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _BINDING.match(text, position)
        if match is None:
            number = text.count("\n", 0, _SPACE.match(text, position).end()) + 1  # type: ignore[union-attr]
            raise ConfigurationError(f"{name}, line {number}: expected KEY=VALUE, with quotes closed if any")
        position = match.end()
        key = match["key"] or match["quoted_key"]
        if key is not None:
            variables[key] = _expanded(_value(match), {**(outside or {}), **variables})
    return variables


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\([\\'\"abfnrtv])", lambda escape: _ESCAPES.get(escape[1], escape[1]), match["double"])
    if match["single"] is not None:
        return re.sub(r"\\([\\'])", r"\1", match["single"])
    return re.sub(r"\s+#.*", "", match["blanks"] + match["plain"]).strip()


def _expanded(value: str, known: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: known.get(found[1], found[2] or ""), value)


_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REFERENCE = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_SPACE = re.compile(r"\s*")
_BINDING = re.compile(
    r"""
    \s*
    (?:
      (?: export [^\S\r\n]+ )?
      (?: (?P<key> (?! ') [^=\#\s]+ ) | ' (?P<quoted_key> [^']+ ) ' )
      [^\S\r\n]* = (?P<blanks> [^\S\r\n]*+ )
      (?:
        (?: ' (?P<single> (?: \\[\s\S] | [^'\\] )* ) ' | " (?P<double> (?: \\[\s\S] | [^"\\] )* ) " )
        [^\S\r\n]* (?: \#[^\r\n]* )?
      | (?P<plain> (?! ['"] ) [^\r\n]* )
      )
    | \# [^\r\n]*
    |
    )
    [^\S\r\n]* (?: \r\n | \n | \r | \Z )
    """,
    re.VERBOSE,
)
