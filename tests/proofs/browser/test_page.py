"""
The page at ``/_/`` in a browser: what a developer sees of the function while it works, and can send to it.
"""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.keys import Keys

from tests.proofs.browser.conftest import Dev, Page

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

ROWS = "article .waterfall tbody .name"


def rows(page: Page) -> list[str]:
    """Return the names of the rows, but for times in between that are drawn where they were long enough to be seen."""
    return [row for row in page.texts(ROWS) if row not in ("waiting", "after the response")]


# Seeing...


@pytest.mark.usefixtures("cold")
def test_invocation_is_drawn_while_it_goes_on(dev: Dev, page: Page) -> None:
    """
    The caller has its answer; the background grows before one's eyes until its task, by name, is done.
    """
    dev.invoke({"tasks": ["send_receipt"]})
    page.until_texts("article .status", "in the background")
    first = page.text("article .after b")
    page.until(lambda: page.text("article .after b") != first)
    drawn = ["init", "handler app.handler", "response delivered", "task send_receipt", "environment 1"]
    page.until(lambda: rows(page) == drawn)

    dev.release()
    page.until_texts("article .status", "success")
    assert rows(page) == drawn
    assert page.texts("article .waterfall .label") == ["frozen"]
    assert page.attributes("article .waited, article .after", "title") == ["caller waited", "background"]
    assert "billed" in page.text("article .facts")


def test_next_invocation_thaws_what_was_frozen(dev: Dev, page: Page) -> None:
    """
    An environment of its own is drawn for neither: the second one finds the first one's, without an init.
    """
    for number in (1, 2):
        dev.invoke({})
        page.until_texts("article .status", *["success"] * number)

    assert page.texts("article:first-child .waterfall .label") == ["thawed", "frozen"]
    assert "init" not in page.texts("article:first-child .waterfall .name")


@pytest.mark.usefixtures("cold")
def test_stream_is_shown_while_it_comes_and_afterwards(dev: Dev, page: Page) -> None:
    """
    Its rows have their places from the start, and its body is there as other responses are, also after a reload.
    """
    dev.stop()
    dev.start(command=[sys.executable, "streamer.py"], handler="app.streams")
    page.open()
    page.one("#type option[value=stream]").click()
    page.one("#submit").click()

    page.until_texts("article .payloads section:last-child pre", "be")
    assert page.text("#response-body") == "be"
    drawn = ["init", "handler app.streams", "first byte", "environment 1"]
    page.until(lambda: rows(page) == drawn)

    dev.release()
    page.until_texts("article .status", "success")
    assert rows(page) == [*drawn[:3], "response delivered", drawn[3]]
    page.until(lambda: "2 chunks" in page.texts("#response-line span"))
    page.open()
    page.until_texts("article .payloads section:last-child pre", "begin")
    assert page.texts("article h3")[1] == "Streamed response, 5 bytes"


def test_error_that_was_delivered_is_no_failed_delivery(dev: Dev, page: Page) -> None:
    dev.invoke({"error": "no such order"})
    page.until_texts("article .status", "error")

    assert page.texts("article .waterfall .bad .name") == ["handler app.handler"]
    assert "error delivered" in page.texts(ROWS)


def test_hostile_text_is_text(dev: Dev, page: Page) -> None:
    """
    Events, responses, logs, errors and names come from anywhere; none of it becomes a part of the page.
    """
    dev.invoke({"say": HOSTILE, "answer": HOSTILE, "task_name": HOSTILE})
    page.until_texts("article .status", "success")
    dev.invoke({"error": HOSTILE})
    page.until(lambda: len(page.all("article")) == 2 and page.texts("#problem-list b"))
    page.one("#unfold").click()
    page.enter("#event", json.dumps({"answer": HOSTILE}))
    page.one("#submit").click()
    page.until(lambda: HOSTILE in json.loads(page.text("#response-body") or '""'))
    page.one("#logs-all").click()

    assert page.texts("#lines .function > span")[0] == HOSTILE
    assert f"task {HOSTILE}" in page.attributes(".waterfall .name", "title")
    assert page.all("img, body script") == []
    assert "owned" not in page.browser.title


# ...what failed...


def test_failed_task_is_in_plain_sight_with_its_reason(dev: Dev, page: Page) -> None:
    """
    The caller was answered well. In words, not by colour alone, and first of all; folded or not.
    """
    dev.invoke({"tasks": ["charge"]})
    page.until_texts("article .status", "answered, 1 failed")

    why = "task charge failed: ValueError: the card has expired"
    assert page.texts(".waterfall .bad .name") == ["task charge"]
    assert page.texts(".waterfall .bad .state") == ["✗ failed"]
    assert page.texts("article .reasons li") == [why]
    assert page.text("#problems-title") == "1 failed or lost"
    assert page.texts("#problem-list b") == [why]
    assert page.browser.title == "(1) function"
    page.press("j", Keys.ENTER)
    page.until_texts(".waterfall")
    assert page.texts("article .reasons li") == [why]


def test_throttled_caller_is_in_plain_sight(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["send_receipt"]})
    assert dev.invoke({}).status_code == 429

    page.until(lambda: any(text.startswith("throttled") for text in page.texts("#problem-list b")))


def test_banner_says_how_many_more_there_are(dev: Dev, page: Page) -> None:
    dev.remember(50)
    page.until_texts("#problems-title", "12 failed or lost")
    assert len(page.texts("#problem-list li")) == 3
    assert page.text("#more-problems") == "and 9 more"

    page.one("#more-problems").click()
    page.until(lambda: len(page.texts("#problem-list li")) == 12)
    page.all("#problem-list button")[-1].click()
    page.until(lambda: page.has_focus("article[aria-current=true]"))
    assert page.reachable("article[aria-current=true] .status")


def test_dismissed_is_dismissed(dev: Dev, page: Page) -> None:
    """
    Over a reload of the page, until something else fails.
    """
    dev.remember(10)
    page.until_texts("#problems-title", "2 failed or lost")
    page.one("#dismiss").click()
    page.until(lambda: not page.one("#problems").is_displayed())
    page.open()
    page.until(lambda: len(page.all("article")) == 10)
    assert not page.one("#problems").is_displayed()

    dev.invoke({"error": "another one"})
    page.until_texts("#problem-list b", "ValueError: another one")


# ...sending...


def test_form_sends_an_event_and_shows_the_response(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"answer": {"sum": 17}}')
    page.press(Keys.CONTROL, Keys.ENTER)

    page.until(lambda: page.text("#response-body") == '{\n  "sum": 17\n}')
    assert page.texts("#response-line span")[0] == "HTTP 200"
    assert page.texts("#response-line span")[-1].endswith(" ms")


def test_event_in_the_form_outlives_a_reload(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"half": ')
    page.one("#type option[value=stream]").click()
    page.open()

    assert page.one("#event").get_attribute("value") == '{"half": '
    assert page.one("#type").get_attribute("value") == "stream"


def test_what_was_sent_is_selected_and_in_view_with_its_logs(dev: Dev, page: Page) -> None:
    """
    Whatever was selected before, wherever one has scrolled to, whatever the filter shows; at once, not when it ends.
    """
    dev.remember(50)
    page.until(lambda: len(page.all("article")) == 50)
    page.press(Keys.END)
    page.one("#states [data-state=failed]").click()
    page.enter("#event", '{"say": "this one", "tasks": ["send_receipt"]}')
    page.press(Keys.CONTROL, Keys.ENTER)

    page.until_texts("article[aria-current=true] .status", "in the background")
    assert page.reachable("article[aria-current=true] .status")
    assert page.texts("article[aria-current=true] .waterfall") != []
    page.until_texts("#lines .function > span", "this one")
    assert page.has_focus("#event")


def test_form_shows_a_function_error(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"error": "no such order"}')
    page.press(Keys.CONTROL, Keys.ENTER)

    page.until(lambda: "no such order" in page.text("#response-body"))
    assert page.texts("#response-line .bad-text") == ["Function error: Unhandled"]
    page.until_texts("article .reasons li", "ValueError: no such order")
    page.until_texts("#problem-list b", "ValueError: no such order")


def test_form_refuses_what_is_not_json(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"answer": ')
    page.press(Keys.CONTROL, Keys.ENTER)

    assert page.text("#event-error").startswith("Not JSON")
    assert page.one("#event").get_attribute("aria-invalid") == "true"
    assert not page.one("#response").is_displayed()


def test_form_sends_asynchronously_and_offers_examples(dev: Dev, page: Page) -> None:
    page.until(lambda: page.all("#example option[value='shipped:sqs']"))
    page.one("#example option[value='shipped:sqs']").click()
    page.one("#type option[value=Event]").click()
    page.one("#submit").click()

    page.until(lambda: page.texts("#response-line span")[:2] == ["HTTP 202", "queued"])
    page.until_texts("article[aria-current=true] .source", "event")


# ...and when the emulator goes away.


@pytest.mark.usefixtures("cold")
def test_page_finds_the_emulator_again(dev: Dev, page: Page) -> None:
    """
    Without a reload by hand: it says that the emulator is away, and that it is another one which knows nothing yet.
    """
    dev.invoke({})
    page.until_texts("article .status", "success")
    dev.stop()
    page.until(lambda: page.text("#connection").startswith("The emulator is away"))

    dev.start()
    page.until(lambda: page.text("#connection") == "Live again: the emulator was restarted")
    assert page.all("article") == []


def test_page_that_was_hidden_comes_back_as_it_was(dev: Dev, page: Page) -> None:
    """
    It gives its connection back meanwhile; what is selected, and where one has scrolled to, stays.
    """
    dev.remember(100)
    dev.invoke({"lines": list(range(200))})
    page.until(lambda: len(page.texts("article .status")) == 101)
    page.press(Keys.END)
    page.one("#logs-all").click()
    page.script("document.querySelector('#lines').scrollTop = 2000")
    page.until(lambda: page.one("#to-the-end").is_displayed())
    places = "return ['#lines', '#scroller'].map((each) => Math.round(document.querySelector(each).scrollTop))"
    before = page.script(places)

    page.script(TURN, True)
    dev.invoke({"say": "meanwhile"})
    page.script(TURN, False)
    page.until(lambda: len(page.all("article")) == 102 and "meanwhile" in page.text("#lines"))
    lines, scroller = page.script(places)
    assert abs(lines - before[0]) < 30
    assert scroller > before[1]
    assert page.reachable("article[aria-current=true] .status")


TURN = """
    Object.defineProperty(document, "hidden", { value: arguments[0], configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
"""


def test_nothing_is_fetched_from_elsewhere(dev: Dev, page: Page) -> None:
    page.until(lambda: len(page.all("#example option")) > 1)
    fetched = page.script(
        "return performance.getEntries().map((entry) => entry.name).filter((name) => name.includes(':'))"
    )

    assert {urlsplit(url).netloc for url in fetched} == {urlsplit(dev.url).netloc}
