"""
A real browser in front of the page of a real function.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from lambda_ric.emulator import Emulator
from lambda_ric.emulator.endpoint import serve

REPOSITORY = Path(__file__).parents[2]

# Does what its event says, so that each test says what happens in it.
APP = """
    import os, time
    from lambda_ric import wait_until

    def send_receipt():
        while not os.path.exists("release"):
            time.sleep(0.01)

    def charge():
        raise ValueError("no money")

    def handler(event, context):
        print(event.get("say", "nothing to say"))
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


# A runtime that streams, piece by piece.
STREAMER = """
    import http.client, os

    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        reply = connection.getresponse()
        reply.read()
        url = f"/2018-06-01/runtime/invocation/{reply.headers['Lambda-Runtime-Aws-Request-Id']}/response"
        headers = {"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked"}
        connection.request("POST", url, iter([b"be", b"gin"]), headers, encode_chunked=True)
        connection.getresponse().read()
"""


class Dev:
    """A function with its endpoint; it can be stopped, and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._exits = ExitStack()
        self.url = ""
        (directory / "app.py").write_text(textwrap.dedent(APP))
        (directory / "streamer.py").write_text(textwrap.dedent(STREAMER))

    def start(self, **options: Any) -> None:
        port = httpx.URL(self.url).port or 0
        with ExitStack() as exits:
            portal = exits.enter_context(start_blocking_portal("asyncio"))
            emulator = Emulator("app.handler", task_root=self._directory, **{"timeout": 20.0, **options})
            exits.enter_context(portal.wrap_async_context_manager(emulator))
            self.url = exits.enter_context(portal.wrap_async_context_manager(serve(emulator, port))).url
            self._exits = exits.pop_all()

    def stop(self) -> None:
        self._exits.close()

    def invoke(self, event: Any, invocation_type: str = "RequestResponse") -> httpx.Response:
        """Call the function as any other program would."""
        url = f"{self.url}/2015-03-31/functions/function/invocations"
        return httpx.post(url, json=event, headers={"X-Amz-Invocation-Type": invocation_type}, timeout=20)

    def release(self) -> None:
        """Let `send_receipt` come to its end."""
        (self._directory / "release").touch()


VISIBLE_TEXTS = """
    return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())
        .map((each) => each.innerText)
"""


class Page:
    """The page in the browser, as the tests speak of it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self.open()

    def open(self) -> None:
        self.browser.get(f"{self.url}/_/")
        self.until(lambda: self.text("#connection") == "Live")

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
        return WebDriverWait(self.browser, 10, 0.02).until(lambda _: condition())

    def until_texts(self, selector: str, *expected: str) -> None:
        self.until(lambda: self.texts(selector) == list(expected))

    def emulate(self, **features: str) -> None:
        """Be a browser whose user has these preferences."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    found = subprocess.run([REPOSITORY / "tests/tools/chromium"], stdout=subprocess.PIPE, check=True, text=True).stdout
    paths = dict(line.split("=", 1) for line in found.splitlines())
    options = webdriver.ChromeOptions()
    options.binary_location = paths["chromium"]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--window-size=1400,1000", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which Chromium cannot have as root
    with webdriver.Chrome(options, Service(paths["chromedriver"])) as driver:
        yield driver


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path)
    dev.start()
    yield dev
    dev.release()
    dev.stop()


@pytest.fixture
def page(browser: webdriver.Chrome, dev: Dev) -> Iterator[Page]:
    """The page of *dev*; whatever a test does with it, its scripts run without an error and within its policy."""
    page = Page(browser, dev.url)
    yield page
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")
    # What failed on the network, an answer of 429 say, is part of some tests.
    faults: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert [fault["message"] for fault in faults if fault["source"] != "network"] == []
