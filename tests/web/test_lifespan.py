"""The lifespan of ASGI applications: when they start and end, and what it means if they cannot."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from lambda_ric.asgi import ASGIHandler
from lambda_ric.emulator import Emulator, LogLine, in_thread
from lambda_ric.errors import HandlerTimeoutError
from lambda_ric.hooks import Hooks
from lambda_ric.testing import invoke
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT, Serve
from tests.test_asgi import START, body, event, unfinished_tasks

pytestmark = pytest.mark.timeout(method="thread")

Messages = list[dict[str, Any]]


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooks]:
    """Those of a process of its own, which ends in an orderly way."""
    hooks = Hooks()
    monkeypatch.setattr("lambda_ric.hooks.PROCESS_HOOKS", hooks)
    yield hooks
    with suppress(RuntimeError):
        shut_down(hooks)


def run(functions: list[Callable[[], Any]]) -> None:
    """Run hooks on the event loop of all invocations; raises what they raise."""
    for function in functions:

        def handler(event: Any, context: Any, function: Callable[[], Any] = function) -> Any:
            return function()

        _ = invoke(handler, hooks=Hooks()).response


def start(hooks: Hooks) -> None:
    run(hooks.startup)


def shut_down(hooks: Hooks) -> None:
    run(hooks.shutdown)


class Application:
    """Follows the protocol but for what *startup* and *shutdown* do: raise, or send what they return."""

    def __init__(
        self,
        startup: Callable[[dict[str, Any]], Messages] = lambda state: [{"type": "lifespan.startup.complete"}],
        shutdown: Callable[[], Messages] = lambda: [{"type": "lifespan.shutdown.complete"}],
    ) -> None:
        self.startup = startup
        self.shutdown = shutdown
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self.seen.append((await receive())["type"])
            for message in self.startup(scope["state"]):
                await send(message)
            self.seen.append((await receive())["type"])
            for message in self.shutdown():
                await send(message)
        else:
            self.seen.append(scope["state"])
            await send(START)
            await send(body())


def raising(error: BaseException) -> Callable[..., Messages]:
    def function(*args: Any) -> Messages:
        raise error

    return function


def test_application_lives_as_long_as_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Startup at init, shutdown when Lambda ends the environment, and one event loop all the way."""
    (tmp_path / "app.py").write_text(
        """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from lambda_ric.asgi import ASGIHandler

@asynccontextmanager
async def lifespan(app):
    print("started")
    yield {"loop": asyncio.get_running_loop()}
    await asyncio.sleep(0)
    print("shut down")

app = FastAPI(lifespan=lifespan)

@app.get("/")
async def endpoint(request: Request):
    print("served", request.state.loop is asyncio.get_running_loop())

handler = ASGIHandler(app)
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lines: list[LogLine] = []

    with in_thread(Emulator("app.handler", task_root=tmp_path, timeout=10, on_log=lines.append)) as emulator:
        for _ in range(2):
            emulator.finished(emulator.invoke(event()))

    texts = [line.text.strip() for line in lines]
    assert [text for text in texts if text.startswith(("started", "served", "shut"))] == [
        "started",
        "served True",
        "served True",
        "shut down",
    ]


def test_state_is_copied_for_every_request(hooks: Hooks) -> None:
    """What a request adds is its own."""

    def startup(state: dict[str, Any]) -> Messages:
        state["pool"] = "pool"
        return [{"type": "lifespan.startup.complete"}]

    app = Application(startup)
    handler = ASGIHandler(app)
    start(hooks)
    invoke(handler, event())
    app.seen[-1]["more"] = True
    invoke(handler, event())
    shut_down(hooks)

    assert app.seen == ["lifespan.startup", {"pool": "pool", "more": True}, {"pool": "pool"}, "lifespan.shutdown"]


def test_first_request_starts_the_application_where_nothing_else_has(hooks: Hooks) -> None:
    """In the tests of a function, once; and it is no work of that request."""
    app = Application()
    handler = ASGIHandler(app)
    first = invoke(handler, event(), environ={"LAMBDA_RIC_ORPHANS": "cancel"})
    invoke(handler, event())

    assert first.tasks == []
    assert app.seen == ["lifespan.startup", {}, {}]


def test_test_of_a_function_ends_without_a_word(tmp_path: Path) -> None:
    """Nobody shuts the application down there, and nobody complains."""
    (tmp_path / "test_app.py").write_text(
        """
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from lambda_ric.asgi import ASGIHandler
from lambda_ric.testing import invoke
from tests.test_asgi import event

@asynccontextmanager
async def lifespan(app):
    yield

handler = ASGIHandler(Starlette(lifespan=lifespan))

def test_app():
    assert invoke(handler, event()).response["statusCode"] == 404
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_that_fails_is_an_error_of_init(mode: Any, hooks: Hooks) -> None:
    """With what the application says of it."""
    ASGIHandler(
        Application(lambda state: [{"type": "lifespan.startup.failed", "message": "no database"}]), lifespan=mode
    )

    with pytest.raises(RuntimeError, match="no database"):
        start(hooks)
    assert hooks.shutdown == []


def test_startup_that_fails_in_starlette_is_the_exception_itself(serve: Serve) -> None:
    """With its own type and traceback in init/error."""
    served = serve(
        """
        from contextlib import asynccontextmanager
        from starlette.applications import Starlette
        from lambda_ric.asgi import ASGIHandler

        @asynccontextmanager
        async def lifespan(app):
            raise ConnectionRefusedError("no database")
            yield

        handler = ASGIHandler(Starlette(lifespan=lifespan))
        """
    )

    (post,) = served.posts
    assert post.path.endswith("/init/error")
    assert post.json()["errorType"] == "ConnectionRefusedError"
    assert post.json()["errorMessage"] == "no database"


def test_exception_before_any_answer_means_that_there_is_no_lifespan(hooks: Hooks) -> None:
    """Unless there has to be one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send(START)
        await send(body())

    handler = ASGIHandler(app)
    start(hooks)

    assert invoke(handler, event()).response["statusCode"] == 200
    assert hooks.shutdown == []
    ASGIHandler(app, lifespan="on")
    with pytest.raises(AssertionError):
        start(hooks)


def test_application_that_ignores_its_lifespan_has_none(hooks: Hooks) -> None:
    """It need not raise."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await send(body())

    handler = ASGIHandler(app, lifespan="on")
    start(hooks)

    assert invoke(handler, event()).response["statusCode"] == 200
    assert hooks.shutdown == []


def test_lifespan_that_is_off_is_never_begun(hooks: Hooks) -> None:
    """Not by the first request either."""
    app = Application()
    invoke(ASGIHandler(app, lifespan="off"), event())

    assert hooks.startup == []
    assert app.seen == [{}]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exit_at_startup_ends_the_process(error: BaseException, hooks: Hooks) -> None:
    """It does not mean that there is no lifespan."""
    ASGIHandler(Application(raising(error)))

    with pytest.raises(type(error)):
        start(hooks)


def test_startup_that_failed_is_tried_again_by_the_next_request(hooks: Hooks) -> None:
    """A test after the one that failed does not find an application that was never started."""
    outcomes: list[Messages] = [
        [{"type": "lifespan.startup.failed", "message": "not yet"}],
        [{"type": "lifespan.startup.complete"}],
    ]
    handler = ASGIHandler(Application(lambda state: outcomes.pop(0)))

    assert "not yet" in str(invoke(handler, event()).outcome.error)
    assert invoke(handler, event()).response["statusCode"] == 200


def test_startup_that_takes_too_long_is_cancelled(hooks: Hooks) -> None:
    """With the request that was to begin it."""
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("finally")

    before = unfinished_tasks()
    invoked = invoke(ASGIHandler(app), event(), timeout=0.4)

    assert isinstance(invoked.outcome.error, HandlerTimeoutError)
    assert unfinished_tasks() == before
    assert ended == ["finally"]


def test_shutdown_that_fails_is_raised_for_the_log(hooks: Hooks) -> None:
    """The runtime logs what a hook raises."""
    ASGIHandler(Application(shutdown=lambda: [{"type": "lifespan.shutdown.failed", "message": "still busy"}]))
    start(hooks)

    with pytest.raises(RuntimeError, match="still busy"):
        shut_down(hooks)


def test_lifespan_that_ends_with_an_error_is_logged_at_once(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of a life too; and only once."""
    ASGIHandler(Application(shutdown=raising(KeyError("broken"))))
    start(hooks)
    shut_down(hooks)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lambda_ric.lifespan", logging.ERROR)
    assert "KeyError: 'broken'" in str(record.exc_text)


def test_shutdown_that_fails_in_starlette_is_logged_once(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    """It says so and then raises the reason, which is all that is of interest."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        raise KeyError("broken")

    ASGIHandler(Starlette(lifespan=lifespan))
    start(hooks)
    shut_down(hooks)

    assert ["KeyError: 'broken'" in str(record.exc_text) for record in caplog.records] == [True]


@pytest.mark.parametrize("message", ["lifespan.shutdown.complete", "http.response.start"])
def test_answer_to_another_question_raises_in_the_application(message: str, hooks: Hooks) -> None:
    """As any error before the answer."""
    ASGIHandler(Application(lambda state: [{"type": message}]), lifespan="on")

    with pytest.raises(RuntimeError, match="unexpected ASGI message"):
        start(hooks)


def test_lifespan_is_suspended_between_the_invocations(hooks: Hooks) -> None:
    """Its tasks go on while the function runs, and are no tasks of an invocation."""
    turns: list[int] = []

    async def tick() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    def startup(state: dict[str, Any]) -> Messages:
        state["ticking"] = asyncio.create_task(tick())
        return [{"type": "lifespan.startup.complete"}]

    app = Application(startup)
    handler = ASGIHandler(app)
    first = invoke(handler, event(), environ={"LAMBDA_RIC_ORPHANS": "cancel"})
    seen = len(turns)
    invoke(handler, event())
    app.seen[-1]["ticking"].cancel()
    shut_down(hooks)

    assert first.tasks == []
    assert len(turns) > seen > 0


def test_shutdown_is_received_once_and_ends_with_its_answer(hooks: Hooks) -> None:
    """An application that goes on to receive has had its last message: nothing follows, and nobody waits for it."""
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            received.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    before = unfinished_tasks()
    ASGIHandler(app)
    start(hooks)
    shut_down(hooks)
    hooks.shutdown.clear()

    assert received == ["lifespan.startup", "lifespan.shutdown"]
    assert unfinished_tasks() == before
