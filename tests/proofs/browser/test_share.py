"""
What leaves the page: a curl command, an example, a file.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PATIENCE
from tests.proofs.browser.conftest import Dev, Page


@pytest.fixture
def downloads(page: Page, tmp_path: Path) -> Path:
    """Where the browser puts what is downloaded."""
    directory = tmp_path / "downloads"
    directory.mkdir()
    page.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(directory), "eventsEnabled": False}
    )
    return directory


def downloaded(page: Page, directory: Path, suffix: str) -> Any:
    path: Path = page.until(lambda: next(iter(directory.glob(f"*{suffix}")), None))
    return json.loads(path.read_text())


def copied(page: Page, dev: Dev) -> str:
    """Copy the selected invocation as curl, and return what is in the clipboard."""
    permissions = {"origin": dev.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.browser.execute_cdp_cmd("Browser.grantPermissions", permissions)
    page.press("c")
    page.until(lambda: page.texts("article [data-action=curl]") == ["Copied"])
    read = "const done = arguments[arguments.length - 1]; navigator.clipboard.readText().then(done)"
    text: str = page.browser.execute_async_script(read)
    return text


def run(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=PATIENCE)
    return done.stdout.decode()


def test_invocation_is_copied_as_curl(dev: Dev, page: Page) -> None:
    """
    The command sends the same event once more, whatever characters it has.
    """
    event = {"answer": 'it\'s $HOME `now` \\ \n "é"'}
    dev.invoke(event)
    page.until_texts("article .status", "success")
    page.press("j")

    assert json.loads(run(copied(page, dev))) == event["answer"]
    page.until_texts("article .status", "success", "success")
    assert page.texts("article .event")[0] == page.texts("article .event")[1]


def test_call_of_the_url_is_copied_as_one(dev: Dev, page: Page) -> None:
    httpx.post(f"{dev.url}/orders/17?fast=yes", content="hello", headers={"X-Tenant": "t-1"})
    page.until_texts("article .status", "success")
    page.press("j")
    run(copied(page, dev))
    page.until_texts("article .status", "success", "success")

    (again, first) = (json.loads(each) for each in page.script(EVENTS))
    for key in ("rawPath", "rawQueryString", "body", "isBase64Encoded"):
        assert again[key] == first[key]
    assert again["headers"]["x-tenant"] == "t-1"
    assert again["requestContext"]["http"]["method"] == "POST"


EVENTS = """
    document.querySelector("#unfold").click();
    return new Promise((done) => setTimeout(() => requestAnimationFrame(() => done(
        [...document.querySelectorAll("article .payloads section:first-child pre")].map((each) => each.textContent)))));
"""


def test_copied_command_is_one_command(dev: Dev, page: Page) -> None:
    """
    Whoever may call the function, any page in a browser say, has no say in what the developer's shell does: the method
    of a request may have back quotes, and a body the character that ends a paste in a terminal.
    """
    body, plain = "it's\x1b[201~\nrm -r \\ \x9b", {"Content-Type": "text/plain"}
    httpx.request("`ID`", f"{dev.url}/[1-2]", content=body, headers=plain)
    page.until_texts("article .status", "success")
    page.press("j")
    command = copied(page, dev)
    run(command)
    page.until_texts("article .status", "success", "success")

    assert not [character for character in command if not character.isprintable() and character != "\n"]
    (again, first) = (json.loads(each) for each in page.script(EVENTS))
    assert (again["body"], again["rawPath"]) == (first["body"], first["rawPath"])
    assert again["requestContext"]["http"]["method"] == "`ID`"


def test_event_is_saved_as_an_example(dev: Dev, page: Page) -> None:
    """
    It is offered with those that are shipped, also after a reload, until it is deleted.
    """
    dev.invoke({"n": 1})
    page.until_texts("article .status", "success")
    page.one("article [data-action=save]").click()
    page.enter("#saving-name", "my order")
    page.one("#saving button[value=keep]").click()
    page.until(lambda: page.all("#example option[value='saved:my order']"))

    page.open()
    page.until(lambda: page.all("#example option[value='shipped:sqs']"))
    page.one("#example option[value='saved:my order']").click()
    assert json.loads(page.one("#event").get_attribute("value") or "") == {"n": 1}
    page.one("#save").click()
    page.one("#saving-delete").click()
    page.until(lambda: not page.all("#example option[value='saved:my order']"))


def test_event_is_saved_as_a_file(dev: Dev, page: Page, downloads: Path) -> None:
    page.enter("#event", '{"n": 2}')
    page.one("#save").click()
    page.enter("#saving-name", "my order")
    page.one("#saving button[value=file]").click()

    assert downloaded(page, downloads, "my-order.json") == {"n": 2}


def test_invocation_is_downloaded_with_its_logs(dev: Dev, page: Page, downloads: Path) -> None:
    dev.invoke({"say": "one", "tasks": ["charge"]})
    page.until_texts("article .status", "answered, 1 failed")
    page.one("article [data-action=json]").click()

    (shared,) = downloaded(page, downloads, ".json")["invocations"]
    assert shared["event"]["text"] == '{"say":"one","tasks":["charge"]}'
    reasons = {span["name"]: span["reason"] for span in shared["spans"]}
    assert reasons["charge"] == "ValueError: the card has expired"
    assert "one" in [line["text"] for line in shared["logs"]]


def test_what_the_filter_shows_is_downloaded_as_har(dev: Dev, page: Page, downloads: Path) -> None:
    """
    HAR is what browsers and proxies write, and other tools read: https://w3c.github.io/web-performance/specs/HAR/
    """
    dev.remember(50)
    page.until(lambda: len(page.all("article")) == 50)
    page.one("#states [data-state=failed]").click()
    page.until(lambda: len(page.texts("article")) == 12)
    page.one("#download").click()
    assert page.text("#downloading-what") == "12 invocations: those that the filter shows."
    page.one("#downloading button[value=har]").click()

    log = downloaded(page, downloads, ".har")["log"]
    assert (log["version"], log["creator"]["name"], len(log["entries"])) == ("1.2", "lambda-ric", 12)
    assert {each["response"]["status"] for each in log["entries"]} == {200}
    first = log["entries"][0]
    assert first["request"]["postData"]["text"].startswith('{"n": 4')
    assert round(first["time"]) == 100
    assert round(sum(time for time in first["timings"].values() if time > 0)) == 100
    assert {"startedDateTime", "cache", "response"} <= set(first)


@pytest.mark.usefixtures("cold")
def test_call_of_the_url_is_an_exchange_of_http_in_har(dev: Dev, page: Page, downloads: Path) -> None:
    answer = {"statusCode": 201, "headers": {"content-type": "text/plain"}, "body": "made"}
    (dev.directory / "app.py").write_text(f"def handler(event, context): return {answer!r}")
    assert httpx.get(f"{dev.url}/orders?id=17").status_code == 201
    page.until_texts("article .status", "success")
    page.one("article [data-action=har]").click()

    (entry,) = downloaded(page, downloads, ".har")["log"]["entries"]
    request, response = entry["request"], entry["response"]
    assert (request["method"], request["url"]) == ("GET", f"{dev.url}/orders?id=17")
    assert request["queryString"] == [{"name": "id", "value": "17"}]
    assert (response["status"], response["content"]) == (201, {"size": 4, "mimeType": "text/plain", "text": "made"})
