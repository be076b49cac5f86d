"""
The one reader of the environment.

Every setting enters the runtime here, once, at start; the table of them, for
users, is docs/settings.md. What Lambda changes from event to event (the
function's name and version, say) is read by the context object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import ConfigurationError

# Read by the bootstrap script before Python starts.
OF_BOOTSTRAP = {"LAMBDA_RIC_PYTHON", "LAMBDA_RIC_EXEC_WRAPPER"}


class Address:
    """Where the Runtime API is: host, port, and what comes before every path."""

    __slots__ = ("host", "port", "prefix", "text")

    def __init__(self, host: str, port: int, prefix: str = "") -> None:
        self.host = host
        self.port = port
        self.prefix = prefix
        self.text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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


class Settings:
    """
    What the environment says, understood.

    Raises:
        ConfigurationError: A variable cannot be understood; the text names
            it, its value and what is expected.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        read = _Reader(environ)
        self.runtime_api = environ.get("AWS_LAMBDA_RUNTIME_API", "")
        self.handler = environ.get("_HANDLER", "")
        self.task_root = environ.get("LAMBDA_TASK_ROOT", "")
        self.recycled = read.choice("LAMBDA_RIC_RECYCLED", "no", ("no", "yes", "registered"))
        snap_start = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        self.snap_start = snap_start and self.recycled == "no"  # the snapshot was taken of the process before

        self.json_logs = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self.log_level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
        self.telemetry_fd = read.descriptor("_LAMBDA_TELEMETRY_LOG_FD")

        # Seconds from here on: milliseconds are for people's eyes.
        margin_ms = read.number("LAMBDA_RIC_DEADLINE_MARGIN_MS", 200, 0, 900_000)
        self.deadline_margin = margin_ms / 1000
        soft_ms = read.number_or_off("LAMBDA_RIC_SOFT_DEADLINE_MS", 2 * margin_ms, 0, 1_800_000)
        self.soft_deadline = None if soft_ms is None else soft_ms / 1000
        limit_ms = read.number_or_off("LAMBDA_RIC_BACKGROUND_LIMIT_MS", 0, 1, 900_000)
        self.background_limit = limit_ms / 1000 if limit_ms else None
        self.max_threads = read.number("LAMBDA_RIC_MAX_THREADS", 16, 1, 1000)
        self.orphans = read.choice("LAMBDA_RIC_ORPHANS", "warn", ("warn", "adopt", "cancel"))
        self.children = read.choice("LAMBDA_RIC_CHILDREN", "warn", ("warn", "terminate", "ignore"))
        self.recycle_after = read.number_or_off("LAMBDA_RIC_RECYCLE_AFTER", 0, 1, 1_000_000_000) or 0
        self.recycle_above_mb = read.number_or_off("LAMBDA_RIC_RECYCLE_ABOVE_MB", 0, 1, 1_000_000) or 0
        self.recycle_on_error = read.choice("LAMBDA_RIC_RECYCLE_ON_ERROR", "off", ("on", "off")) == "on"
        self.ascii_json = read.choice("LAMBDA_RIC_JSON", "utf8", ("utf8", "ascii")) == "ascii"
        self.invoke_mode = read.choice("LAMBDA_RIC_INVOKE_MODE", "buffered", ("buffered", "response_stream"))
        self.error_causes = read.choice("LAMBDA_RIC_ERROR_CAUSES", "off", ("on", "off")) == "on"
        self.metrics_namespace = read.matching(
            "LAMBDA_RIC_METRICS_NAMESPACE", r"[\w./#:-]{1,255}", "letters, digits and ._/#:-, 255 at most"
        )
        self.spans_fd = read.descriptor("LAMBDA_RIC_SPANS_FD")

        self.unknown = sorted(
            name
            for name in environ
            if name.startswith("LAMBDA_RIC_") and name not in read.asked and name not in OF_BOOTSTRAP
        )
        """Variables with our prefix that mean nothing: typing errors, most likely."""


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

    def _text(self, name: str) -> str:
        self.asked.add(name)
        return self._environ.get(name, "").strip()
