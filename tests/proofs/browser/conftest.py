"""
A real browser in front of the page of a real function.
"""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from lambda_ric.emulator import Emulator
from lambda_ric.emulator.callers.endpoint import serve
from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.log_line import LogLine
from lambda_ric.emulator.event.observer import Observer
from lambda_ric.emulator.event.span import Span
from tests.conftest import PATIENCE

REPOSITORY = Path(__file__).parents[3]

# Does what its event says, so that each test says what happens in it.
APP = """
    import os, time
    from lambda_ric import wait_until

    def send_receipt():
        while not os.path.exists("release"):
            time.sleep(0.01)

    def charge():
        raise ValueError("the card has expired")

    def handler(event, context):
        for line in event.get("lines", [event.get("say", "nothing to say")]):
            print(line)
        for name in event.get("tasks", ()):
            wait_until(globals()[name])
        if "task_name" in event:
            def work(): pass
            work.__qualname__ = event["task_name"]
            wait_until(work)
        if "error" in event:
            raise ValueError(event["error"])
        return event.get("answer")
"""


# A runtime that streams, piece by piece, and waits in the middle until it is released.
STREAMER = """
    import http.client, os, time

    def pieces():
        yield b"be"
        while not os.path.exists("release"):
            time.sleep(0.01)
        yield b"gin"

    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        reply = connection.getresponse()
        reply.read()
        url = f"/2018-06-01/runtime/invocation/{reply.headers['Lambda-Runtime-Aws-Request-Id']}/response"
        headers = {"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"}
        connection.request("POST", url, pieces(), headers, encode_chunked=True)
        connection.getresponse().read()
"""


class Dev:
    """
    A function with its endpoint; it can be stopped, and started again on the same port.

    `renew` gives the same function an endpoint that knows of nothing yet, which takes much less.
    """

    def __init__(self, directory: Path, app: str = APP) -> None:
        self.directory = directory
        self._exits = ExitStack()
        self._endpoint = ExitStack()
        self._emulator: Emulator | None = None
        self.url = ""
        self._portal: BlockingPortal | None = None
        self._observers: Observer = Observer()
        (directory / "app.py").write_text(textwrap.dedent(app))
        (directory / "streamer.py").write_text(textwrap.dedent(STREAMER))

    def start(self, handler: str = "app.handler", **options: Any) -> None:
        port = httpx.URL(self.url).port or 0
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal("asyncio"))
            emulator = Emulator(handler, task_root=self.directory, **{"timeout": 20.0, **options})
            exits.enter_context(portal.wrap_async_context_manager(emulator))
            self._portal, self._emulator, self._observers = portal, emulator, emulator.observers
            self._exits = exits.pop_all()
        self._serve(port)

    def renew(self) -> None:
        """Forget all that was seen, when everything has come to its end."""
        assert self._portal is not None
        assert self._emulator is not None
        last = self._portal.call(self._emulator.invoke, {})  # which waits for its turn
        self._portal.call(last.finished)
        (self.directory / "release").unlink(missing_ok=True)
        self._endpoint.close()
        self._serve(0)

    def _serve(self, port: int) -> None:
        assert self._portal is not None
        assert self._emulator is not None
        serving = self._portal.wrap_async_context_manager(serve(self._emulator, port))
        self.url = self._endpoint.enter_context(serving).url

    def stop(self) -> None:
        self._endpoint.close()
        self._exits.close()

    def invoke(self, event: Any, invocation_type: str = "RequestResponse") -> httpx.Response:
        """Call the function as any other program would."""
        url = f"{self.url}{INVOKE}"
        return httpx.post(url, json=event, headers={"X-Amz-Invocation-Type": invocation_type}, timeout=PATIENCE)

    def remember(self, count: int) -> None:
        """Let the emulator have seen *count* invocations: every tenth failed, and every seventh had a task that did."""
        assert self._portal is not None
        self._portal.call(self._see, count)

    def _see(self, count: int) -> None:
        now = time.time() - count
        for number in range(count):
            made = Invocation(
                event=json.dumps({"n": number, "order": f"o-{number}"}).encode(),
                function_arn="arn",
                requested_at=now + number,
                environment=1,
                on_change=self._observers.changed,
            )
            made.start(now + number, timeout=3)
            error = b'{"errorType": "LookupError", "errorMessage": "no such order"}' if number % 10 == 9 else None
            kind = "Function.Unknown" if error else None
            made.delivery.respond(now + number + 0.1, error or b"{}", "application/json", kind)
            state, reason = "succeeded", ""
            if number % 7 == 6:
                state, reason = "abandoned" if number % 2 else "failed", "ValueError: the card has expired"
            made.add(Span("task", "charge", state, now + number + 0.1, now + number + 0.4, reason))
            for text in (f"START RequestId: {made.request_id}", f"END RequestId: {made.request_id}"):
                self._observers.log(LogLine(now + number, text, platform=True), made, 1)
            made.ended_at = made.frozen_at = now + number + 0.5
            made.finish()

    def release(self) -> None:
        """Let `send_receipt`, and a stream, come to its end."""
        (self.directory / "release").touch()


INVOKE = "/2015-03-31/functions/function/invocations"

VISIBLE_TEXTS = """
    return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())
        .map((each) => each.innerText)
"""


ATTRIBUTES = """
    return [...document.querySelectorAll(arguments[0])].map((each) => each.getAttribute(arguments[1]))
"""


# Ends when nothing has changed for half a second.
UNTIL_STILL = """
    const done = arguments[0];
    let timer = null;
    const observer = new MutationObserver(() => wait());
    const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => { observer.disconnect(); done(); }, 500);
    };
    observer.observe(document, {attributes: true, characterData: true, childList: true, subtree: true});
    wait();
"""


# Ends with nothing, or after a time with what was seen instead.
UNTIL_TEXTS = """
    const [selector, expected, patience, done] = arguments;
    const seen = () => [...document.querySelectorAll(selector)].filter((each) => each.checkVisibility())
        .map((each) => each.innerText);
    const end = (found) => { clearTimeout(timer); observer.disconnect(); done(found); };
    const look = () => { if (JSON.stringify(seen()) === JSON.stringify(expected)) end(null); };
    const observer = new MutationObserver(look);
    const timer = setTimeout(() => end(seen()), patience);
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    look();
"""

WAIT = 10
"""Seconds."""

REACHABLE = """
    const element = document.querySelector(arguments[0]);
    const { left, top, width, height } = element.getBoundingClientRect();
    const hit = document.elementFromPoint(left + width / 2, top + Math.min(height / 2, 10));
    return hit !== null && element.contains(hit);
"""


class Page:
    """The page in the browser, as the tests speak of it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self.open()

    def open(self) -> None:
        self.browser.get(f"{self.url}/_/")
        self.until_texts("#connection", "Live")

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """What a reader sees there, or nothing."""
        return "".join(self.texts(selector)[:1])

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.script(VISIBLE_TEXTS, selector)
        return found

    def attributes(self, selector: str, name: str) -> list[str | None]:
        """What all that is there has for the attribute *name*, at one moment: the page may be drawn anew at any."""
        found: list[str | None] = self.script(ATTRIBUTES, selector, name)
        return found

    def until_still(self) -> None:
        """Wait until nothing is drawn any more, for whoever looks at one element after the other."""
        self.browser.execute_async_script(UNTIL_STILL)

    def script(self, source: str, *arguments: Any) -> Any:
        return self.browser.execute_script(source, *arguments)

    def press(self, *keys: str) -> None:
        """Type where the focus is."""
        self.browser.switch_to.active_element.send_keys(*keys)

    def enter(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until *condition* holds."""
        return WebDriverWait(self.browser, WAIT, 0.04).until(lambda _: condition())

    def until_texts(self, selector: str, *expected: str) -> None:
        """Wait until a reader sees just these texts there; the browser looks at every change, without being asked."""
        seen = self.browser.execute_async_script(UNTIL_TEXTS, selector, list(expected), WAIT * 1000)
        assert seen is None, f"{seen} and not {list(expected)}"

    def resize(self, width: int, height: int) -> None:
        """Be a window, or a phone, of so many pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.until(lambda: self.script("return innerWidth") == width)

    def reachable(self, selector: str) -> bool:
        """Whether one sees it, and a click would hit it, without scrolling."""
        return bool(self.script(REACHABLE, selector))

    def has_focus(self, selector: str) -> bool:
        return bool(self.script("return document.activeElement.matches(arguments[0])", selector))

    def emulate(self, **features: str) -> None:
        """Be a browser whose user has these preferences."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})


def chromium() -> webdriver.Chrome:
    """Start a browser without a window."""
    found = subprocess.run([REPOSITORY / "tests/tools/chromium"], stdout=subprocess.PIPE, check=True, text=True).stdout
    paths = dict(line.split("=", 1) for line in found.splitlines())
    options = webdriver.ChromeOptions()
    options.binary_location = paths["chromium"]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--window-size=1400,1000", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which Chromium cannot have as root
    browser = webdriver.Chrome(options, Service(paths["chromedriver"]))
    browser.set_script_timeout(2 * WAIT)
    return browser


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A function that was called before."""
    dev = Dev(tmp_path_factory.mktemp("warm"))
    dev.start()
    yield dev
    dev.stop()


@pytest.fixture
def cold() -> None:
    """Let `dev` be a function that was never called, and that may be stopped."""


@pytest.fixture
def dev(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Dev]:
    """A function with an endpoint that knows of no invocation."""
    if "cold" in request.fixturenames:
        dev = Dev(tmp_path)
        dev.start()
        yield dev
        dev.release()
        dev.stop()
    else:
        dev = request.getfixturevalue("warm")
        dev.renew()
        yield dev
        dev.release()


@pytest.fixture
def page(browser: webdriver.Chrome, dev: Dev) -> Iterator[Page]:
    """The page of *dev*; whatever a test does with it, its scripts run without an error and within its policy."""
    page = Page(browser, dev.url)
    yield page
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_script("localStorage.clear()")
    browser.get("about:blank")
    # What failed on the network, an answer of 429 say, is part of some tests.
    faults: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [fault["message"] for fault in faults if fault["source"] != "network"] == []
