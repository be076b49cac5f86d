"""What the environment says, and what is said of an environment that cannot be understood."""

from __future__ import annotations

from typing import Any

import pytest

from lambda_ric.errors import ConfigurationError
from lambda_ric.settings import Address, Settings

# The address of the Runtime API...


@pytest.mark.parametrize(
    ("text", "host", "port", "prefix"),
    [
        ("127.0.0.1:9001", "127.0.0.1", 9001, ""),
        ("169.254.100.1:9001", "169.254.100.1", 9001, ""),
        ("sandbox.localdomain:80", "sandbox.localdomain", 80, ""),
        ("http://127.0.0.1:9000/.rt", "127.0.0.1", 9000, "/.rt"),
        ("HTTP://localhost:9000/", "localhost", 9000, ""),
        ("localhost:9000/one/two/", "localhost", 9000, "/one/two"),
        ("http://localhost", "localhost", 80, ""),
        ("[::1]:9001", "::1", 9001, ""),
    ],
)
def test_address_is_read_with_and_without_scheme_and_path(text: str, host: str, port: int, prefix: str) -> None:
    """Lambda sets host:port; proxies of extensions and other emulators add the rest. Parity 3."""
    address = Address.parse(text)

    assert (address.host, address.port, address.prefix) == (host, port, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:", ":9001", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:http", "https://127.0.0.1:9001",
        "127.0.0.1:9001?a=b", "127.0.0.1:9001/a b", "user@host:9001", "127.0.0.1:9001\n", "local host:9001",
        "[::1:9001", "höst:9001", "127.0.0.1:\u0669\u0660", "127.0.0.1:9001/ä", "a\r\nHost: b:9001",
    ],
)  # fmt: skip
def test_what_is_no_address_is_shown_with_what_is_expected(text: str) -> None:
    """Whatever stands in AWS_LAMBDA_RUNTIME_API, the refusal is clear. Parity 3."""
    with pytest.raises(ConfigurationError) as refusal:
        Address.parse(text)

    assert str(refusal.value) == (
        f"AWS_LAMBDA_RUNTIME_API={text!r} is not an address: expected host:port, such as 127.0.0.1:9001"
    )


def test_missing_address_is_explained() -> None:
    """The usual reason is that the runtime was started outside of Lambda. Parity 3."""
    with pytest.raises(ConfigurationError) as refusal:
        Address.parse("")

    assert str(refusal.value) == (
        "AWS_LAMBDA_RUNTIME_API is not set: this is a program for Lambda to start. "
        "To try a function on this machine, use: lambda-ric invoke HANDLER"
    )


def test_address_is_written_as_the_host_header_wants_it() -> None:
    """An IPv6 address stands in brackets there."""
    assert [str(Address.parse(text)) for text in ("[::1]:9001", "http://localhost:80/x")] == [
        "[::1]:9001",
        "localhost:80",
    ]


# The settings...

QUEUE = "arn:aws:sqs:eu-west-1:123456789012:tasks.fifo"
FUNCTION = "arn:aws-cn:lambda:cn-north-1:123456789012:function:shop:live"
SOURCES = "ARNs of queues or functions, separated by commas, such as arn:aws:sqs:eu-west-1:123456789012:tasks"


def test_empty_environment_gives_the_documented_defaults() -> None:
    """Defaults are a promise to users."""
    settings = Settings({})

    assert vars(settings) == {
        "runtime_api": "",
        "handler": "",
        "task_root": "",
        "memory_mb": 0,
        "snap_start": False,
        "max_concurrency": 0,
        "concurrency_mode": "",
        "log_socket": "",
        "detaches": False,
        "json_logs": False,
        "log_level": "",
        "telemetry_fd": None,
        "deadline_margin": 0.2,
        "soft_deadline": 0.4,
        "background_limit": None,
        "replaces_interrupted": True,
        "max_threads": 16,
        "orphans": "warn",
        "children": "warn",
        "recycle_after": 0,
        "recycle_above_mb": 0,
        "recycle_on_error": False,
        "recycled": "no",
        "ascii_json": False,
        "invoke_mode": "buffered",
        "metrics_namespace": "",
        "error_causes": False,
        "consume": True,
        "task_sources": (),
        "task_keys": (),
        "spans_fd": None,
        "unknown": {},
    }


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "1500", "deadline_margin", 1.5),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", " 50 ", "deadline_margin", 0.05),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "", "deadline_margin", 0.2),
        ("LAMBDA_RIC_SOFT_DEADLINE_MS", "1000", "soft_deadline", 1.0),
        ("LAMBDA_RIC_SOFT_DEADLINE_MS", "off", "soft_deadline", None),
        ("LAMBDA_RIC_SOFT_DEADLINE_MS", "OFF", "soft_deadline", None),
        ("LAMBDA_RIC_BACKGROUND_LIMIT_MS", "1500", "background_limit", 1.5),
        ("LAMBDA_RIC_BACKGROUND_LIMIT_MS", "off", "background_limit", None),
        ("LAMBDA_RIC_AFTER_TIMEOUT", "keep", "replaces_interrupted", False),
        ("LAMBDA_RIC_AFTER_TIMEOUT", "Replace", "replaces_interrupted", True),
        ("LAMBDA_RIC_MAX_THREADS", "1", "max_threads", 1),
        ("LAMBDA_RIC_ORPHANS", "Adopt", "orphans", "adopt"),
        ("LAMBDA_RIC_CHILDREN", "terminate", "children", "terminate"),
        ("LAMBDA_RIC_RECYCLE_AFTER", "1000", "recycle_after", 1000),
        ("LAMBDA_RIC_RECYCLE_AFTER", "off", "recycle_after", 0),
        ("LAMBDA_RIC_RECYCLE_ABOVE_MB", "200", "recycle_above_mb", 200),
        ("LAMBDA_RIC_RECYCLE_ABOVE_MB", "off", "recycle_above_mb", 0),
        ("LAMBDA_RIC_RECYCLE_ON_ERROR", "on", "recycle_on_error", True),
        ("LAMBDA_RIC_RECYCLED", "registered", "recycled", "registered"),
        ("LAMBDA_RIC_JSON", "ascii", "ascii_json", True),
        ("LAMBDA_RIC_INVOKE_MODE", "RESPONSE_STREAM", "invoke_mode", "response_stream"),
        ("LAMBDA_RIC_ERROR_CAUSES", "on", "error_causes", True),
        ("LAMBDA_RIC_METRICS_NAMESPACE", "shop/orders", "metrics_namespace", "shop/orders"),
        ("LAMBDA_RIC_CONSUME", "off", "consume", False),
        ("LAMBDA_RIC_TASK_SOURCES", f"{QUEUE}, {FUNCTION},", "task_sources", (QUEUE, FUNCTION)),
        ("LAMBDA_RIC_TASK_KEY", "new, old", "task_keys", (b"new", b"old")),
        ("LAMBDA_RIC_TASK_KEY", "clé", "task_keys", ("clé".encode(),)),
        ("LAMBDA_RIC_SPANS_FD", "7", "spans_fd", 7),
        ("_LAMBDA_TELEMETRY_LOG_FD", "62", "telemetry_fd", 62),
        ("_HANDLER", "app.handler", "handler", "app.handler"),
        ("LAMBDA_TASK_ROOT", "/var/task", "task_root", "/var/task"),
    ],
)
def test_setting_is_read_from_its_variable(variable: str, text: str, attribute: str, value: Any) -> None:
    """One variable, one setting. Parity 2."""
    assert getattr(Settings({variable: text}), attribute) == value


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "200ms", "a number from 0 to 900000"),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "-1", "a number from 0 to 900000"),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "900001", "a number from 0 to 900000"),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "1" * 5000, "a number from 0 to 900000"),
        ("LAMBDA_RIC_DEADLINE_MARGIN_MS", "\u0662\u0660", "a number from 0 to 900000"),
        ("LAMBDA_RIC_SOFT_DEADLINE_MS", "never", "a number from 0 to 1800000, or off"),
        ("LAMBDA_RIC_BACKGROUND_LIMIT_MS", "0", "a number from 1 to 900000, or off"),
        ("LAMBDA_RIC_MAX_THREADS", "0", "a number from 1 to 1000"),
        ("LAMBDA_RIC_ORPHANS", "kill", "warn, adopt, cancel"),
        ("LAMBDA_RIC_CHILDREN", "kill", "warn, terminate, ignore"),
        ("LAMBDA_RIC_RECYCLE_AFTER", "0", "a number from 1 to 1000000000, or off"),
        ("LAMBDA_RIC_RECYCLE_ABOVE_MB", "1GB", "a number from 1 to 1000000, or off"),
        ("LAMBDA_RIC_RECYCLE_ON_ERROR", "true", "on, off"),
        ("LAMBDA_RIC_RECYCLED", "true", "no, yes, registered"),
        ("LAMBDA_RIC_JSON", "utf-8", "utf8, ascii"),
        ("LAMBDA_RIC_INVOKE_MODE", "stream", "buffered, response_stream"),
        ("LAMBDA_RIC_ERROR_CAUSES", "true", "on, off"),
        ("LAMBDA_RIC_METRICS_NAMESPACE", "my shop", "letters, digits and ._/#:-, 255 at most"),
        ("LAMBDA_RIC_CONSUME", "no", "on, off"),
        ("LAMBDA_RIC_TASK_SOURCES", "tasks", SOURCES),
        ("LAMBDA_RIC_TASK_SOURCES", f"{QUEUE} {FUNCTION}", SOURCES),
        ("LAMBDA_RIC_TASK_SOURCES", "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks", SOURCES),
        ("LAMBDA_RIC_TASK_SOURCES", "arn:aws:sqs:eu-west-1:123456789012:*", SOURCES),
        ("LAMBDA_RIC_SPANS_FD", "stdout", "a number from 0 to 2147483647"),
        ("_LAMBDA_TELEMETRY_LOG_FD", "none", "a number from 0 to 2147483647"),
    ],
)
def test_value_that_cannot_be_understood_is_shown_with_what_is_expected(
    variable: str, text: str, expected: str
) -> None:
    """A malformed setting is an error, never a silent default."""
    with pytest.raises(ConfigurationError) as refusal:
        Settings({variable: text})

    assert str(refusal.value) == f"{variable}={text!r} is not understood: expected {expected}"


def test_key_of_nothing_but_commas_is_an_error_and_not_the_end_of_signatures() -> None:
    """Both of two secrets were not found, most likely; as ever, an empty variable is one that is not set."""
    with pytest.raises(ConfigurationError, match="LAMBDA_RIC_TASK_KEY is not understood"):
        Settings({"LAMBDA_RIC_TASK_KEY": " , "})
    assert Settings({"LAMBDA_RIC_TASK_KEY": ""}).task_keys == ()


def test_margin_moves_the_soft_deadline_along() -> None:
    """A handler is interrupted before the time of background work is over, unless the user says otherwise."""
    assert Settings({"LAMBDA_RIC_DEADLINE_MARGIN_MS": "1000"}).soft_deadline == 2.0


def test_unknown_variables_with_the_prefix_are_listed() -> None:
    """They are typing errors, most likely; those of the bootstrap script are known."""
    known = dict.fromkeys(("LAMBDA_RIC_PYTHON", "LAMBDA_RIC_EXEC_WRAPPER", "LAMBDA_RIC_MAX_THREADS", "OTHER"), "1")

    settings = Settings({**known, "LAMBDA_RIC_MAX_THREAD": "1", "LAMBDA_RIC_A": "1"})

    assert list(settings.unknown) == ["LAMBDA_RIC_A", "LAMBDA_RIC_MAX_THREAD"]
    assert settings.unknown["LAMBDA_RIC_MAX_THREAD"] == "did you mean LAMBDA_RIC_MAX_THREADS?"
    assert settings.unknown["LAMBDA_RIC_A"].startswith("there are LAMBDA_RIC_")


# ...and those of Lambda itself.


@pytest.mark.parametrize(("text", "json_logs"), [("JSON", True), ("json", True), ("Text", False), ("", False)])
def test_log_format_is_json_in_any_case_and_else_text(text: str, json_logs: bool) -> None:
    """Parity 5."""
    assert Settings({"AWS_LAMBDA_LOG_FORMAT": text}).json_logs is json_logs


@pytest.mark.parametrize(
    ("text", "level"),
    [("TRACE", "DEBUG"), ("trace", "DEBUG"), ("warn", "WARN"), ("FATAL", "FATAL"), ("Info", "INFO"), ("", "")],
)
def test_log_level_is_read_in_any_case(text: str, level: str) -> None:
    """Lambda's TRACE is Python's DEBUG, in lower case too. Parity 6."""
    assert Settings({"AWS_LAMBDA_LOG_LEVEL": text}).log_level == level


@pytest.mark.parametrize(
    ("text", "snap_start"),
    [("snap-start", True), ("on-demand", False), ("provisioned-concurrency", False), ("", False)],
)
def test_only_snap_start_waits_for_a_restore(text: str, snap_start: bool) -> None:
    """Parity 10."""
    assert Settings({"AWS_LAMBDA_INITIALIZATION_TYPE": text}).snap_start is snap_start


def test_process_that_replaces_another_waits_for_no_restore() -> None:
    """The other one has."""
    environ = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "LAMBDA_RIC_RECYCLED": "yes"}

    assert not Settings(environ).snap_start
