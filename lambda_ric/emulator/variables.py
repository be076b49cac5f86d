"""
Environment variables as a developer gives them: which names are allowed, and how a file of them reads.
"""

from __future__ import annotations

import re

from lambda_ric.errors import ConfigurationError

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


def check_variable(name: str, value: str) -> None:
    """
    Refuse an environment variable that Lambda would refuse.

    Raises:
        ConfigurationError: The name is reserved or has the wrong form, or the value holds a NUL.
    """
    if name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        raise ConfigurationError(f"{name} is reserved: the emulator takes it from its own environment")
    if name in RESERVED:
        raise ConfigurationError(f"{name} is reserved: Lambda, and so the emulator, sets it itself")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigurationError(
            f"{name!r} is not the name of an environment variable: letters, digits and _, a letter first"
        )
    if "\0" in value:
        raise ConfigurationError(f"the value of {name} contains a NUL character")


def read_env_file(text: str, name: str) -> dict[str, str]:
    """
    Read the ``KEY=VALUE`` lines of a file called *name*.

    Empty lines, lines that begin with ``#`` and a leading ``export`` are
    passed over. A value may stand in quotes, in double ones with the escapes
    ``\\n``, ``\\"`` and ``\\\\``; without quotes it ends before `` #``.

    Raises:
        ConfigurationError: A line has another form; the text names it.
    """
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigurationError(f"{name}, line {number}: expected KEY=VALUE, with quotes closed if any")
        key, single, double, plain = match.groups()
        if double is not None:
            plain = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], double)
        variables[key] = single if single is not None else plain
    return variables


_LINE = re.compile(
    r"""
    \s* (?: export \s+ )? ([^\s=\#'"]+) \s* = [^\S\n]*
    (?: ' ([^']*) ' (?: \s+ \#.* )? \s*
      | " ((?: [^"\\] | \\. )*) " (?: \s+ \#.* )? \s*
      | ( (?! ['"] ) .*? ) (?: (?: \s+ | (?<==) ) \#.* )? \s*
    )
    """,
    re.VERBOSE,
)
