"""
What reaches Lambda's log: the texts of AWS's own runtime, whole events, every one with its request id.

Where a text has to be the same as that of awslambdaric, both runtimes serve
the same function, and what they write is compared.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_ric.logs import JsonFormatter
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, Serve, Served
from tests.support.fakes import Event, FakeRuntimeAPI, Request, reply

ID = "8286a188-ba32-4475-8077-530cd35c09a9"
OTHER_ID = "3f1f0b4e-9c1b-4c39-8d47-6c0a3e2f7d11"
TENANT = {"Lambda-Runtime-Aws-Tenant-Id": "blue"}
JSON = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}


def one(payload: Any = None, **headers: str) -> Event:
    """Return the event that most tests serve."""
    return Event(payload, request_id=ID, headers=headers)


def record(msg: Any = "x", **attributes: Any) -> logging.LogRecord:
    """Return a record with *attributes* besides those that every record has."""
    return logging.makeLogRecord(
        {"name": "orders", "levelno": logging.ERROR, "levelname": "ERROR", "msg": msg, **attributes}
    )


def timeless(text: str) -> str:
    """Return *text* without its points in time."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", "<time>", text)


Stock = Callable[..., str]


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    """Serve an event with awslambdaric, with *source* in the file that `serve` writes, and return its stdout."""

    def stock(source: str, event: Event, env: dict[str, str] | None = None, pass_fds: tuple[int, ...] = ()) -> str:
        (tmp_path / "app.py").write_text(textwrap.dedent(source), encoding="utf-8")
        polls: list[Request] = []

        def hang_up_after_the_first_poll(request: Request) -> bytes | None:
            polls.extend([request] if request.name == "next" else [])
            return b"" if len(polls) > 1 else None

        with FakeRuntimeAPI(event, intercept=hang_up_after_the_first_poll) as api:
            done = subprocess.run(
                [sys.executable, "-m", "awslambdaric", "app.handler"],
                cwd=tmp_path,
                env={**CLEAN_ENVIRONMENT, "AWS_LAMBDA_RUNTIME_API": api.address, **(env or {})},
                capture_output=True,
                timeout=PATIENCE,
                pass_fds=pass_fds,
                check=False,
            )
        # The last line is its native client's, about the end of the test.
        return done.stdout.decode().rpartition("[ERROR] [")[0]

    return stock


@contextlib.contextmanager
def packets() -> Iterator[tuple[int, list[bytes]]]:
    """Open a pipe that keeps writes apart (up to 4,096 bytes each); the list is complete after the block."""
    read_end, write_end = os.pipe2(os.O_DIRECT)
    received: list[bytes] = []

    def read() -> None:
        while packet := os.read(read_end, 1 << 16):
            received.append(packet)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield write_end, received
    finally:
        os.close(write_end)
        reader.join()
        os.close(read_end)


@dataclass
class Frame:
    """One frame of the telemetry descriptor."""

    kind: int
    microseconds: int
    text: str


def parse_frames(data: bytes) -> list[Frame]:
    """Take *data* apart; fails when it does not consist of whole frames."""
    frames = []
    while data:
        length = int.from_bytes(data[4:8], "big")
        kind, microseconds = int.from_bytes(data[:4], "big"), int.from_bytes(data[8:16], "big")
        assert kind >> 16 == 0xA55A, data[:40]
        assert len(data) >= 16 + length
        frames.append(Frame(kind, microseconds, data[16 : 16 + length].decode()))
        data = data[16 + length :]
    return frames


@dataclass
class Framed:
    """What a run wrote to the telemetry descriptor, and the run."""

    served: Served
    writes: list[bytes]

    @property
    def frames(self) -> list[Frame]:
        return parse_frames(b"".join(self.writes))

    @property
    def texts(self) -> list[str]:
        """The texts of the frames, without the last, about the end of the test."""
        return [frame.text for frame in self.frames][:-1]


def serve_framed(serve: Serve, source: str, *events: Event, env: dict[str, str] | None = None) -> Framed:
    with packets() as (descriptor, writes):
        served = serve(
            source,
            *events,
            env={"_LAMBDA_TELEMETRY_LOG_FD": str(descriptor), **(env or {})},
            pass_fds=(descriptor,),
        )
    return Framed(served, writes)


def logged(served: Served) -> list[str]:
    """Return the events on stdout, without the last, about the end of the test."""
    assert "end of the test" in served.lines[-1], served
    return served.lines[:-1]


# The function's own records, as text...


def test_record_is_level_time_request_id_and_message(serve: Serve, stock: Stock) -> None:
    """Parity 91. The text format of AWS's runtime, byte for byte."""
    source = """
        import logging

        def handler(event, context):
            logging.getLogger("orders").warning("order %s is late", "o-17")
            logging.getLogger().error("Zoë’s is not")
        """
    served = serve(source, one())

    assert re.fullmatch(
        r"\[WARNING\]\t20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t" + ID + "\torder o-17 is late", served.lines[0]
    )
    assert timeless("\n".join(logged(served)) + "\n") == timeless(stock(source, one()))


def test_times_are_in_utc(serve: Serve) -> None:
    """Parity 91. Whatever the function has made of TZ."""
    # Given the time, since by itself gmtime takes it from a clock that lags behind by milliseconds.
    served = serve(
        """
        import logging, time

        def handler(event, context):
            before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time()))
            logging.error("x")
            return [before, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time()))]
        """,
        one(),
        env={"TZ": "EST5"},
    )

    before, after = served.answers[0]
    assert before <= served.lines[0].split("\t")[1].split(".")[0] <= after


def test_root_logger_stays_at_warning(serve: Serve) -> None:
    """Parity 87. Without a level in the settings, informational records are not for the log."""
    served = serve(
        "import logging\ndef handler(event, context): logging.info('x'); return logging.getLogger().level", one()
    )

    assert served.answers == [logging.WARNING]
    assert logged(served) == []


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("INFO", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("info", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("WARN", ["WARNING", "ERROR", "CRITICAL"]),
        ("ERROR", ["ERROR", "CRITICAL"]),
        ("FATAL", ["CRITICAL"]),
        ("TRACE", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("NOTSET", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("VERBOSE", ["WARNING", "ERROR", "CRITICAL"]),
    ],
)
def test_log_level_of_the_settings_is_the_root_loggers(
    serve: Serve, stock: Stock, level: str, expected: list[str]
) -> None:
    """Parity 6. The table of AWS's runtime: Lambda's names and Python's."""
    source = """
        import logging

        def handler(event, context):
            for level in (10, 20, 30, 40, 50):
                logging.log(level, "x")
        """
    env = {"AWS_LAMBDA_LOG_LEVEL": level}

    served = serve(source, one(), env=env)
    levels = [line.split("\t")[0].strip("[]") for line in served.lines if line.endswith("\tx")]

    assert levels == expected
    assert timeless("".join(f"{line}\n" for line in served.lines if line.endswith("\tx"))) == timeless(
        stock(source, one(), env)
    )


def test_level_trace_in_lower_case_counts(serve: Serve) -> None:
    """Parity 6. AWS's runtime ignores it, with every other level it ignores the case."""
    source = "import logging\ndef handler(event, context): logging.debug('x')"

    assert logged(serve(source, one(), env={"AWS_LAMBDA_LOG_LEVEL": "trace"}))[0].endswith("\tx")


def test_traceback_of_a_record_is_part_of_its_event(serve: Serve) -> None:
    """Parity 92. In AWS's runtime the lines are events of their own, and the next record is glued to the last."""
    served = serve(
        """
        import logging

        def handler(event, context):
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("first")
            logging.error("second\\nline")
        """,
        one(),
    )

    first, second = logged(served)
    lines = first.split("\r")
    assert (lines[0].split("\t")[3], lines[1]) == ("first", "Traceback (most recent call last):")
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert second.split("\t")[3] == "second\rline"


def test_formatter_of_the_functions_own_makes_one_event_a_record(serve: Serve) -> None:
    """A format without a line break glues records together in AWS's runtime, and tracebacks fall apart."""
    served = serve(
        """
        import logging
        logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(aws_request_id)s %(message)s"))

        def handler(event, context):
            logging.error("first")
            logging.error("second", exc_info=ValueError("no"))
        """,
        one(),
    )

    assert logged(served) == [f"{ID} first", f"{ID} second\rValueError: no"]


# The error that ends an invocation, as text...


@pytest.mark.parametrize(
    "statement",
    ["raise ValueError('no')", "raise ValueError", "raise KeyError('missing')", "json.loads('{')", "deeper(500)"],
)
def test_uncaught_error_is_one_event(serve: Serve, stock: Stock, statement: str) -> None:
    """Parity 82. The error line of AWS's runtime, byte for byte: alarms and metric filters match it."""
    source = f"""
        import json

        def deeper(n):
            return deeper(n - 1) if n else 1 / 0

        def handler(event, context):
            {statement}
        """
    served = serve(source, one())

    assert "".join(f"{line}\n" for line in logged(served)) == stock(source, one())
    assert served.lines[0].startswith("[ERROR] ")


def test_line_breaks_in_the_message_of_an_error_do_not_split_its_event(serve: Serve) -> None:
    """Parity 83. In AWS's runtime they do."""
    (event,) = logged(serve("def handler(event, context): raise ValueError('one\\ntwo')", one()))

    assert event.startswith("[ERROR] ValueError: one\rtwo\rTraceback (most recent call last):\r\xa0\xa0File ")


def test_causes_notes_and_groups_are_told(serve: Serve) -> None:
    """Parity 74. AWS's runtime tells the last exception only."""
    (event,) = logged(
        serve(
            """
            def handler(event, context):
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    group = ExceptionGroup("both", [KeyError("a"), OSError("b")])
                    group.add_note("see the runbook")
                    raise group from error
            """,
            one(),
        )
    )

    lines = event.split("\r")
    assert "see the runbook" in lines
    assert "Caused by ZeroDivisionError: division by zero" in lines
    assert "Exception 1 of the group, KeyError: 'a'" in lines
    assert "Exception 2 of the group, OSError: b" in lines


# JSON...


def test_format_json_counts_in_any_case(serve: Serve) -> None:
    """Parity 5. AWS's console writes JSON, templates write json."""
    source = "import logging\ndef handler(event, context): logging.error('x')"

    assert serve(source, one(), env={"AWS_LAMBDA_LOG_FORMAT": "json"}).events[0]["message"] == "x"


def test_format_that_is_not_json_is_text(serve: Serve) -> None:
    """Parity 5. Whatever else it says."""
    source = "import logging\ndef handler(event, context): logging.error('x')"

    assert logged(serve(source, one(), env={"AWS_LAMBDA_LOG_FORMAT": "Text"}))[0].startswith("[ERROR]\t")


def test_json_records_have_the_keys_of_awss_runtime_in_their_order(serve: Serve, stock: Stock) -> None:
    """Parity 93, 96. None is left out, an empty string is not; a dictionary stays one unless it is a format."""
    source = """
        import logging

        def handler(event, context):
            log = logging.getLogger("orders")
            log.warning("plain %s", 1)
            log.error({"order": "o-17", "tags": ["a", None]})
            log.error("%(a)s", {"a": "b"})
            log.error("Zoë", extra={"order": 17, "nothing": None, "empty": "", "when": {1}})
            log.error("key of ours", extra={"level": "x", "timestamp": 1})
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("failed", extra={"order": 17})
        """
    served = serve(source, one(**TENANT), env=JSON)

    assert timeless("".join(f"{line}\n" for line in logged(served))) == timeless(stock(source, one(**TENANT), JSON))
    assert list(served.events[-2]) == [
        "timestamp", "level", "message", "logger", "stackTrace", "errorType", "errorMessage",
        "requestId", "location", "tenantId", "order",
    ]  # fmt: skip


def test_json_timestamps_have_milliseconds(serve: Serve) -> None:
    """Parity 94. RFC 3339, which Lambda reads; AWS's runtime tells whole seconds."""
    served = serve("import logging\ndef handler(event, context): logging.error('x'); 1 / 0", one(), env=JSON)

    for event in served.events:
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])


@pytest.mark.parametrize(
    ("level", "expected"),
    [(5, "NOTSET"), (10, "DEBUG"), (25, "INFO"), (39, "WARNING"), (50, "CRITICAL"), (1000, "CRITICAL"), (-1, "NOTSET")],
)
def test_json_level_is_the_standard_one_at_or_below_the_records(level: int, expected: str) -> None:
    """Parity 95. Lambda filters by it, and knows no others."""
    line = JsonFormatter().format(record(levelno=level, levelname="OWN"))

    assert json.loads(line)["level"] == expected


def test_formatting_does_not_change_the_record(serve: Serve) -> None:
    """Parity 95. AWS's runtime overwrites the level, which handlers that come later then see."""
    served = serve(
        """
        import logging
        seen = []

        class Later(logging.Handler):
            def emit(self, record):
                seen.append([record.levelno, record.levelname])

        logging.addLevelName(25, "NOTICE")
        logging.getLogger().addHandler(Later())

        def handler(event, context):
            logging.log(25, "x")
            return seen
        """,
        one(),
        env={**JSON, "AWS_LAMBDA_LOG_LEVEL": "INFO"},
    )

    assert served.answers == [[[25, "NOTICE"]]]
    assert served.events[0]["level"] == "INFO"


def test_json_record_tells_causes_notes_groups_and_stack(serve: Serve) -> None:
    """Parity 97. They come after the keys of AWS's runtime, and after the function's own."""
    (event, _) = serve(
        """
        import logging

        def handler(event, context):
            try:
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    group = ExceptionGroup("both", [KeyError("a")])
                    group.add_note("see the runbook")
                    raise group from error
            except ExceptionGroup:
                logging.exception("failed", extra={"order": 17}, stack_info=True)
        """,
        one(),
        env=JSON,
    ).events

    assert list(event)[-5:] == ["order", "stackInfo", "notes", "cause", "exceptions"]
    assert event["stackInfo"].startswith("Stack (most recent call last):\n")
    assert event["notes"] == ["see the runbook"]
    assert (event["cause"]["errorType"], event["cause"]["errorMessage"]) == ("ZeroDivisionError", "division by zero")
    assert event["exceptions"][0]["errorMessage"] == "'a'"


def test_json_extra_goes_before_a_key_of_ours() -> None:
    """Parity 97. What AWS's runtime does not tell must not hide what the function's code does."""
    error = ValueError("no")
    error.add_note("a note")

    line = JsonFormatter().format(record(exc_info=(ValueError, error, None), notes="the function's"))

    assert json.loads(line)["notes"] == "the function's"


def test_json_extras_are_what_the_function_gave(serve: Serve) -> None:
    """Parity 98. AWS's runtime tells taskName and asctime, too, when somebody else has set them."""
    (event, _) = serve(
        """
        import logging, sys
        earlier = logging.StreamHandler(sys.stderr)
        earlier.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger().handlers.insert(0, earlier)

        async def handler(event, context):
            logging.error("x", extra={"order": 17})
        """,
        one(),
        env=JSON,
    ).events

    assert list(event) == ["timestamp", "level", "message", "logger", "requestId", "order"]


def test_uncaught_error_as_json_has_the_keys_of_awss_runtime_in_their_order(serve: Serve, stock: Stock) -> None:
    """Parity 85. With milliseconds, and the tenant's id behind the rest."""
    source = "def handler(event, context): raise ValueError('one\\ntwo')"

    (event,) = logged(serve(source, one(**TENANT), env=JSON))
    of_stock = json.loads(stock(source, one(**TENANT), JSON))

    assert list(json.loads(event)) == [*of_stock, "tenantId"]
    assert json.loads(event) == {**of_stock, "timestamp": json.loads(event)["timestamp"], "tenantId": "blue"}
    assert re.search(r"\.\d{3}Z$", json.loads(event)["timestamp"])


class Silent:
    def __str__(self) -> str:
        raise SystemExit("no text for this")


CIRCLE: dict[str, Any] = {"name": "circle"}
CIRCLE["self"] = CIRCLE
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1, 2} - {2}, "{1}"),
        (b"bytes", "b'bytes'"),
        (Silent(), "<unprintable Silent object>"),
        ({"a": [Silent()]}, {"a": ["<unprintable Silent object>"]}),
        ({("a", 1): "b"}, {"('a', 1)": "b"}),
        ({1: {None: 2.5}}, {"1": {"null": 2.5}}),
        ({"ratio": float("nan"), "most": [float("inf")], "n": 1}, {"ratio": "nan", "most": ["inf"], "n": 1}),
        (CIRCLE, {"name": "circle", "self": str(CIRCLE)}),
        ({"huge": 10**5000}, {"huge": "<unprintable int object>"}),
        ("\ud800 Zoë", "\ud800 Zoë"),
        ({"\udcff": "\udcff"}, {"\udcff": "\udcff"}),
    ],
    ids=["set", "bytes", "unprintable", "inside", "key", "keys", "nan", "circle", "huge", "surrogate", "surrogate key"],
)
def test_json_tells_what_has_no_json_form_as_text(value: Any, expected: Any) -> None:
    """Only the part that has none, and the line stays JSON: Lambda takes any other for a text without a level."""
    line = JsonFormatter().format(record(value=value)).encode("utf-8", "backslashreplace")

    assert json.loads(line, parse_constant=pytest.fail)["value"] == expected


def test_json_of_something_far_too_deep_is_written_all_the_same() -> None:
    """A record is never lost because of what it holds."""
    line = JsonFormatter().format(record(value=DEEP))

    assert json.loads(line)["message"] == "x"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(Silent()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner),
    max_leaves=12,
)


@given(message=anything, extra=anything)
@settings(max_examples=150, deadline=None)
def test_every_record_is_one_line_of_json(message: Any, extra: Any) -> None:
    """Whatever it holds."""
    if not isinstance(message, dict):
        message = str(message) if not isinstance(message, Silent) else "x"

    line = JsonFormatter().format(record(message, extra=extra)).encode("utf-8", "backslashreplace")

    assert line.count(b"\n") == 1
    assert json.loads(line, parse_constant=pytest.fail)["logger"] == "orders"


def test_record_that_cannot_be_formatted_does_not_fail_the_invocation(serve: Serve) -> None:
    """AWS's runtime lets the TypeError out of the logging call; as everywhere in Python, it is told on stderr."""
    served = serve("import logging\ndef handler(event, context): logging.error('%d', 'x'); return 'fine'", one())

    assert served.answers == ["fine"]
    assert re.search("TypeError: .*%d.* a real number.*, not str", served.stderr)


# Which invocation a record belongs to...


def test_records_name_the_request_and_the_tenant_of_their_invocation(serve: Serve) -> None:
    """Parity 90. In threads, too, and in work after the response."""
    served = serve(
        """
        import logging, threading
        from concurrent.futures import ThreadPoolExecutor
        from lambda_ric import wait_until
        pool = ThreadPoolExecutor(1)

        async def coroutine():
            logging.error("coroutine")

        def handler(event, context):
            logging.error("handler")
            for thread in [threading.Thread(target=logging.error, args=("thread",))]:
                thread.start()
                thread.join()
            pool.submit(logging.error, "pool").result()
            wait_until(logging.error, "function")
            wait_until(coroutine())
        """,
        Event(request_id=ID, headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"}),
        Event(request_id=OTHER_ID, headers={"Lambda-Runtime-Aws-Tenant-Id": "green"}),
        env={**JSON, "AWS_LAMBDA_LOG_LEVEL": "WARN"},
    )

    told = [(event["message"], event["requestId"], event["tenantId"]) for event in served.events[:-1]]
    names = ("handler", "thread", "pool", "function", "coroutine")
    assert sorted(told) == sorted((name, *who) for who in ((ID, "blue"), (OTHER_ID, "green")) for name in names)


def test_thread_that_outlives_its_invocation_keeps_its_request_id(serve: Serve) -> None:
    """Parity 90. AWS's runtime has one variable for all, so such a record names somebody else's request."""
    served = serve(
        """
        import logging, threading
        go_on = threading.Event()
        threads = []

        def work():
            go_on.wait()
            logging.error("from the first")

        def handler(event, context):
            if not threads:
                threads.append(threading.Thread(target=work))
                threads[0].start()
            else:
                go_on.set()
                threads[0].join()
                logging.error("from the second")
        """,
        Event(request_id=ID),
        Event(request_id=OTHER_ID),
    )

    # Where the thread is slow to begin to wait, it is named as one that is still at work.
    records = [line.split("\t")[2:] for line in logged(served) if "is still at work" not in line]
    assert records == [[ID, "from the first"], [OTHER_ID, "from the second"]]


HANDED_ON = {
    "queue": "QueueHandler(records)",
    "memory": "MemoryHandler(1000, 100, target=ours)",
}


@pytest.mark.parametrize("format", ["Text", "JSON"])
@pytest.mark.parametrize("handed_on", HANDED_ON.values(), ids=HANDED_ON)
def test_record_belongs_to_the_invocation_in_which_it_was_made(serve: Serve, handed_on: str, format: str) -> None:
    """Whoever hands it on, and handles it in another thread or another invocation."""
    served = serve(
        f"""
        import logging, queue
        from logging.handlers import MemoryHandler, QueueHandler, QueueListener

        records = queue.Queue()
        (ours,) = logging.getLogger().handlers
        listener = QueueListener(records, ours)
        logging.getLogger().handlers = [{handed_on}]

        def handler(event, context):
            logging.error("made in %s.", context.aws_request_id)
            if event == "handle":
                logging.getLogger().handlers[0].flush()
                listener.start()
                listener.stop()
        """,
        "make",
        "handle",
        env={"AWS_LAMBDA_LOG_FORMAT": format},
    )

    made = [line for line in served.lines if "made in" in line]
    assert len(made) == 2
    for line, event in zip(made, served.api.events, strict=True):
        assert line.count(event.request_id) == 2


def test_extra_of_a_record_may_have_the_names_of_our_attributes(serve: Serve) -> None:
    """Functions that pass the request id themselves are not refused."""
    served = serve(
        """
        import logging

        def handler(event, context):
            logging.error("x", extra={"aws_request_id": context.aws_request_id, "tenant_id": "blue"})
        """,
        one(),
    )

    assert logged(served)[0].split("\t")[2:] == [ID, "x"]


def test_record_of_another_process_may_be_pickled(serve: Serve) -> None:
    """What notes the invocation is text."""
    served = serve(
        """
        import logging, logging.handlers, multiprocessing

        def work(records):
            logging.getLogger().handlers = [logging.handlers.QueueHandler(records)]
            logging.error("from the child")

        def handler(event, context):
            fork = multiprocessing.get_context("fork")
            records = fork.Queue()
            child = fork.Process(target=work, args=(records,))
            child.start()
            logging.getLogger().handle(records.get(timeout=20))
            child.join()
        """,
        one(),
    )

    assert [line.split("\t")[2:] for line in served.lines if "child" in line] == [[ID, "from the child"]]


@pytest.mark.parametrize("started", ["at import", "in an on_startup hook", "by the module _thread"])
def test_worker_that_belongs_to_no_invocation_works_for_the_one_that_is_served(serve: Serve, started: str) -> None:
    """A thread as old as the process, fed through a queue."""
    served = serve(
        f"""
        import _thread, logging, queue, threading
        from lambda_ric import on_startup

        jobs = queue.Queue()

        def work():
            while True:
                logging.error("worked in %s.", jobs.get())
                jobs.task_done()

        def start():
            threading.Thread(target=work, daemon=True).start()

        if {started!r} == "at import":
            start()
        elif {started!r} == "in an on_startup hook":
            on_startup(start)

        def handler(event, context):
            if {started!r} == "by the module _thread" and event == "first":
                _thread.start_new_thread(work, ())
            jobs.put(context.aws_request_id)
            jobs.join()
        """,
        "first",
        "second",
    )

    worked = [line for line in served.lines if "worked in" in line]
    assert [line.count(event.request_id) for line, event in zip(worked, served.api.events, strict=True)] == [2, 2]


def test_record_outside_of_any_invocation_has_an_empty_request_id(serve: Serve) -> None:
    """Parity 90. The attribute is there, so that formats may name it."""
    served = serve("import logging\nlogging.error('init')\ndef handler(event, context): pass", one())

    assert logged(served)[0].split("\t")[2:] == ["", "init"]


# What others rely on...


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, "LambdaLoggerHandler"),
        ({"AWS_LAMBDA_LOG_LEVEL": "INFO"}, "LambdaLoggerHandlerWithFrameType"),
        (JSON, "LambdaLoggerHandlerWithFrameType"),
    ],
    ids=str,
)
def test_root_logger_has_the_handler_that_others_know(serve: Serve, env: dict[str, str], name: str) -> None:
    """Parity 86, 139. Datadog replaces the formatter of a handler of that name; others write to its log_sink."""
    served = serve(
        """
        import logging

        def handler(event, context):
            (handler,) = logging.getLogger().handlers
            handler.log_sink.log("through the sink\\n")
            return type(handler).__name__
        """,
        one(),
        env=env,
    )

    assert served.answers == [name]
    assert served.lines[0] == "through the sink"


def test_basic_config_does_nothing(serve: Serve) -> None:
    """Parity 88. The root logger has a handler."""
    served = serve(
        """
        import logging
        logging.basicConfig(level=logging.DEBUG, format="%(message)s")

        def handler(event, context):
            logging.error("x")
            return logging.getLogger().level
        """,
        one(),
    )

    assert served.answers == [logging.WARNING]
    assert logged(served)[0].startswith("[ERROR]\t")


def test_forced_basic_config_loses_no_record(serve: Serve) -> None:
    """Parity 88. The function's own handler writes the runtime's records as well, and the error line stays."""
    served = serve(
        """
        import logging, sys
        from lambda_ric import wait_until
        logging.basicConfig(level=logging.INFO, format="OWN %(message)s", force=True)

        def handler(event, context):
            logging.info("x")
            wait_until(int, "no number")
            raise ValueError("no")
        """,
        one(),
    )

    events = [line for line in served.stderr.splitlines() if line.startswith("OWN")]
    assert events[:2] == ["OWN x", "OWN background task int failed"]
    assert served.lines[0].startswith("[ERROR] ValueError: no\r")
    assert served.lines[1].startswith("BACKGROUND")


def test_other_formatters_keep_their_clock(serve: Serve) -> None:
    """Parity 89. AWS's runtime turns every formatter of the process to UTC."""
    served = serve(
        """
        import logging, time

        def handler(event, context):
            return logging.Formatter.converter is time.localtime
        """,
        one(),
    )

    assert served.answers == [True]


def test_context_log_writes_its_text_as_it_is(serve: Serve, stock: Stock) -> None:
    """Parity 110, 146. No level, no request id, no line break."""
    source = """
        def handler(event, context):
            context.log("one ")
            context.log("line\\n")
            context.log(17)
            context.log("\\n")
        """
    served = serve(source, one())

    assert logged(served) == ["one line", "17"]
    assert "".join(f"{line}\n" for line in logged(served)) == stock(source, one())


def test_runtime_itself_writes_no_start_end_or_report(serve: Serve) -> None:
    """Parity 102. Lambda does, or an emulator."""
    served = serve("def handler(event, context): pass", one())

    assert (logged(served), served.stderr) == ([], "")


def test_what_the_runtime_says_itself_is_a_record(serve: Serve) -> None:
    """Parity 103. Of AWS's runtime they are bare lines without a request id."""

    def refuse(request: Request) -> bytes | None:
        return reply(413, b"too large") if request.name == "response" else None

    (event,) = logged(serve("def handler(event, context): pass", one(), intercept=refuse))

    assert event.split("\t")[::2] == ["[ERROR]", ID]
    assert "413" in event


def test_summary_of_background_work_respects_the_level(serve: Serve) -> None:
    """It is informational when all went well, a warning otherwise."""
    source = """
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(int, event)
        """
    served = serve(source, "17", "no number", env={"AWS_LAMBDA_LOG_LEVEL": "WARN"})

    assert [summary.split("\t")[2:] for summary in served.summaries] == [
        ["Tasks: 1", "Succeeded: 0", "Failed: 1 (int)"]
    ]


def test_summary_of_background_work_as_json(serve: Serve) -> None:
    """One object, under keys that can be queried."""
    source = """
        from lambda_ric import wait_until

        def handler(event, context):
            wait_until(int, "17")
            wait_until(int, "no number")
        """
    summary = next(event for event in serve(source, one(), env=JSON).events if event["message"] == "BACKGROUND")

    assert (summary["level"], summary["requestId"]) == ("WARNING", ID)
    assert summary["background"] | {"durationMs": 0} == {
        "durationMs": 0, "tasks": 2, "succeeded": 1, "overflowed": 0, "unconfirmed": 0, "failed": 1, "cancelled": 0,
        "abandoned": 0, "dropped": 0,
        "names": {"failed": ["int"]},
    }  # fmt: skip


# Frames...


@pytest.mark.parametrize("env", [{}, {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, JSON], ids=str)
def test_frames_are_those_of_awss_runtime(serve: Serve, stock: Stock, env: dict[str, str]) -> None:
    """Parity 84, 99, 100. Types, lengths and texts, of every level, of an error, and of a record that has a type."""
    source = """
        import logging

        def handler(event, context):
            for level in (5, 10, 20, 30, 40, 50):
                logging.getLogger("orders").log(level, "Zoë is at %s", level)
            logging.error("two\\nlines")
            context.log("as it is")
            raise ValueError("no")
        """
    ours = serve_framed(serve, source, one(), env=env).frames[:-1]
    with packets() as (descriptor, writes):
        stock(source, one(), {"_LAMBDA_TELEMETRY_LOG_FD": str(descriptor), **env}, pass_fds=(descriptor,))
    theirs = parse_frames(b"".join(writes))

    assert [(hex(frame.kind), timeless(frame.text)) for frame in ours] == [
        (hex(frame.kind), timeless(frame.text)) for frame in theirs
    ]
    assert abs(ours[0].microseconds - theirs[0].microseconds) < 60_000_000


@pytest.mark.parametrize("env", [{"AWS_LAMBDA_LOG_LEVEL": "DEBUG"}, JSON], ids=str)
def test_frame_type_of_a_record_goes_before_that_of_its_level(serve: Serve, env: dict[str, str]) -> None:
    """Parity 100. A record says so in its attribute _frame_type."""
    source = """
        import logging

        def handler(event, context):
            logging.error("x", extra={"_frame_type": bytes.fromhex("a55a0007")})
        """

    assert serve_framed(serve, source, one(), env=env).frames[0].kind == 0xA55A0007


def test_printed_lines_are_framed(serve: Serve) -> None:
    """Parity 101. Of stdout and stderr, one frame a line; AWS's runtime writes them past the descriptor."""
    framed = serve_framed(
        serve,
        """
        import sys

        def handler(event, context):
            print("one", 1)
            print("two\\nthree")
            print("four", file=sys.stderr)
            sys.stdout.write("five\\nsix\\n")
            print("seven", end="")
        """,
        one(),
    )

    assert framed.texts == ["one 1\n", "two\n", "three\n", "four\n", "five\n", "six\n", "seven\n"]
    assert {frame.kind for frame in framed.frames[:-1]} == {0xA55A0003}
    assert (framed.served.stdout, framed.served.stderr) == ("", "")


def test_frame_is_one_write(serve: Serve) -> None:
    """Parity 99. However many lines it has."""
    framed = serve_framed(serve, "def handler(event, context): print('x'); raise ValueError('one\\ntwo')", one())

    assert [parse_frames(write)[0].text.split("\n")[:2] for write in framed.writes[:2]] == [
        ["x", ""],
        ["[ERROR] ValueError: one", "two"],
    ]


def test_descriptor_for_frames_stays_with_the_runtime(serve: Serve) -> None:
    """Parity 7. Its variable is removed, and no child process inherits it."""
    framed = serve_framed(
        serve,
        """
        import os, subprocess

        def handler(event, context):
            listed = subprocess.run(["ls", "/proc/self/fd"], close_fds=False, capture_output=True, check=True)
            return ["_LAMBDA_TELEMETRY_LOG_FD" in os.environ, listed.stdout.decode().split()]
        """,
        one(),
    )

    known, inherited = framed.served.answers[0]
    assert known is False
    assert not set(inherited) - {"0", "1", "2", "3"}


def test_descriptor_for_frames_that_is_closed_is_replaced_by_stdout(serve: Serve) -> None:
    """A wrapper that starts the runtime may have closed it; nothing is lost."""
    served = serve(
        "import logging\ndef handler(event, context): logging.error('x')", one(), env={"_LAMBDA_TELEMETRY_LOG_FD": "99"}
    )

    assert logged(served)[0].endswith(f"\t{ID}\tx")


# Whole lines...


def test_print_is_one_write(serve: Serve) -> None:
    """Parity 15. In AWS's runtime each argument, blank and line break is one, and other processes get in between."""
    with packets() as (descriptor, writes):
        serve(
            """
            import logging, os
            os.dup2(int(os.environ["OUT"]), 1)

            def handler(event, context):
                print("a", "b", 17)
                print("two\\nlines")
                logging.error("x")
            """,
            one(),
            env={"OUT": str(descriptor)},
            pass_fds=(descriptor,),
        )

    # What a line break ends is written with it: the line that follows is known only when print comes to its end.
    assert writes[:3] == [b"a b 17\n", b"two\n", b"lines\n"]
    assert writes[3].endswith(b"\tx\n")


BUSY = """
    import logging, sys, threading

    def work(number):
        for i in range(200):
            print("print", number, i, "p" * (i * number % 7 * 40))
            logging.error("log %s %s %s", number, i, "l" * 300)
            sys.stderr.write(f"stderr {number} {i}\\n")
        print("p" * 300_000)

    def handler(event, context):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """


def test_lines_of_many_threads_never_mix(serve: Serve) -> None:
    """Parity 15. Every line is whole, and there once."""
    served = serve(BUSY, one())

    expected = [f"print {n} {i} {'p' * (i * n % 7 * 40)}" for n in range(8) for i in range(200)]
    expected += [f"log {n} {i} {'l' * 300}" for n in range(8) for i in range(200)] + ["p" * 300_000] * 8
    assert sorted(line.rpartition("\t")[2] for line in logged(served)) == sorted(expected)
    assert sorted(served.stderr.splitlines()) == sorted(f"stderr {n} {i}" for n in range(8) for i in range(200))


def test_frames_of_many_threads_never_mix(serve: Serve) -> None:
    """Parity 101. Not even those that do not fit into the pipe at once."""
    source = BUSY.replace('"l" * 300', '"l" * 100_000').replace("range(200)", "range(15)")

    texts = serve_framed(serve, source, one()).texts
    kinds = Counter(text.rpartition("\t")[2].split()[0] for text in texts)

    assert kinds == {"print": 120, "log": 120, "stderr": 120, "p" * 300_000: 8}


def test_text_without_a_line_break_ends_with_its_invocation(serve: Serve) -> None:
    """It comes out before the next event is asked for, and the next invocation's lines are not glued to it."""
    served = serve(
        """
        import sys, threading

        def handler(event, context):
            print("printed", event, end="")
            sys.stderr.write(f"written {event}")
            thread = threading.Thread(target=sys.stdout.write, args=(f"by a thread {event}",))
            thread.start()
            thread.join()
        """,
        1,
        2,
    )

    assert logged(served) == ["printed 1", "by a thread 1", "printed 2", "by a thread 2"]
    assert served.stderr == "written 1\nwritten 2\n"


def test_what_was_printed_is_written_before_the_next_poll(serve: Serve) -> None:
    """What is left in a buffer would come out in another invocation, after the environment was frozen."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    at_the_polls = []

    def look(request: Request) -> bytes | None:
        if request.name == "next":
            try:
                at_the_polls.append(os.read(read_end, 4096))
            except BlockingIOError:
                at_the_polls.append(b"")
        return None

    serve(
        """
        import os, sys
        os.dup2(int(os.environ["OUT"]), 1)

        def handler(event, context):
            print("printed")
            print("past the runtime", file=sys.__stdout__)
            if event == "buffer":
                sys.stdout.buffer.write(b"to the buffer\\n")
        """,
        "print",
        "buffer",
        env={"OUT": str(write_end)},
        pass_fds=(write_end,),
        intercept=look,
    )
    os.close(write_end)
    os.close(read_end)

    printed = b"printed\npast the runtime\n"
    assert at_the_polls == [b"", printed, printed + b"to the buffer\n"]


def test_flushed_half_of_a_line_is_not_glued_to_an_event(serve: Serve) -> None:
    """The function asked for it to be written; the event that follows is one all the same."""
    served = serve(
        """
        import logging

        def handler(event, context):
            print("half", end="", flush=True)
            print(" of a line")
            print("Progress: 10 %", end="", flush=True)
            logging.error("x")
            print(", 20 %")
            print("until the end", end="", flush=True)
        """,
        1,
        2,
    )

    once = ["half of a line", "Progress: 10 %", "x", ", 20 %", "until the end"]
    assert [line.rpartition("\t")[2] for line in logged(served)] == once * 2


def test_bytes_written_to_the_buffer_keep_their_place(serve: Serve) -> None:
    """`sys.stdout.buffer` is the stream's own."""
    served = serve(
        """
        import sys

        def handler(event, context):
            print("first")
            sys.stdout.buffer.write(b"second\\n")
            print("third")
        """,
        one(),
    )

    assert logged(served) == ["first", "second", "third"]


def test_characters_without_utf_8_are_escaped(serve: Serve) -> None:
    """A file name that is not UTF-8 must not fail an invocation because it was printed."""
    served = serve(
        "import logging\ndef handler(event, context): print('Zoë \\udcff'); logging.error('\\ud800')",
        one(),
        env={"LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    )

    assert [line.rpartition("\t")[2] for line in logged(served)] == ["Zoë \\udcff", "\\ud800"]


def test_standard_streams_look_like_streams(serve: Serve) -> None:
    """Libraries ask for these attributes; closing one only ends what is written to it so far."""
    served = serve(
        """
        import sys

        def handler(event, context):
            with sys.stdout as stream:
                stream.writelines(["one\\n", "two\\n"])
            return [stream.encoding, stream.errors, stream.fileno(), stream.isatty(), stream.writable(), stream.name]
        """,
        1,
        2,
    )

    assert served.answers == [["utf-8", "backslashreplace", 1, False, True, "<stdout>"]] * 2
    assert logged(served) == ["one", "two"] * 2


def test_text_stream_of_the_functions_own_can_be_put_upon_the_binary_one(serve: Serve) -> None:
    """An old way to choose the encoding; nothing is lost or out of place."""
    served = serve(
        """
        import io, sys
        print("one ", end="")
        sys.stdout = io.TextIOWrapper(sys.stdout.detach(), "utf-8")

        def handler(event, context):
            print("line")
        """,
        1,
        2,
    )

    assert logged(served) == ["one line", "line"]


# Streams that the function took away, and handlers that it brought...


@pytest.mark.parametrize("stderr", ["sys.stderr", "None", "Broken()"])
def test_handler_that_raises_does_not_stop_what_the_runtime_has_to_say(serve: Serve, stderr: str) -> None:
    """A log library of the function's own may fail; the work goes on, and both are told."""
    served = serve(
        f"""
        import logging, sys
        from lambda_ric import wait_until

        class Raising(logging.Handler):
            def emit(self, record):
                raise RuntimeError("the log server has gone")

        class Broken:
            def write(self, text):
                raise RuntimeError("no")
            flush = write

        logging.getLogger().handlers = [Raising()]
        sys.stderr = {stderr}

        def handler(event, context):
            wait_until(int, "no number")
            wait_until(print, "done", event)
        """,
        1,
        2,
    )

    assert [line for line in served.lines if line.startswith("done")] == ["done 1", "done 2"]
    assert served.stdout.count("background task int failed\r") == 2
    assert "RuntimeError: the log server has gone" in served.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "sys.stdout.close()",
        "sys.__stdout__.close()",
        "sys.stdout = None",
        "sys.stdout = object()",
        "sys.stdout = open(os.devnull)",
        "sys.stdout = io.BytesIO()",
        "sys.stdout = Broken()",
        "sys.stdout = sys.stderr = None",
        "os.dup2(closed_pipe(), 1)",
        "os.dup2(closed_pipe(), 1); os.dup2(closed_pipe(), 2)",
    ],
)
@pytest.mark.parametrize("env", [{}, JSON], ids=["text", "JSON"])
def test_loop_goes_on_without_a_standard_stream(serve: Serve, statement: str, env: dict[str, str]) -> None:
    """What cannot be logged must not cost the caller an answer, nor the next one a cold start."""
    served = serve(
        f"""
        import io, logging, os, sys
        from lambda_ric import wait_until

        class Broken:
            def write(self, text):
                raise RuntimeError("no")
            def flush(self):
                raise RuntimeError("no")

        def closed_pipe():
            read_end, write_end = os.pipe()
            os.close(read_end)
            return write_end

        def handler(event, context):
            if event == 1:
                {statement}
            logging.error("logged")
            wait_until(int, "no number")
            if event == 2:
                raise ValueError("no")
            return event
        """,
        1,
        2,
        3,
        env=env,
    )

    assert [(post.name, post.json() if post.name == "response" else None) for post in served.posts] == [
        ("response", 1),
        ("error", None),
        ("response", 3),
    ]


def test_events_go_to_stderr_when_stdout_is_closed(serve: Serve) -> None:
    """Lambda reads both streams."""
    served = serve(
        """
        import logging, os
        read_end, write_end = os.pipe()
        os.close(read_end)
        os.dup2(write_end, 1)

        def handler(event, context):
            logging.error("logged")
            raise ValueError("no")
        """,
        one(),
    )

    assert [line.rpartition("\t")[2].partition("\r")[0] for line in served.stderr.splitlines()][:2] == [
        "logged",
        "[ERROR] ValueError: no",
    ]


def test_replaced_stdout_gets_the_events(serve: Serve) -> None:
    """As with AWS's runtime: tests and libraries capture the log in this way."""
    served = serve(
        """
        import contextlib, io, logging

        def handler(event, context):
            with contextlib.redirect_stdout(io.StringIO()) as captured:
                print("printed")
                logging.error("logged")
            return captured.getvalue()
        """,
        one(),
    )

    assert served.answers[0].splitlines()[0] == "printed"
    assert served.answers[0].endswith(f"\t{ID}\tlogged\n")
    assert logged(served) == []


def test_text_held_back_is_written_when_stdout_was_replaced(serve: Serve) -> None:
    """The runtime's own stream is ended, whatever stands in its place."""
    served = serve(
        """
        import io, sys

        def handler(event, context):
            print("open end", end="")
            sys.stdout = io.StringIO()
        """,
        one(),
    )

    assert logged(served) == ["open end"]


def test_full_pipe_makes_the_function_wait_and_loses_nothing(serve: Serve) -> None:
    """Also when something has made it non-blocking, as asyncio does with a pipe that it writes to."""
    served = serve(
        """
        import os

        def handler(event, context):
            os.set_blocking(1, False)
            for number in range(20):
                print(number, "x" * 100_000)
        """,
        one(),
    )

    assert logged(served) == [f"{number} {'x' * 100_000}" for number in range(20)]


def test_child_processes_can_print_while_threads_of_the_parent_do(serve: Serve) -> None:
    """A lock that another thread holds at the fork would never be released in the child."""
    served = serve(
        """
        import os, threading

        def handler(event, context):
            over = threading.Event()

            def chatter():
                while not over.is_set():
                    print("c" * 2000)

            threads = [threading.Thread(target=chatter) for _ in range(3)]
            for thread in threads:
                thread.start()
            print("parent ", end="")
            codes = []
            for number in range(15):
                child = os.fork()
                if child == 0:
                    print("child", number)
                    os._exit(0)
                codes.append(os.waitpid(child, 0)[1])
            over.set()
            for thread in threads:
                thread.join()
            print("end")
            return codes
        """,
        one(),
    )

    assert served.answers == [[0] * 15]
    assert [line for line in logged(served) if line != "c" * 2000] == [f"child {n}" for n in range(15)] + ["parent end"]


def test_signal_handler_may_print(serve: Serve) -> None:
    """Even when it comes in the middle of a print; a plain stream raises a RuntimeError at times."""
    served = serve(
        """
        import signal

        def handler(event, context):
            signal.signal(signal.SIGVTALRM, lambda *_: print("s", end=""))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
            for number in range(20_000):
                print("x" * 50)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        """,
        one(),
    )

    assert [line.replace("s", "") for line in logged(served) if line != "s"] == ["x" * 50] * 20_000
