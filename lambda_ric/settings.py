"""
The one reader of the environment.

Every setting enters the runtime here, once, at start; the table of them, for
users, is docs/settings.md. What Lambda changes from event to event (the
function's name and version, say) is read by the context object.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # its wrapper makes enums of everything, at a cost
import os
import re
import time
from collections.abc import Mapping

from .errors import ConfigurationError

# Read by the bootstrap script before Python starts.
OF_BOOTSTRAP = {"LAMBDA_RIC_PYTHON", "LAMBDA_RIC_EXEC_WRAPPER"}


class Address:
    """Where the Runtime API is: host, port, and what comes before every path."""

    __slots__ = ("host", "port", "prefix", "text")

    def __init__(self, host: str, port: int, prefix: str = "") -> None:
        self.host: str = host
        self.port: int = port
        self.prefix: str = prefix
        self.text: str = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        Read the value of AWS_LAMBDA_RUNTIME_API.

        Lambda sets ``host:port``; proxies of extensions and other emulators
        add a scheme and a path.

        Raises:
            ConfigurationError: The text is neither, or empty.
        """
        if not text:
            raise ConfigurationError(
                "AWS_LAMBDA_RUNTIME_API is not set: this is a program for Lambda to start. "
                "To try a function on this machine, use: lambda-ric invoke HANDLER"
            )
        host, _, digits = text.partition(":")
        if text.isascii() and host.replace(".", "").isdigit() and digits.isdigit():
            match = None  # what Lambda sets: to compile the expression for the rest costs 0.5 ms of every cold start
        else:
            match = re.fullmatch(_ADDRESS, text, re.ASCII | re.IGNORECASE)
            host, digits = (match[1].strip("[]"), match[2] or "80") if match else ("", "0")
        port = int(digits) if len(digits) <= 5 else 0
        if not 0 < port < 65536:
            raise ConfigurationError(
                f"AWS_LAMBDA_RUNTIME_API={text!r} is not an address: expected host:port, such as 127.0.0.1:9001"
            )
        return cls(host, port, match[3].rstrip("/") if match else "")

    def __str__(self) -> str:
        return self.text


_ADDRESS = r"(?:http://)?(\[[0-9A-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?((?:/[\w.~%/-]*)?)"


class Start:
    """
    What the process was given, for one that replaces it: made before the function's code is loaded.

    It takes 30 µs of a cold start.
    """

    __slots__ = ("_descriptors", "_environ", "at", "directory", "signal_mask", "since_boot", "umask")

    def __init__(self) -> None:
        self.at: float = time.time()
        self.since_boot: float = time.clock_gettime(_BOOTTIME)
        """The same moment, in seconds on the clock of /proc."""
        self.directory: str = os.getcwd()
        self.umask: int = os.umask(0o077)
        os.umask(self.umask)
        self.signal_mask: set[int] = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            # As it was before sitecustomize: OpenTelemetry's, for one, takes its own directory out of PYTHONPATH.
            with open("/proc/self/environ", "rb") as file:
                self._environ = file.read()
            self._descriptors = set(os.listdir("/proc/self/fd"))
        except OSError:  # macOS
            self._environ = b"\0".join(name + b"=" + value for name, value in os.environb.items())
            self._descriptors = set()

    @property
    def environ(self) -> dict[bytes, bytes]:
        """The environment variables."""
        variables = [variable.partition(b"=") for variable in self._environ.split(b"\0")]
        return {name: value for name, equals, value in variables if equals}

    def hide_descriptors_opened_since(self) -> None:
        """Have them closed when another program takes the place of this one."""
        if self._descriptors:
            for name in set(os.listdir("/proc/self/fd")) - self._descriptors:
                try:
                    os.set_inheritable(int(name), False)
                except OSError:
                    pass  # it was that of the listing


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Settings:
    """
    What the environment says, understood.

    Raises:
        ConfigurationError: A variable cannot be understood; the text names
            it, its value and what is expected.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        read = _Reader(environ)
        self.runtime_api: str = environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self.handler: str = environ.get("_HANDLER", "")
        self.task_root: str = environ.get("LAMBDA_TASK_ROOT", "")
        memory = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.memory_mb: int = int(memory) if memory.isascii() and memory.isdigit() and len(memory) < 9 else 0
        """Zero where nobody says: then it is no limit."""
        self.recycled: str = read.choice("LAMBDA_RIC_RECYCLED", "no", ("no", "yes", "registered"))
        snap_start = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        self.snap_start: bool = snap_start and self.recycled == "no"  # the snapshot was taken of the process before

        self.max_concurrency: int = 0
        """How many events at once this environment serves, on Lambda Managed Instances; zero elsewhere."""
        self.concurrency_mode: str = ""
        self.log_socket: str = ""
        self.detaches: bool = read.choice("LAMBDA_RIC_BACKGROUND", "hold", ("hold", "detach")) == "detach"
        if "AWS_LAMBDA_MAX_CONCURRENCY" in environ:
            from .limits import MAX_INSTANCE_CONCURRENCY

            self.max_concurrency = read.number("AWS_LAMBDA_MAX_CONCURRENCY", 1, 1, MAX_INSTANCE_CONCURRENCY)
            modes = ("process", "thread", "hybrid", "async")
            self.concurrency_mode = read.choice("AWS_LAMBDA_CONCURRENCY_MODE", "", modes)
            self.log_socket = environ.get("_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET", "")

        self.json_logs: bool = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self.log_level: str = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
        self.telemetry_fd: int | None = read.descriptor("_LAMBDA_TELEMETRY_LOG_FD")

        # Seconds from here on: milliseconds are for people's eyes.
        margin_ms = read.number("LAMBDA_RIC_DEADLINE_MARGIN_MS", 200, 0, 900_000)
        self.deadline_margin: float = margin_ms / 1000
        soft_ms = read.number_or_off("LAMBDA_RIC_SOFT_DEADLINE_MS", 2 * margin_ms, 0, 1_800_000)
        self.soft_deadline: float | None = None if soft_ms is None else soft_ms / 1000
        limit_ms = read.number_or_off("LAMBDA_RIC_BACKGROUND_LIMIT_MS", 0, 1, 900_000)
        self.background_limit: float | None = limit_ms / 1000 if limit_ms else None
        after_timeout = read.choice("LAMBDA_RIC_AFTER_TIMEOUT", "replace", ("replace", "keep"))
        self.replaces_interrupted: bool = after_timeout == "replace"
        self.max_threads: int = read.number("LAMBDA_RIC_MAX_THREADS", 16, 1, 1000)
        self.orphans: str = read.choice("LAMBDA_RIC_ORPHANS", "warn", ("warn", "adopt", "cancel"))
        self.children: str = read.choice("LAMBDA_RIC_CHILDREN", "warn", ("warn", "terminate", "ignore"))
        self.recycle_after: int = read.number_or_off("LAMBDA_RIC_RECYCLE_AFTER", 0, 1, 1_000_000_000) or 0
        self.recycle_above_mb: int = read.number_or_off("LAMBDA_RIC_RECYCLE_ABOVE_MB", 0, 1, 1_000_000) or 0
        self.recycle_on_error: bool = read.choice("LAMBDA_RIC_RECYCLE_ON_ERROR", "off", ("on", "off")) == "on"
        self.ascii_json: bool = read.choice("LAMBDA_RIC_JSON", "utf8", ("utf8", "ascii")) == "ascii"
        self.invoke_mode: str = read.choice("LAMBDA_RIC_INVOKE_MODE", "buffered", ("buffered", "response_stream"))
        self.error_causes: bool = read.choice("LAMBDA_RIC_ERROR_CAUSES", "off", ("on", "off")) == "on"
        self.metrics_namespace: str = read.matching(
            "LAMBDA_RIC_METRICS_NAMESPACE", r"[\w./#:-]{1,255}", "letters, digits and ._/#:-, 255 at most"
        )
        self.consume: bool = read.choice("LAMBDA_RIC_CONSUME", "on", ("on", "off")) == "on"
        self.task_sources: tuple[str, ...] = read.arns("LAMBDA_RIC_TASK_SOURCES")
        self.task_keys: tuple[bytes, ...] = read.secrets("LAMBDA_RIC_TASK_KEY")
        self.spans_fd: int | None = read.descriptor("LAMBDA_RIC_SPANS_FD")

        known = read.asked | OF_BOOTSTRAP
        self.unknown: dict[str, str] = {
            name: _remedy(name, known)
            for name in sorted(environ)
            if name.startswith("LAMBDA_RIC_") and name not in known
        }
        """Variables with our prefix that mean nothing, typing errors most likely, and what to say of each."""


def _remedy(name: str, known: set[str]) -> str:
    """Return which of the *known* variables *name* looks like, or all that there are."""
    from difflib import get_close_matches  # only for a mistake

    names = {variable.removeprefix("LAMBDA_RIC_"): variable for variable in sorted(known) if "LAMBDA_RIC_" in variable}
    alike = get_close_matches(name.removeprefix("LAMBDA_RIC_"), names, n=1)
    return f"did you mean {names[alike[0]]}?" if alike else f"there are {', '.join(names.values())}"


_SOURCE = r"arn:[\w-]+:(?:sqs:[\w-]+:\d+:[\w.-]+|lambda:[\w-]+:\d+:function:[\w:$-]+)"


class _Reader:
    """Reads single variables, and remembers which it was asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.asked: set[str] = set()

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number, or *default* when the variable is unset or empty."""
        text = self._text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 18) or not least <= int(text) <= most:
            raise ConfigurationError(f"{name}={text!r} is not understood: expected a number from {least} to {most}")
        return int(text)

    def number_or_off(self, name: str, default: int, least: int, most: int) -> int | None:
        """Return a whole number, or None for the word ``off``."""
        if self._text(name).lower() == "off":
            return None
        try:
            return self.number(name, default, least, most)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}, or off") from None

    def matching(self, name: str, pattern: str, expected: str) -> str:
        """Return text that matches *pattern*, or an empty one when the variable is unset."""
        text = self._text(name)
        if text and not re.fullmatch(pattern, text, re.ASCII):
            raise ConfigurationError(f"{name}={text!r} is not understood: expected {expected}")
        return text

    def arns(self, name: str) -> tuple[str, ...]:
        """Return the ARNs of queues and functions in a list, separated by commas."""
        arns = tuple(self._list(name))
        if not all(re.fullmatch(_SOURCE, arn, re.ASCII) for arn in arns):
            raise ConfigurationError(
                f"{name}={self._text(name)!r} is not understood: expected ARNs of queues or functions, separated by "
                "commas, such as arn:aws:sqs:eu-west-1:123456789012:tasks"
            )
        return arns

    def secrets(self, name: str) -> tuple[bytes, ...]:
        """Return keys, separated by commas; none of them is in any message."""
        keys = tuple(key.encode("utf-8", "surrogateescape") for key in self._list(name))
        if self._text(name) and not keys:
            raise ConfigurationError(f"{name} is not understood: expected one secret or several, separated by commas")
        return keys

    def descriptor(self, name: str) -> int | None:
        """Return the number of a file descriptor, or None when the variable is unset."""
        return self.number(name, 0, 0, 2**31 - 1) if self._text(name) else None

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of *choices*, which are written in lower case."""
        text = self._text(name)
        if not text:
            return default
        if text.lower() not in choices:
            raise ConfigurationError(f"{name}={text!r} is not understood: expected {', '.join(choices)}")
        return text.lower()

    def _list(self, name: str) -> list[str]:
        return [part for part in map(str.strip, self._text(name).split(",")) if part]

    def _text(self, name: str) -> str:
        self.asked.add(name)
        return self._environ.get(name, "").strip()
