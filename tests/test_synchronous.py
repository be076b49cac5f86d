"""`@blocking`: for a decorator on top of it, the call is the whole of the work."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from lambda_ric import StreamingResponse, after_response, blocking, wait_until
from lambda_ric.errors import HandlerTimeoutError, ResultEncodeError
from lambda_ric.hooks import Hooks
from lambda_ric.testing import Invoked, invoke
from tests.conftest import Serve
from tests.support.fakes import Event

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


class Watched:
    """A synchronous decorator as other libraries have it: *returned* and *raised* are what it saw of the call."""

    def __init__(self) -> None:
        self.returned: list[Any] = []
        self.raised: list[BaseException] = []

    def __call__(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                result = handler(*args, **kwargs)
            except BaseException as error:
                self.raised.append(error)
                raise
            self.returned.append(result)
            return result

        return call


def run(handler: Callable[[Any, Any], Any], event: Any = None, **options: Any) -> Invoked:
    return invoke(handler, event, hooks=Hooks(), **options)


# What the call returns...


def test_call_returns_what_the_coroutine_does() -> None:
    """The decorator sees the result and no coroutine."""
    watched = Watched()

    @watched
    @blocking
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return {"got": event}

    assert run(handler, 1).response == {"got": 1}
    assert watched.returned == [{"got": 1}]


def test_call_of_a_synchronous_function_returns_its_value() -> None:
    """So the decorator may stay when a handler is rewritten."""
    result = {"any": "thing"}

    @blocking
    def load() -> dict[str, str]:
        return result

    def handler(event: Any, context: Any) -> Any:
        return load() is result

    assert run(handler).response is True


def test_whatever_can_be_awaited_is_awaited() -> None:
    """The returned object decides, as for the runtime: here a plain function that returns a task."""
    watched = Watched()

    @watched
    @blocking
    def handler(event: Any, context: Any) -> Any:
        return asyncio.get_event_loop().create_task(asyncio.sleep(0, "done"))

    assert run(handler).response == "done"
    assert watched.returned == ["done"]


def test_error_of_the_coroutine_is_raised_as_it_is() -> None:
    """The same object, with the lines of the function in its traceback."""
    watched = Watched()
    error = ValueError("out of stock")

    @watched
    @blocking
    async def handler(event: Any, context: Any) -> None:
        await asyncio.sleep(0)
        raise error

    invoked = run(handler)

    assert watched.raised == [error]
    assert invoked.outcome.error is error


@pytest.mark.parametrize("body", ["raise ValueError('out of stock')", "raise ValueError('out of stock'); yield"])
def test_error_document_has_no_lines_of_the_runtime(serve: Serve, body: str) -> None:
    """The stack trace that the caller gets is that of the decorators and of the function."""
    served = serve(
        f"""
        from lambda_ric import blocking

        def decorated(handler):
            def call(event, context):
                return handler(event, context)
            return call

        @decorated
        @blocking
        async def handler(event, context):
            {body}
        """,
        None,
    )

    (error,) = served.answers
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "out of stock")
    assert [line.split(" in ")[1].split("\n")[0] for line in error["stackTrace"]] == ["call", "handler"]


def test_arguments_are_passed_on_and_methods_can_be_decorated() -> None:
    """It is a decorator for functions of any shape."""

    class Shop:
        @blocking
        async def order(self, event: Any, context: Any, *, times: int = 1) -> Any:
            return [event] * times

    def handler(event: Any, context: Any) -> Any:
        return Shop().order(event, context=context, times=2)

    assert run(handler, "o-17").response == ["o-17", "o-17"]


def test_function_keeps_its_name_and_is_no_coroutine_function() -> None:
    """Decorators that ask beforehand take it for what it is."""

    @blocking
    async def handler(event: Any, context: Any) -> None:
        """Take an order."""

    assert (handler.__name__, handler.__doc__) == ("handler", "Take an order.")
    assert not inspect.iscoroutinefunction(handler)
    assert not inspect.isgeneratorfunction(handler)


# What surrounds it...


def test_coroutine_sees_what_the_decorator_has_set() -> None:
    """Tracing libraries keep the current span in a context variable."""

    @blocking
    async def load() -> str:
        await asyncio.sleep(0)
        return SEEN.get()

    def handler(event: Any, context: Any) -> Any:
        found = []
        for name in ("first", "second"):
            token = SEEN.set(name)
            found.append(load())
            SEEN.reset(token)
        return [*found, load()]

    assert run(handler).response == ["first", "second", "nothing"]


def test_what_the_coroutine_sets_is_seen_after_the_call() -> None:
    """As if it were called, and not run in a task."""

    @blocking
    async def log_in() -> None:
        SEEN.set("the customer")

    def handler(event: Any, context: Any) -> Any:
        log_in()
        return SEEN.get()

    assert run(handler).response == "the customer"


def test_variable_set_before_the_response_can_be_reset_after_it() -> None:
    """Both parts of an asynchronous generator run in one context, also under a decorator that sets variables."""

    def decorated(handler: Callable[..., Any]) -> Callable[..., Any]:
        def call(event: Any, context: Any) -> Any:
            SEEN.set("the decorator's")
            return handler(event, context)

        return call

    @decorated
    @blocking
    @after_response
    async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
        token = SEEN.set("the handler's")
        yield SEEN.get()
        SEEN.reset(token)

    invoked = run(handler)

    assert invoked.response == "the handler's"
    assert [(task.state, task.exception()) for task in invoked.tasks] == [("succeeded", None)]


def test_request_id_is_in_the_log_of_the_coroutine(serve: Serve) -> None:
    """And in that of its decorators."""
    event = Event(None)
    served = serve(
        """
        import asyncio, logging
        from lambda_ric import blocking

        @blocking
        async def work():
            await asyncio.sleep(0)
            logging.warning("inside")

        def handler(event, context):
            work()
            logging.warning("outside")
        """,
        event,
    )

    lines = [line.split("\t") for line in served.lines if line.startswith("[WARNING]")]
    assert [(line[2], line[3]) for line in lines] == [(event.request_id, "inside"), (event.request_id, "outside")]


def test_work_handed_over_inside_runs_after_the_response() -> None:
    """The call does not wait for it."""
    order: list[str] = []

    @blocking
    async def handler(event: Any, context: Any) -> None:
        wait_until(order.append, "handed over")
        await asyncio.sleep(0)
        order.append("returned")

    invoked = run(handler)

    assert order == ["returned", "handed over"]
    assert [task.state for task in invoked.tasks] == ["succeeded"]


def test_all_calls_have_one_event_loop() -> None:
    """Clients that belong to the loop may be kept."""
    loops = []

    @blocking
    async def work() -> None:
        loops.append(asyncio.get_running_loop())

    def handler(event: Any, context: Any) -> Any:
        work()
        work()
        assert asyncio.get_event_loop() is loops[0]

    run(handler).response  # noqa: B018
    run(handler).response  # noqa: B018

    assert len(loops) == 4
    assert len(set(loops)) == 1


def test_soft_deadline_interrupts_the_call() -> None:
    """The coroutine is cancelled, the decorators' clean-up runs, and the caller is told."""
    watched = Watched()
    cancelled: list[bool] = []

    @watched
    @blocking
    async def handler(event: Any, context: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.append(True)

    began_at = time.monotonic()
    invoked = run(handler, timeout=1.0, environ={"LAMBDA_RIC_SOFT_DEADLINE_MS": "900"})

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    assert cancelled == [True]
    assert len(watched.raised) == 1
    assert time.monotonic() - began_at < 20


# Where it cannot be called...


def test_call_outside_of_an_invocation_says_what_to_do() -> None:
    """There is no event loop of a runtime to run it on."""

    @blocking
    async def handler(event: Any, context: Any) -> None: ...

    with pytest.raises(RuntimeError, match=r"outside of any invocation.*lambda_ric\.testing\.invoke") as raised:
        handler(None, None)

    assert "handler, which is @blocking," in str(raised.value)


def test_call_in_a_coroutine_is_refused() -> None:
    """It would block the loop that it waits for; nothing has been begun, so nothing warns."""
    begun: list[bool] = []

    @blocking
    async def work() -> None:
        begun.append(True)

    async def handler(event: Any, context: Any) -> None:
        work()

    with pytest.raises(RuntimeError, match="work, which is @blocking, was called while the event loop runs"):
        run(handler).response  # noqa: B018

    assert begun == []


def test_call_in_a_worker_thread_is_refused() -> None:
    """The event loop has one thread."""

    @blocking
    async def work() -> None: ...

    def handler(event: Any, context: Any) -> None:
        wait_until(work)

    (task,) = run(handler).tasks

    with pytest.raises(RuntimeError, match="work, which is @blocking, was called in a thread"):
        task.result()


# What streams...


def numbers(event: Any, context: Any) -> Iterator[str]:
    yield from "123"


async def async_numbers(event: Any, context: Any) -> AsyncIterator[str]:
    for number in "123":
        await asyncio.sleep(0)
        yield number


async def numbers_of_a_coroutine(event: Any, context: Any) -> Iterator[str]:
    await asyncio.sleep(0)
    return numbers(event, context)


STREAMS = [numbers, async_numbers, numbers_of_a_coroutine]


@pytest.mark.parametrize("handler", STREAMS)
def test_stream_is_sent_inside_the_call(handler: Callable[..., Any]) -> None:
    """The decorator sees the end of it, and gets None: there is nothing left to return."""
    watched = Watched()

    invoked = run(watched(blocking(handler)))

    assert (invoked.streamed, invoked.response) == (True, b"123")
    assert watched.returned == [None]


def test_head_of_a_streaming_response_is_sent_too() -> None:
    """It is a stream with a head of its own."""
    watched = Watched()

    @watched
    @blocking
    async def handler(event: Any, context: Any) -> StreamingResponse:
        return StreamingResponse(async_numbers(event, context), 201, {"content-type": "text/plain"})

    invoked = run(handler)

    assert invoked.prelude == {"statusCode": 201, "headers": {"content-type": "text/plain"}}
    assert invoked.response == b"123"
    assert watched.returned == [None]


def test_generator_is_closed_when_the_call_returns() -> None:
    """Its clean-up is part of what is measured."""
    order: list[str] = []

    def watched(event: Any, context: Any) -> Any:
        result = handler(event, context)
        order.append("returned")
        return result

    @blocking
    async def handler(event: Any, context: Any) -> AsyncIterator[str]:
        try:
            yield "1"
        finally:
            order.append("closed")

    assert run(watched).response == b"1"
    assert order == ["closed", "returned"]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_failure_of_a_stream_reaches_decorator_trailers_and_log(serve: Serve, kind: str) -> None:
    """What had been sent stays sent; the log has the traceback once."""
    served = serve(
        f"""
        from lambda_ric import blocking

        def watched(handler):
            def call(event, context):
                try:
                    return handler(event, context)
                except ValueError as error:
                    print("the decorator saw", error, flush=True)
                    raise
            return call

        @watched
        @blocking
        {kind} handler(event, context):
            yield "1"
            raise ValueError("out of stock")
        """,
        None,
        None,
    )

    assert [post.body for post in served.posts] == [b"1", b"1"]
    assert [post.trailers["lambda-runtime-function-error-type"] for post in served.posts] == ["Function.ValueError"] * 2
    assert served.stdout.count("the decorator saw out of stock") == 2
    assert served.stdout.count("[ERROR] ValueError: out of stock") == 2


def test_failure_before_the_first_chunk_is_an_ordinary_error(serve: Serve) -> None:
    """Nothing has been sent that could be half of a response."""
    served = serve(
        """
        from lambda_ric import blocking

        @blocking
        def handler(event, context):
            raise ValueError("out of stock")
            yield
        """,
        None,
    )

    assert [(post.name, post.json()["errorMessage"]) for post in served.posts] == [("error", "out of stock")]


def test_failure_that_a_decorator_swallows_is_the_invocations_all_the_same() -> None:
    """Half of a response cannot be taken back, nor be called a success."""

    def swallowing(event: Any, context: Any) -> Any:
        try:
            return handler(event, context)
        except ValueError:
            return {"statusCode": 500}

    @blocking
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "1"
        raise ValueError("out of stock")

    invoked = run(swallowing)

    assert isinstance(invoked.outcome.error, ValueError)
    assert invoked.payload == b"1"


def test_chunk_that_is_neither_bytes_nor_text_is_an_error_in_the_call() -> None:
    """The decorator sees it where it happens."""
    watched = Watched()

    @watched
    @blocking
    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield {"statusCode": 200}

    with pytest.raises(ResultEncodeError, match="after_response"):
        run(handler).response  # noqa: B018

    assert [type(error) for error in watched.raised] == [ResultEncodeError]


def test_second_stream_of_an_invocation_is_refused() -> None:
    """It has one response."""

    def handler(event: Any, context: Any) -> Any:
        blocking(numbers)(event, context)
        blocking(numbers)(event, context)

    with pytest.raises(RuntimeError, match="answered already"):
        run(handler).response  # noqa: B018


def test_response_of_an_after_response_handler_is_returned_by_the_call() -> None:
    """And the rest of it runs when the caller has that."""
    order: list[str] = []
    watched = Watched()

    @watched
    @blocking
    @after_response
    async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
        yield {"statusCode": 202}
        order.append(f"rest, after {len(watched.returned)} return")

    assert run(handler).response == {"statusCode": 202}
    assert watched.returned == [{"statusCode": 202}]
    assert order == ["rest, after 1 return"]


def test_after_response_above_blocking_is_refused_where_it_is_written() -> None:
    """It would stream what the handler yields as its response, also with another decorator between the two."""

    @blocking
    def handler(event: Any, context: Any) -> Any:
        yield {}

    for wrong in (handler, Watched()(handler)):
        with pytest.raises(TypeError, match="@blocking goes above @after_response"):
            after_response(wrong)


def test_stream_after_the_response_is_refused() -> None:
    """There can be no second one."""

    @blocking
    def late(outcome: Any) -> Any:
        yield b"too late"

    hooks = Hooks()
    hooks.after.append(late)

    invoked = invoke(lambda event, context: "in time", hooks=hooks)

    assert invoked.response == "in time"
    (failed,) = invoked.tasks
    assert "answered already" in str(failed.exception())
