"""Handing work over: what `wait_until` takes and gives back, and the two forms of `@after_response`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import Any
from unittest import mock

import pytest

from lambda_ric import BackgroundTask, Outcome, after_response, wait_until
from lambda_ric.hooks import Hooks
from lambda_ric.testing import Invoked, invoke
from tests.conftest import Serve
from tests.support.fakes import reply

# By a thread: the runtime interrupts with SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


def run(handler: Callable[[Any, Any], Any], event: Any = None, **options: Any) -> Invoked:
    return invoke(handler, event, hooks=Hooks(), **options)


def answer(handler: Callable[[Any, Any], Any], event: Any = None) -> Any:
    """Return the response that the caller gets, or raise the invocation's error."""
    return run(handler, event).response


def hand_over(work: Any, *args: Any, **kwargs: Any) -> BackgroundTask:
    """Return the handle on *work*, handed over by a handler, after the invocation."""

    def handler(event: Any, context: Any) -> None:
        wait_until(work, *args, **kwargs)

    (task,) = run(handler).tasks
    return task


# What wait_until takes...


def sent(order: str, *, by: str = "post") -> str:
    return f"{order} by {by}"


async def sent_later(order: str, *, by: str = "post") -> str:
    await asyncio.sleep(0)
    return f"{order} by {by}"


def sent_in_the_end(order: str, *, by: str = "post") -> Awaitable[str]:
    return sent_later(order, by=by)


class Mailer:
    def sent(self, order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"

    async def sent_later(self, order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"

    @classmethod
    def sent_by_class(cls, order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"

    @staticmethod
    def sent_by_static(order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"


class CallableObject:
    def __call__(self, order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"


class AsyncCallableObject:
    async def __call__(self, order: str, *, by: str = "post") -> str:
        return f"{order} by {by}"


@pytest.mark.parametrize(
    "work",
    [
        sent,
        functools.partial(sent),
        Mailer().sent,
        Mailer.sent_by_class,
        Mailer.sent_by_static,
        CallableObject(),
        functools.wraps(sent)(lambda *args, **kwargs: sent(*args, **kwargs)),
        sent_later,
        functools.partial(sent_later),
        Mailer().sent_later,
        AsyncCallableObject(),
        sent_in_the_end,
        functools.wraps(sent_later)(lambda *args, **kwargs: sent_later(*args, **kwargs)),
        mock.Mock(side_effect=sent),
        mock.AsyncMock(side_effect=sent_later),
    ],
)
def test_whatever_can_be_called_runs_with_its_arguments(work: Any) -> None:
    """Callables of every kind, synchronous or not; what they return decides (Parity 115, edge 18)."""
    assert hand_over(work, "o-17", by="air").result() == "o-17 by air"


@pytest.mark.parametrize(
    "work",
    [functools.partial(sent, "o-17"), functools.partial(sent_later, "o-17"), mock.Mock(return_value="o-17 by post")],
)
def test_callable_needs_no_arguments(work: Any) -> None:
    """A call without arguments is not mistaken for something that is awaited."""
    assert hand_over(work).result() == "o-17 by post"


def test_class_is_called_like_a_function() -> None:
    """A class is a callable, too."""
    assert hand_over(dict, a=1).result() == {"a": 1}


def test_callable_object_that_holds_a_coroutine_function_runs_in_a_thread() -> None:
    """Only a partial is looked into: an attribute named func says nothing."""

    class Throttled:
        func = staticmethod(sent_later)

        def __call__(self) -> str:
            return threading.current_thread().name

    assert hand_over(Throttled()).result() == "lambda_ric.background"


def test_coroutine_is_awaited() -> None:
    """The commonest asynchronous hand-over."""

    def handler(event: Any, context: Any) -> None:
        wait_until(sent_later("o-17"))

    (task,) = run(handler).tasks
    assert task.result() == "o-17 by post"


def test_awaitable_that_is_no_coroutine_is_awaited() -> None:
    """Anything with __await__ will do."""

    class Later:
        def __await__(self) -> Generator[Any, None, str]:
            return sent_later("o-17").__await__()

    assert hand_over(Later()).result() == "o-17 by post"


def test_running_task_is_awaited() -> None:
    """A task that runs already need only be waited for."""

    async def handler(event: Any, context: Any) -> str:
        loop = asyncio.get_running_loop()
        release = asyncio.Event()
        handle = wait_until(asyncio.create_task(release.wait()))
        wait_until(lambda: loop.call_soon_threadsafe(release.set).cancelled())
        return handle.state

    invoked = run(handler)
    assert invoked.response == "running"
    assert [task.result() for task in invoked.tasks] == [True, False]


def test_asyncio_future_is_awaited() -> None:
    """A future that something else will settle can be waited for."""

    async def handler(event: Any, context: Any) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        wait_until(future)
        wait_until(lambda: loop.call_soon_threadsafe(future.set_result, "settled").cancelled())

    assert run(handler).tasks[0].result() == "settled"


def test_gathered_work_is_awaited() -> None:
    """What asyncio.gather returns is a future of its own kind."""

    async def handler(event: Any, context: Any) -> None:
        wait_until(asyncio.gather(sent_later("a"), sent_later("b")))

    assert run(handler).tasks[0].result() == ["a by post", "b by post"]


@pytest.mark.parametrize("moment", ["before it ends", "after it has ended"])
def test_future_of_a_thread_pool_is_waited_for(moment: str) -> None:
    """concurrent.futures' kind of future, whether or not it is done."""
    release = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:

        def handler(event: Any, context: Any) -> None:
            future = pool.submit(lambda: release.wait(20) and "done")
            if moment == "after it has ended":
                release.set()
                future.result()
            wait_until(future)
            wait_until(release.set)

        assert run(handler).tasks[0].result() == "done"


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_future_that_does_not_succeed_is_told(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """A future's own end becomes that of the task."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    if how == "fails":
        future.set_exception(ValueError("too late"))
    else:
        future.cancel()

    task = hand_over(future)
    assert task.state == {"fails": "failed", "is cancelled": "cancelled"}[how]
    assert len(caplog.records) == (how == "fails")


@pytest.mark.parametrize("work", [None, 5, "send_receipt", object(), [sent], mock.NonCallableMock()])
def test_what_can_neither_be_called_nor_awaited_is_refused(work: Any) -> None:
    """The text says what is taken, and what came (edge 18)."""
    with pytest.raises(TypeError, match=rf"takes a function and its arguments, .* not '{type(work).__name__}'"):
        answer(lambda event, context: wait_until(work))


def test_generator_function_is_refused() -> None:
    """A call of it would run none of its code."""

    def work() -> Iterator[int]:
        yield 1

    async def async_work() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="not the generator 'work'"):
        answer(lambda event, context: wait_until(work))
    with pytest.raises(TypeError, match="not the generator 'async_work'"):
        answer(lambda event, context: wait_until(functools.partial(async_work)))


@pytest.mark.parametrize("make", [lambda: sent_later("o-17"), concurrent.futures.Future])
def test_arguments_for_what_is_awaited_are_refused(make: Any) -> None:
    """`wait_until(send(), "o-17")` is a slip for `wait_until(send, "o-17")`; the coroutine is closed."""
    with pytest.raises(TypeError, match="takes arguments for a function"):
        answer(lambda event, context: wait_until(make(), "o-17"))


def test_what_is_refused_is_left_as_it_was() -> None:
    """Only a coroutine is closed: a socket has the same methods."""

    class Socket:
        closed = False

        def send(self) -> None: ...

        def close(self) -> None:
            self.closed = True

    socket: Any = Socket()
    with pytest.raises(TypeError):
        answer(lambda event, context: wait_until(socket))

    assert not socket.closed


def test_same_awaitable_is_handed_over_once() -> None:
    """Edge 18: deduplicated by identity."""
    handles: list[Any] = []

    async def handler(event: Any, context: Any) -> None:
        coroutine = sent_later("o-17")
        task = asyncio.create_task(sent_later("o-18"))
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        future.set_result(None)
        work: list[Any] = [coroutine, task, future]
        handles.extend([wait_until(each) for each in work + work])

    tasks = run(handler).tasks
    assert handles[:3] == handles[3:] == tasks


def test_same_function_is_handed_over_as_often_as_it_is() -> None:
    """Only what can be awaited once is deduplicated."""

    def handler(event: Any, context: Any) -> None:
        for order in ("a", "a", "b"):
            wait_until(sent, order)

    assert [task.result() for task in run(handler).tasks] == ["a by post", "a by post", "b by post"]


def test_task_of_another_loop_is_refused() -> None:
    """It could never be awaited on the environment's own loop."""

    def handler(event: Any, context: Any) -> None:
        async def main() -> None:
            task = asyncio.create_task(sent_later("o-17"))
            try:
                wait_until(task)
            finally:
                await task

        asyncio.run(main())

    with pytest.raises(ValueError, match="another event loop"):
        answer(handler)


def test_coroutine_may_be_handed_over_inside_another_loop() -> None:
    """`asyncio.run` in a synchronous handler: the coroutine itself belongs to no loop yet."""

    def handler(event: Any, context: Any) -> None:
        async def main() -> None:
            wait_until(sent_later("o-17"))

        asyncio.run(main())

    assert run(handler).tasks[0].result() == "o-17 by post"


# When it runs, and in which context...


def test_nothing_handed_over_starts_before_the_handler_is_through() -> None:
    """Nothing that is handed over delays the answer or changes it (edge 20)."""
    states = []

    def handler(event: Any, context: Any) -> dict[str, str]:
        answer = {"status": "accepted"}
        handles = [wait_until(answer.clear), wait_until(sent_later, "o-17"), wait_until(sent_later("o-18"))]
        states.extend([handle.state for handle in handles])
        return answer

    invoked = run(handler)
    assert states == ["pending"] * 3
    assert invoked.response == {"status": "accepted"}


def test_work_runs_after_a_handler_that_failed() -> None:
    """Edge 4: the error first, then the work."""

    def handler(event: Any, context: Any) -> None:
        wait_until(sent, "o-17")
        raise ValueError("no")

    invoked = run(handler)
    assert isinstance(invoked.outcome.error, ValueError)
    assert invoked.tasks[0].result() == "o-17 by post"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_context_variables_are_those_of_the_moment_of_hand_over(asynchronous: bool) -> None:
    """Edge 15: the context is copied at hand-over."""

    async def later() -> str:
        return variable.get()

    def handler(event: Any, context: Any) -> None:
        for value in ("first", "second"):
            variable.set(value)
            wait_until(later if asynchronous else variable.get)
        variable.set("third")

    assert [task.result() for task in run(handler).tasks] == ["first", "second"]


def test_context_variables_of_a_piece_of_work_stay_in_it() -> None:
    """One task's variables reach neither its siblings nor the next invocation."""

    def handler(event: Any, context: Any) -> str:
        wait_until(variable.set, "changed")
        wait_until(variable.get)
        return variable.get()

    environ = {"LAMBDA_RIC_MAX_THREADS": "1"}
    assert run(handler, environ=environ).tasks[1].result() == "unset"
    assert run(handler, environ=environ).response == "unset"


@pytest.mark.parametrize("links", [1, 50])
def test_work_may_hand_over_more_work_of_either_kind(links: int) -> None:
    """Edge 16: the drain goes on until the set is empty."""
    done = []

    def in_thread(left: int) -> None:
        done.append(left)
        if left:
            wait_until(on_loop, left - 1)

    async def on_loop(left: int) -> None:
        done.append(left)
        await asyncio.sleep(0)
        if left:
            wait_until(in_thread, left - 1)

    invoked = run(lambda event, context: wait_until(in_thread, links).name)
    assert done == list(range(links, -1, -1))
    assert {task.state for task in invoked.tasks} == {"succeeded"}


def test_thread_that_work_started_may_hand_over_more() -> None:
    """The registry is found from any thread below the handler, and no context object is passed around."""

    def handler(event: Any, context: Any) -> None:
        def work() -> None:
            thread = threading.Thread(target=wait_until, args=(sent, "o-17"))
            thread.start()
            thread.join()

        wait_until(work)

    assert [task.name for task in run(handler).tasks] == ["handler.<locals>.work".rpartition(".")[2], "sent"]


def test_two_functions_run_at_the_same_time() -> None:
    """Work is concurrent, not one after the other."""
    barrier = threading.Barrier(2)

    def handler(event: Any, context: Any) -> None:
        wait_until(barrier.wait, 20)
        wait_until(barrier.wait, 20)

    assert {task.state for task in run(handler).tasks} == {"succeeded"}


def test_functions_and_coroutines_run_at_the_same_time() -> None:
    """One drain for both: neither kind waits for the other to end."""
    thread_is_there = threading.Event()

    async def handler(event: Any, context: Any) -> None:
        loop = asyncio.get_running_loop()
        coroutine_is_there = asyncio.Event()

        async def on_loop() -> None:
            await coroutine_is_there.wait()
            thread_is_there.set()

        def in_thread() -> bool:
            loop.call_soon_threadsafe(coroutine_is_there.set)
            return thread_is_there.wait(20)

        wait_until(on_loop)
        wait_until(in_thread)

    assert [task.result() for task in run(handler).tasks] == [None, True]


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_threads_run_than_allowed(most: int) -> None:
    """LAMBDA_RIC_MAX_THREADS is a limit, and is reached."""
    started = threading.Semaphore(0)
    release = threading.Event()
    running = []
    peaks = []

    def work() -> None:
        running.append(1)
        started.release()
        release.wait(20)
        peaks.append(len(running))
        running.pop()

    async def on_loop() -> None:
        for _ in range(most):
            await asyncio.to_thread(started.acquire, timeout=20)
        release.set()

    def handler(event: Any, context: Any) -> None:
        for _ in range(10 * most):
            wait_until(work)
        wait_until(on_loop)

    tasks = run(handler, environ={"LAMBDA_RIC_MAX_THREADS": str(most)}).tasks
    assert {task.state for task in tasks} == {"succeeded"}
    assert max(peaks) == most


def test_coroutine_needs_no_thread() -> None:
    """It runs on the loop from its first line, however many functions take all the threads there are."""

    def handler(event: Any, context: Any) -> None:
        release = threading.Event()

        async def on_loop() -> None:
            release.set()

        wait_until(release.wait, 20)
        wait_until(on_loop)

    assert run(handler, environ={"LAMBDA_RIC_MAX_THREADS": "1"}).tasks[0].result() is True


@pytest.mark.parametrize("used", [False, True])
def test_late_call_is_refused_and_its_coroutine_closed(used: bool) -> None:
    """A leaked thread's work would be lost: it is told, and no coroutine is left to warn (edge 16)."""
    over = threading.Event()
    refusals = []
    threads = []

    def leak() -> None:
        over.wait(20)
        both: list[Any] = [sent_later("o-17"), sent]
        for work in both:
            try:
                wait_until(work)
            except RuntimeError as refused:
                refusals.append(str(refused))

    def handler(event: Any, context: Any) -> str:
        if used:
            wait_until(sent, "o-16")
        threads.append(threading.Thread(target=leak))
        threads[0].start()
        return str(context.aws_request_id)

    request_id = run(handler).response
    over.set()
    threads[0].join()
    assert len(refusals) == 2
    assert all(f"after the background work of request {request_id} had ended" in refusal for refusal in refusals)


@pytest.mark.parametrize("make", [lambda: sent, lambda: sent_later("o-17")])
def test_call_outside_of_any_invocation_is_refused(make: Callable[[], Any]) -> None:
    """Nobody would run the work; the text names what a test should use."""
    with pytest.raises(RuntimeError, match=r"outside of any invocation.*lambda_ric\.testing\.invoke"):
        wait_until(make())


# Its handle...


def test_handle_tells_how_the_work_ended() -> None:
    """name, state, done, result, exception, repr."""
    handles = []

    def failing() -> None:
        raise ValueError("no")

    def handler(event: Any, context: Any) -> str:
        handles.extend([wait_until(sent, "o-17"), wait_until(failing)])
        return repr(handles[0])

    invoked = run(handler)
    succeeded, failed = handles
    assert invoked.response == "<BackgroundTask 'sent': pending>"
    assert (succeeded.state, succeeded.done(), succeeded.cancelled()) == ("succeeded", True, False)
    assert (succeeded.result(), succeeded.exception()) == ("o-17 by post", None)
    assert (failed.name, failed.state, failed.done()) == ("failing", "failed", True)
    assert isinstance(failed.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        failed.result()
    assert repr(failed) == "<BackgroundTask 'failing': failed>"


def test_handle_has_no_result_before_the_end() -> None:
    """Asking too early is an error that says so."""

    def handler(event: Any, context: Any) -> None:
        wait_until(sent, "o-17").result()

    with pytest.raises(RuntimeError, match="'sent' has no result: it is pending"):
        answer(handler)


@pytest.mark.parametrize("kind", ["function", "async function", "coroutine"])
def test_pending_work_can_be_cancelled(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It will not be started; a coroutine is closed, and does not warn."""
    answers = []

    def note() -> None:
        seen.append("work")

    async def work() -> None:
        note()

    def handler(event: Any, context: Any) -> None:
        handle = wait_until(work() if kind == "coroutine" else work if kind == "async function" else note)
        answers.extend([handle.cancel(), handle.cancelled(), handle.cancel()])

    (task,) = run(handler).tasks
    assert answers == [True, True, False]
    assert seen == [] == caplog.records
    with pytest.raises(RuntimeError, match="it is cancelled"):
        task.exception()


def test_work_can_be_cancelled_as_soon_as_it_is_handed_over() -> None:
    """In the middle of the drain, too: the coroutine is closed, and does not warn."""

    async def on_loop() -> bool:
        return wait_until(sent_later("o-17")).cancel()

    tasks = run(lambda event, context: wait_until(on_loop).name).tasks
    assert [task.state for task in tasks] == ["succeeded", "cancelled"]
    assert tasks[0].result() is True


def test_running_coroutine_can_be_cancelled() -> None:
    """It ends at its next await, and its finally blocks run."""
    cleaned_up = []
    running = threading.Event()

    async def work() -> None:
        try:
            running.set()
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(True)

    def handler(event: Any, context: Any) -> None:
        handle = wait_until(work)
        wait_until(lambda: running.wait(20) and handle.cancel())

    tasks = run(handler).tasks
    assert [task.state for task in tasks] == ["cancelled", "succeeded"]
    assert tasks[1].result() is True
    assert cleaned_up == [True]


def test_running_function_cannot_be_cancelled() -> None:
    """Nobody can stop a thread, and the handle does not say otherwise."""

    def handler(event: Any, context: Any) -> None:
        running = threading.Event()
        release = threading.Event()

        def work() -> bool:
            running.set()
            return release.wait(20)

        handle = wait_until(work)

        def cancel() -> bool:
            running.wait(20)
            answered = handle.cancel()
            release.set()
            return answered

        wait_until(cancel)

    tasks = run(handler).tasks
    assert [task.result() for task in tasks] == [True, False]


def test_cancelling_the_handle_of_a_running_task_cancels_the_task() -> None:
    """It runs already: to forget it would not stop it."""
    cleaned_up = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up.append(True)

    async def handler(event: Any, context: Any) -> bool:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        return wait_until(task).cancel()

    invoked = run(handler)
    assert invoked.response is True
    assert [task.state for task in invoked.tasks] == ["cancelled"]
    assert cleaned_up == [True]


def test_handle_of_work_that_ended_cannot_be_cancelled() -> None:
    """The past is not changed."""
    task = hand_over(sent, "o-17")

    assert not task.cancel()
    assert task.state == "succeeded"


# Going on after the response: generators...


def test_rest_of_a_generator_runs_after_the_response(serve: Serve) -> None:
    """What is yielded is the response; the caller has it before the rest runs."""
    served = serve(
        """
        import time
        from lambda_ric import after_response

        @after_response
        def handler(event, context):
            yield {"statusCode": 202}
            time.sleep(0.2)

        @after_response
        async def async_handler(event, context):
            yield {"statusCode": 202}
            time.sleep(0.2)
        """,
        None,
        None,
    )

    assert served.answers == [{"statusCode": 202}] * 2
    first, second = served.posts
    assert served.api.polls[1].at - first.at >= 0.2
    assert served.api.polls[2].at - second.at >= 0.2


@after_response
def generator(event: Any, context: Any) -> Generator[Any, None, Any]:
    if event == "early":
        return {"status": "early"}
    if event == "error before":
        raise ValueError(event)
    try:
        yield {"status": "accepted", "no JSON": object()} if event == "undeliverable" else {"status": "accepted"}
    except Exception as error:
        seen.append(error)
        raise
    seen.append("after")
    if event == "error after":
        raise ValueError(event)
    if event == "twice":
        yield "this goes nowhere"


@after_response
async def async_generator(event: Any, context: Any) -> AsyncIterator[Any]:
    await asyncio.sleep(0)
    if event == "early":
        return
    if event == "error before":
        raise ValueError(event)
    try:
        yield {"status": "accepted", "no JSON": object()} if event == "undeliverable" else {"status": "accepted"}
    except Exception as error:
        seen.append(error)
        raise
    await asyncio.sleep(0)
    seen.append("after")
    if event == "error after":
        raise ValueError(event)
    if event == "twice":
        yield "this goes nowhere"


seen: list[Any] = []
both_kinds = pytest.mark.parametrize("handler", [generator, async_generator])


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@both_kinds
def test_generator_goes_on_when_its_response_was_delivered(handler: Any) -> None:
    """The rest is a task of its own, named as the handler."""
    invoked = run(handler)

    assert invoked.response == {"status": "accepted"}
    assert [(task.kind, task.name, task.state) for task in invoked.tasks] == [
        ("continuation", handler.__name__, "succeeded")
    ]
    assert seen == ["after"]


def test_generator_may_return_its_response() -> None:
    """An early return value is the response, and nothing comes after it."""
    invoked = run(generator, "early")

    assert invoked.response == {"status": "early"}
    assert invoked.tasks == []


def test_async_generator_may_end_without_a_response() -> None:
    """An asynchronous generator cannot return a value: its response is null then."""
    invoked = run(async_generator, "early")

    assert invoked.response is None
    assert invoked.tasks == []


@both_kinds
def test_error_before_the_yield_fails_the_invocation(handler: Any) -> None:
    """Until it yields, it is a handler like any other."""
    with pytest.raises(ValueError, match="error before"):
        answer(handler, "error before")
    assert seen == []


@both_kinds
def test_error_after_the_yield_is_logged_only(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    """After the response nothing can fail the invocation (edge 1)."""
    invoked = run(handler, "error after")

    assert invoked.response == {"status": "accepted"}
    assert [task.state for task in invoked.tasks] == ["failed"]
    (record,) = caplog.records
    assert record.getMessage() == f"background continuation {handler.__name__} failed"


@both_kinds
def test_second_yield_is_an_error_that_is_logged(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would read it, and the generator is closed."""
    invoked = run(handler, "twice")

    assert invoked.response == {"status": "accepted"}
    with pytest.raises(RuntimeError, match="yields once"):
        invoked.tasks[0].result()
    assert len(caplog.records) == 1


@both_kinds
def test_response_without_json_form_is_raised_at_the_yield(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The rest learns that its response was not delivered, and why; that is not told twice."""
    invoked = run(handler, "undeliverable")

    (error,) = seen
    assert error is invoked.outcome.error
    assert "Unable to marshal response" in str(error)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_response_that_lambda_refuses_is_raised_at_the_yield(serve: Serve, kind: str) -> None:
    """413: too large, and the platform has told the caller so; no error is posted after it (edges 1, 2)."""
    served = serve(
        f"""
        from lambda_ric import after_response

        @after_response
        {kind} handler(event, context):
            try:
                yield "large"
            except Exception as error:
                print(type(error).__name__, error)
        """,
        None,
        None,
        intercept=lambda request: reply(413, b"too large") if request.name == "response" else None,
    )

    assert [post.name for post in served.posts] == ["response", "response"]
    assert sum(line.startswith("AnswerRefusedError posting the response failed") for line in served.lines) == 2


@both_kinds
def test_error_of_an_outer_decorator_is_raised_at_the_yield(handler: Any) -> None:
    """What stands around the generator may still fail the invocation: then the yield says so."""

    def validated(inner: Any) -> Any:
        @functools.wraps(inner)
        def wrapper(event: Any, context: Any) -> Any:
            response = inner(event, context)
            if not isinstance(response, dict):
                return then_fail(response)
            raise ValueError("no such status")

        async def then_fail(response: Any) -> None:
            await response
            raise ValueError("no such status")

        return wrapper

    invoked = run(validated(handler))
    assert seen == [invoked.outcome.error]
    assert str(seen[0]) == "no such status"


def test_outer_decorator_sees_the_response() -> None:
    """Decorators such as Powertools' are plain synchronous wrappers: they get what is yielded (Parity 115, 142)."""

    def with_headers(inner: Any) -> Any:
        @functools.wraps(inner)
        def wrapper(event: Any, context: Any) -> Any:
            return {**inner(event, context), "headers": {}}

        return wrapper

    assert run(with_headers(generator)).response == {"status": "accepted", "headers": {}}
    assert seen == ["after"]


def test_inner_decorator_does_not_hide_the_generator() -> None:
    """`functools.wraps` leaves a trace of what it wraps."""

    def plain(inner: Any) -> Any:
        @functools.wraps(inner)
        def wrapper(event: Any, context: Any) -> Any:
            return inner(event, context)

        return wrapper

    @after_response
    @plain
    @plain
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "accepted"
        seen.append("after")

    assert run(handler).response == "accepted"
    assert seen == ["after"]


def test_inner_decorator_may_use_the_generator_up() -> None:
    """Then it returns a value like any handler, and there is nothing to go on with."""

    def collected(inner: Any) -> Any:
        @functools.wraps(inner)
        def wrapper(event: Any, context: Any) -> Any:
            return list(inner(event, context))

        return wrapper

    @after_response
    @collected
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "a"
        yield "b"

    invoked = run(handler)
    assert invoked.response == ["a", "b"]
    assert invoked.tasks == []


def test_token_set_before_the_yield_can_be_reset_after_it() -> None:
    """Both parts of a generator run in one context."""

    @after_response
    def handler(event: Any, context: Any) -> Iterator[str]:
        token = variable.set("inside")
        yield "accepted"
        seen.append(variable.get())
        variable.reset(token)

    @after_response
    async def async_handler(event: Any, context: Any) -> AsyncIterator[str]:
        token = variable.set("inside")
        yield "accepted"
        seen.append(variable.get())
        variable.reset(token)

    assert [run(handler).tasks[0].state, run(async_handler).tasks[0].state] == ["succeeded", "succeeded"]
    assert seen == ["inside", "inside"]


def test_rest_of_a_generator_may_hand_work_over() -> None:
    """Continuations come first; what they hand over is drained with the rest."""

    @after_response
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "accepted"
        wait_until(seen.append, "handed over")
        seen.append("before")

    run(handler)
    assert seen == ["before", "handed over"]


# ...and named hooks.


def hooked(**options: Any) -> Callable[[Any, Any], Any]:
    async def on_loop(outcome: Outcome) -> None:
        await asyncio.sleep(0)
        seen.append(("second", outcome.result, outcome.error))

    @after_response(lambda outcome: seen.append(("first", outcome.result, outcome.error)), on_loop, **options)
    def handler(event: Any, context: Any) -> str:
        if event:
            raise ValueError(event)
        return "accepted"

    return handler


def test_named_hooks_are_called_with_the_outcome_in_their_order() -> None:
    """Edge 17: in the order in which they are written, synchronous or not."""
    assert run(hooked()).response == "accepted"
    assert seen == [("first", "accepted", None), ("second", "accepted", None)]


@pytest.mark.parametrize(
    ("on", "event", "calls"),
    [
        ("success", None, 2),
        ("success", "no", 0),
        ("error", None, 0),
        ("error", "no", 2),
        ("always", None, 2),
        ("always", "no", 2),
    ],
)
def test_named_hooks_follow_the_outcomes_they_are_for(on: str, event: str | None, calls: int) -> None:
    """on=success, error or always."""
    invoked = run(hooked(on=on), event)

    assert len(seen) == calls
    assert all(error is invoked.outcome.error for _, _, error in seen)


def test_response_that_is_not_delivered_is_an_error_for_the_hooks(serve: Serve) -> None:
    """The outcome is the caller's, not the handler's."""
    served = serve(
        """
        from lambda_ric import after_response

        @after_response(lambda outcome: print("sent"))
        @after_response(lambda outcome: print("not sent:", type(outcome.error).__name__), on="error")
        def handler(event, context):
            return "large"
        """,
        None,
        intercept=lambda request: reply(413, b"too large") if request.name == "response" else None,
    )

    assert "not sent: AnswerRefusedError" in served.lines
    assert "sent" not in served.lines


def test_both_forms_can_be_stacked() -> None:
    """The rest of the generator runs before the named hooks."""

    @after_response(lambda outcome: seen.append("hook"))
    @after_response
    def handler(event: Any, context: Any) -> Iterator[str]:
        yield "accepted"
        seen.append("rest")

    @after_response
    @after_response(lambda outcome: seen.append("hook"))
    def handler_the_other_way_round(event: Any, context: Any) -> Iterator[str]:
        yield "accepted"
        seen.append("rest")

    assert run(handler).response == run(handler_the_other_way_round).response == "accepted"
    assert seen == ["rest", "hook"] * 2


def test_named_hooks_of_an_async_handler_are_called() -> None:
    """The decorator looks at no flag of the handler."""

    @after_response(lambda outcome: seen.append(outcome.result))
    async def handler(event: Any, context: Any) -> str:
        return "accepted"

    assert run(handler).response == "accepted"
    assert seen == ["accepted"]


def test_handler_keeps_its_name_and_documentation() -> None:
    """Other decorators and tools read them."""
    assert (generator.__name__, async_generator.__name__) == ("generator", "async_generator")


def yielding(outcome: Outcome) -> Iterator[None]:
    yield


@pytest.mark.parametrize("hooks", [(), (5,), (print, "print"), (print, yielding)])
def test_hooks_that_cannot_be_called_are_refused(hooks: tuple[Any, ...]) -> None:
    """At import, where the mistake was made."""
    with pytest.raises(TypeError, match=r"after_response (takes|needs)"):
        after_response(*hooks)


def test_unknown_outcome_is_refused() -> None:
    """The text names the three there are."""
    with pytest.raises(ValueError, match=r"on='success', 'error' or 'always', not 'sometimes'"):
        after_response(print, on="sometimes")  # type: ignore[call-overload]


def test_bare_decorator_on_a_handler_that_does_not_yield_is_told() -> None:
    """It would be taken for a hook: the error says what the handler should do."""

    @after_response  # type: ignore[arg-type]
    def handler(event: Any, context: Any) -> str:
        return "accepted"

    with pytest.raises(TypeError, match="put on 'handler', which does not yield"):
        answer(handler)


@pytest.mark.parametrize("handler", [generator, async_generator, hooked()])
def test_decorated_handler_called_outside_of_any_invocation_is_told(handler: Any) -> None:
    """As with wait_until: the text names what a test should use."""
    with pytest.raises(RuntimeError, match=r"outside of any invocation.*lambda_ric\.testing\.invoke"):
        handler(None, None)


def test_payload_is_what_was_yielded() -> None:
    """The bytes delivered are those of the response, encoded before anything else ran (edge 20)."""
    answer = {"orders": ["o-17"]}

    @after_response
    def handler(event: Any, context: Any) -> Iterator[Any]:
        yield answer
        answer["orders"].append("o-18")

    assert json.loads(run(handler).payload) == {"orders": ["o-17"]}


def test_failing_work_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which piece of work failed, and why."""

    def send_receipt() -> None:
        raise ValueError("no paper")

    hand_over(send_receipt)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "background task send_receipt failed")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no paper"
