"""The runtime's own records: in the log whatever the function does to logging, and heard by its handlers."""

from __future__ import annotations

import json
import logging
import sys
import threading

import pytest

from lambda_ric.process.log_listeners import LogListeners
from tests.conftest import Serve
from tests.support.fakes import Event, Request, reply

FAILED = "background task int failed"

# Everything that makes the function's own records disappear.
SILENCED = {
    "dictConfig": "logging.config.dictConfig({'version': 1})",
    "dictConfig with a null handler": """logging.config.dictConfig(
            {"version": 1, "handlers": {"none": {"class": "logging.NullHandler"}}, "root": {"handlers": ["none"]}})""",
    "dictConfig with a file": """logging.config.dictConfig(
            {"version": 1, "handlers": {"file": {"class": "logging.FileHandler", "filename": "own.log"}},
             "root": {"handlers": ["file"]}})""",
    "fileConfig": """logging.config.fileConfig(io.StringIO(
            "[loggers]\\nkeys=root\\n[handlers]\\nkeys=h\\n[formatters]\\nkeys=\\n"
            "[logger_root]\\nhandlers=h\\n[handler_h]\\nclass=NullHandler\\nargs=()\\n"))""",
    "disable": "logging.disable(logging.CRITICAL)",
    "level of the root": "logging.getLogger().setLevel(100)",
    "level of our loggers": "logging.getLogger('lambda_ric').setLevel(100)",
    "level of our handler": "logging.getLogger().handlers[0].setLevel(100)",
    "level of a console": "console().setLevel(100)",
    "filter of our handler": "logging.getLogger().handlers[0].addFilter(lambda record: False)",
    "filter of a console": "console().addFilter(lambda record: False)",
    "filter of our loggers": "[logging.getLogger(name).addFilter(lambda _: False) for name in ours()]",
    "filter that raises": "[logging.getLogger(name).addFilter(lambda _: 1 / 0) for name in ours()]",
    "no handler": "logging.getLogger().handlers.clear()",
    "no way up": "logging.getLogger('lambda_ric').propagate = False",
    "disabled loggers": "[setattr(logging.getLogger(name), 'disabled', True) for name in ours()]",
    "a formatter that raises": "logging.getLogger().handlers[0].setFormatter(logging.Formatter('%(missing)s'))",
    "a console's formatter that raises": "logging.basicConfig(force=True, format='%(missing)s')",
    "a factory that raises": "logging.setLogRecordFactory(lambda *args, **kwargs: 1 / 0)",
    "a factory that exits": "logging.setLogRecordFactory(lambda *args, **kwargs: sys.exit(1))",
    "a filter that exits": "[logging.getLogger(name).addFilter(lambda _: sys.exit(1)) for name in ours()]",
    "a formatter that exits": "logging.getLogger().handlers[0].format = lambda record: sys.exit(1)",
    "a console's formatter that exits": "console().format = lambda record: sys.exit(1)",
    "stdout put away": "sys.stdout = io.StringIO()",
    "both streams put away": "sys.stdout = sys.stderr = open(os.devnull, 'w')",
    "a queue that nobody empties": "logging.getLogger().handlers = [logging.handlers.QueueHandler(queue.Queue())]",
    "a memory handler": "logging.getLogger().handlers = [logging.handlers.MemoryHandler(1000, 100)]",
    "a handler that raises": "logging.getLogger().handlers = [Raising()]",
    "a handler that hangs": "logging.getLogger().handlers = [Hanging()]",
    "a handler that exits": "logging.getLogger().handlers = [Exiting()]",
}

SOURCE = """
        import io, logging, logging.config, logging.handlers, os, queue, sys, threading
        from lambda_ric import wait_until

        class Raising(logging.Handler):
            def emit(self, record):
                raise RuntimeError("the log server has gone")

        class Hanging(logging.Handler):
            def emit(self, record):
                threading.Event().wait()

        class Exiting(logging.Handler):
            def emit(self, record):
                sys.exit("no log, no service")

        def console():
            logging.basicConfig(force=True)
            return logging.getLogger().handlers[0]

        def ours():
            return [name for name in logging.root.manager.loggerDict if name.startswith("lambda_ric.")]

        def handler(event, context):
            if event == "silence":
                {silence}
            wait_until(int, "no number")
            thread = threading.Thread(target=int, args=("no number",))
            thread.start()
            thread.join()
"""


@pytest.mark.parametrize("silence", SILENCED.values(), ids=SILENCED)
@pytest.mark.parametrize("format", ["Text", "JSON"])
def test_own_records_are_written_whatever_the_function_does_to_logging(serve: Serve, silence: str, format: str) -> None:
    """Once each, with the traceback, in the log's format: of background work, of a thread, of an answer refused."""

    def refuse(request: Request) -> bytes | None:
        return reply(413, b"too large") if request.name == "response" else None

    served = serve(
        SOURCE.format(silence=silence),
        "silence",
        "work",
        intercept=refuse,
        env={"AWS_LAMBDA_LOG_FORMAT": format},
    )

    assert len(served.posts) == 2
    for text in (FAILED, "exception in thread", "posting the response failed"):
        lines = [line for line in served.lines if text in line]
        assert len(lines) == 2, served
        for line, event in zip(lines, served.api.events, strict=True):
            assert event.request_id in line
            assert ("ValueError" in line) == ("failed" not in text or text == FAILED)
            assert format == "Text" or json.loads(line)["level"] == "ERROR"


@pytest.mark.parametrize("level", ["ERROR", "FATAL"])
def test_level_that_lambda_sets_holds_for_own_records_too(serve: Serve, level: str) -> None:
    """AWS_LAMBDA_LOG_LEVEL is the platform's word, and says what the log is to have."""
    served = serve(SOURCE.format(silence="pass"), "work", env={"AWS_LAMBDA_LOG_LEVEL": level})

    assert (FAILED in served.stdout) == (level == "ERROR")


HEARING = {
    "of the root": "logging.getLogger().addHandler(Hearing())",
    "in place of ours": "logging.getLogger().handlers = [Hearing()]",
    "of our loggers": "logging.getLogger('lambda_ric').addHandler(Hearing())",
    "in Logger.callHandlers": "replace_call_handlers()",
    "behind a queue": "behind_a_queue()",
}


@pytest.mark.parametrize("hear", HEARING.values(), ids=HEARING)
def test_handlers_of_the_function_hear_of_own_records_once(serve: Serve, hear: str) -> None:
    """With what a record has, in the context of the code that is told of, and before the next event is asked for."""
    served = serve(
        f"""
        import logging, logging.handlers, queue
        from contextvars import ContextVar
        from lambda_ric import wait_until

        scope = ContextVar("scope", default=None)
        heard = []
        records = queue.Queue()

        class Hearing(logging.Handler):
            def emit(self, record):
                heard.append([record.name, record.getMessage(), record.exc_info[0].__name__, scope.get()])

        def replace_call_handlers():
            call_handlers = logging.Logger.callHandlers
            def hearing(self, record):
                call_handlers(self, record)
                Hearing().emit(record)
            logging.Logger.callHandlers = hearing

        def behind_a_queue():
            ours = logging.getLogger().handlers[0]
            logging.handlers.QueueListener(records, Telling(), ours).start()
            logging.getLogger().handlers = [Carrying(records)]

        class Carrying(logging.handlers.QueueHandler):
            def prepare(self, record):
                record.scope = scope.get()
                return record

        class Telling(logging.Handler):
            def emit(self, record):
                heard.append([record.name, record.getMessage(), record.exc_info[0].__name__, record.scope])

        {hear}

        def handler(event, context):
            records.join()
            told, heard[:] = [*heard], []
            scope.set(event)
            wait_until(int, "no number")
            return told
        """,
        "first",
        "second",
        "third",
    )

    assert served.answers[1:] == [
        [["lambda_ric.background", FAILED, "ValueError", "first"]],
        [["lambda_ric.background", FAILED, "ValueError", "second"]],
    ]
    assert served.stdout.count(FAILED) == 3


@pytest.mark.parametrize("stream", ["sys.stdout", "sys.stderr"])
def test_console_of_the_function_has_own_records_in_its_format(serve: Serve, stream: str) -> None:
    """A plain StreamHandler in the place of ours writes to the log itself: once is enough."""
    served = serve(
        f"""
        import logging, sys
        from lambda_ric import wait_until
        logging.basicConfig(stream={stream}, format="OWN %(message)s", force=True)

        def handler(event, context):
            wait_until(int, "no number")
        """,
        None,
    )

    assert (served.stdout + served.stderr).count(FAILED) == 1
    assert f"OWN {FAILED}\n" in served.stdout + served.stderr


def test_formatter_that_the_function_gives_our_handler_is_for_own_records_too(serve: Serve) -> None:
    """Functions that want their log in one form set it there."""
    served = serve(
        """
        import logging
        from lambda_ric import wait_until
        logging.getLogger().handlers[0].setFormatter(logging.Formatter("OWN %(aws_request_id)s %(message)s"))

        def handler(event, context):
            wait_until(int, "no number")
        """,
        None,
    )

    assert f"OWN {served.api.events[0].request_id} {FAILED}" in served.stdout


HUNG = """
        import logging, threading, time
        from lambda_ric import after_response, wait_until

        released = threading.Event()

        class Hanging(logging.Handler):
            def emit(self, record):
                released.wait()
                heard.append(record.getMessage())

        heard = []
        logging.getLogger().addHandler(Hanging())

        def fail(*arguments):
            raise ValueError("no")

        async def fail_async():
            fail()

        def in_thread(event, context):
            wait_until(fail)

        def on_loop(event, context):
            wait_until(fail_async)

        @after_response(fail)
        def in_hook(event, context):
            pass

        @after_response
        def in_rest(event, context):
            yield
            fail()

        def left_thread(event, context):
            threading.Thread(target=__import__("time").sleep, args=(60,), daemon=True).start()

        def left_child(event, context):
            __import__("subprocess").Popen(["sleep", "2"])
"""


@pytest.mark.parametrize("handler", ["in_thread", "on_loop", "in_hook", "in_rest", "left_thread", "left_child"])
def test_handler_that_hangs_keeps_nobody_waiting(serve: Serve, handler: str) -> None:
    """Neither the work, nor the next event, nor the end of the process: what it does not hear is in the log."""
    events = [Event(None, timeout=30) for _ in range(3)]
    served = serve(HUNG, *events, handler=f"app.{handler}")

    assert [post.name for post in served.posts] == ["response"] * 3
    assert served.api.polls[3].at - served.posts[0].at < 30
    assert "Abandoned" not in served.stdout
    told = [line for line in served.lines if "Hanging does not return" in line]
    assert len(told) == 1


@pytest.mark.parametrize(
    "attach",
    [
        "logging.getLogger('lambda_ric.background').addFilter(hang)",
        "logging.getLogger().handlers[-1].addFilter(hang)",
        "logging.setLogRecordFactory(lambda *args, **kwargs: hang(logging.LogRecord(*args, **kwargs)))",
    ],
    ids=["filter of the logger", "filter of the handler", "factory"],
)
def test_what_hangs_before_a_handler_keeps_nobody_waiting(serve: Serve, attach: str) -> None:
    """All code that the function has put on the way to its handlers is run where they are."""
    served = serve(
        f"""{HUNG}
        logging.getLogger().handlers[-1].emit = print

        def hang(record):
            released.wait()
            return record

        {attach}
        """,
        *(Event(None, timeout=30) for _ in range(3)),
        handler="app.in_thread",
    )

    assert [post.name for post in served.posts] == ["response"] * 3
    assert served.api.polls[3].at - served.posts[0].at < 30
    assert served.stdout.count("background task fail failed") == 3
    assert served.stdout.count("does not return") == 1


def test_handler_that_returns_after_all_hears_the_rest(serve: Serve) -> None:
    """It was slow, not dead: nothing is held from it."""
    served = serve(
        HUNG
        + """
        def handler(event, context):
            if event == "release":
                released.set()
            if event == "look":
                while len(heard) < 3:
                    time.sleep(0.01)
                return heard
            wait_until(fail)
""",
        "hang",
        "hang",
        "release",
        "look",
    )

    assert served.answers[3] == ["background task fail failed"] * 3


def test_child_process_is_told_on_its_own(serve: Serve) -> None:
    """A fork in the middle of all that has the handlers, and not the thread that calls them."""
    served = serve(
        """
        import logging, os, threading
        from lambda_ric import wait_until

        class Printing(logging.Handler):
            def emit(self, record):
                os.write(1, f"{os.getpid() == parent} {record.getMessage()}\\n".encode())

        parent = os.getpid()
        logging.getLogger().addHandler(Printing())

        def handler(event, context):
            thread = threading.Thread(target=int, args=("no number",), name="before")
            thread.start()
            thread.join()
            child = os.fork()
            if child == 0:
                thread = threading.Thread(target=int, args=("no number",), name="in the child")
                thread.start()
                thread.join()
                logging.getLogger("lambda_ric").handlers  # nothing of it is needed for what follows
                __import__("time").sleep(0.3)
                os._exit(0)
            os.waitpid(child, 0)
        """,
        None,
    )

    assert "True exception in thread before" in served.lines
    assert "False exception in thread in the child" in served.lines


def test_listeners_that_have_not_had_their_turn_yet_are_not_taken_for_hanging() -> None:
    """The time may be up before their thread has begun."""
    listeners, heard = LogListeners(), threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: heard.set()  # type: ignore[method-assign]
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)  # the thread begins when this one waits
    try:
        listeners.tell(logging.LogRecord("a", logging.ERROR, __file__, 0, "message", (), None), [handler])
        hanging = listeners.finish(0.1, 0.0)
    finally:
        sys.setswitchinterval(before)

    assert hanging is None
    assert heard.wait(20)
