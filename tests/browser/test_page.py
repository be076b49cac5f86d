"""
The page at ``/_/`` in a browser: what a developer sees of the function, and can do with it.
"""

from __future__ import annotations

import json
import sys
from urllib.parse import urlsplit

from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Dev, Page

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

ROWS = "article .waterfall tbody .name"


# Seeing...


def test_invocation_is_drawn_while_it_goes_on(dev: Dev, page: Page) -> None:
    """
    The caller has its answer; the background grows before one's eyes until its task, by name, is done.
    """
    dev.invoke({"tasks": ["send_receipt"]})
    page.until_texts("article .status", "in the background")
    first = page.text("article .figures .after")
    page.until(lambda: page.text("article .figures .after") != first)
    drawn = ["init", "handler app.handler", "response delivered", "task send_receipt", "environment 1"]
    page.until_texts(ROWS, *drawn)

    dev.release()
    page.until_texts("article .status", "success")
    assert page.texts(ROWS) == drawn
    assert page.texts("article .waterfall .label") == ["frozen"]
    figures = [figure.rsplit(" ", 2)[0] for figure in page.texts("article .figures > span")]
    assert figures[:3] == ["caller waited", "background", "billed"]


def test_next_invocation_thaws_what_was_frozen(dev: Dev, page: Page) -> None:
    """
    An environment of its own is drawn for neither: the second one finds the first one's, without an init.
    """
    for number in (1, 2):
        dev.invoke({})
        page.until_texts("article .status", *["success"] * number)

    assert page.texts("article:first-child .waterfall .label") == ["thawed", "frozen"]
    assert "init" not in page.texts("article:first-child .waterfall .name")


def test_failed_task_is_in_plain_sight(dev: Dev, page: Page) -> None:
    """
    The caller was answered well. In words, not by colour alone, and first of all.
    """
    dev.invoke({"tasks": ["charge"]})
    page.until_texts("article .status", "answered, 1 failed")

    assert page.texts(".waterfall .bad .name") == ["task charge"]
    assert page.texts(".waterfall .bad .state") == ["✗ failed"]
    assert page.text("#problems-title") == "1 failed or lost"
    assert page.texts("#problem-list b") == ["task charge failed"]
    assert page.browser.title == "(1) function"


def test_throttled_caller_is_in_plain_sight(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["send_receipt"]})
    assert dev.invoke({}).status_code == 429

    page.until(lambda: any(text.startswith("throttled") for text in page.texts("#problem-list b")))


def test_logs_of_all_or_of_the_selected_invocation(dev: Dev, page: Page) -> None:
    dev.invoke({"say": "one"})
    page.until(lambda: len(page.all("article.success")) == 1)
    dev.invoke({"say": "two"})
    page.until(lambda: len(page.all("article.success")) == 2)
    assert page.texts("#lines .function span") == ["one", "two"]

    page.all("article")[1].click()
    assert page.texts("#lines .function span") == ["one"]
    page.one("#logs-all").click()
    assert page.texts("#lines .function span") == ["one", "two"]


def test_lines_of_the_platform_look_different_and_can_be_hidden(dev: Dev, page: Page) -> None:
    dev.invoke({"say": "one"})
    page.until(lambda: any(text.startswith("REPORT") for text in page.texts("#lines .platform span")))
    colours = {kind: page.one(f"#lines .{kind}").value_of_css_property("color") for kind in ("platform", "function")}
    assert colours["platform"] != colours["function"]

    page.one("#show-platform").click()
    assert page.texts("#lines .platform") == []
    page.enter("#search", "nowhere")
    assert page.texts("#lines .function") == []


def test_hostile_text_is_text(dev: Dev, page: Page) -> None:
    """
    Events, responses, logs, errors and names come from anywhere; none of it becomes a part of the page.
    """
    dev.invoke({"say": HOSTILE, "answer": HOSTILE, "task_name": HOSTILE})
    page.until_texts("article .status", "success")
    dev.invoke({"error": HOSTILE})
    page.until(lambda: len(page.all("article")) == 2 and page.texts("#problem-list b"))
    for summary in page.all("article summary"):
        summary.click()
    page.enter("#event", json.dumps({"answer": HOSTILE}))
    page.one("#submit").click()
    page.until(lambda: HOSTILE in json.loads(page.text("#response-body") or '""'))

    assert page.texts("#lines .function span")[0] == HOSTILE
    assert f"task {HOSTILE}" in [each.get_attribute("title") for each in page.all(".waterfall .name")]
    assert page.all("img, body script ~ script") == []
    assert "owned" not in page.browser.title


# ...sending...


def test_form_sends_an_event_and_shows_the_response(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"answer": {"sum": 17}}')
    page.press(Keys.CONTROL, Keys.ENTER)

    page.until(lambda: page.text("#response-body") == '{\n  "sum": 17\n}')
    assert page.texts("#response-line span")[0] == "HTTP 200"
    assert page.texts("#response-line span")[-1].endswith(" ms")


def test_form_shows_a_function_error(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"error": "no such order"}')
    page.press(Keys.CONTROL, Keys.ENTER)

    page.until(lambda: "no such order" in page.text("#response-body"))
    assert page.texts("#response-line .bad-text") == ["Function error: Unhandled"]
    page.until_texts("article .reason", "no such order (ValueError)")
    page.until_texts("#problem-list b", "error: no such order (ValueError)")


def test_form_refuses_what_is_not_json(dev: Dev, page: Page) -> None:
    page.enter("#event", '{"answer": ')
    page.press(Keys.CONTROL, Keys.ENTER)

    assert page.text("#event-error").startswith("Not JSON")
    assert page.one("#event").get_attribute("aria-invalid") == "true"
    assert not page.one("#response").is_displayed()


def test_form_streams(dev: Dev, page: Page) -> None:
    """
    What arrives is shown as it arrives.
    """
    dev.stop()
    dev.start(command=[sys.executable, "streamer.py"])
    page.open()
    page.one("#type option[value=stream]").click()
    page.one("#submit").click()

    page.until(lambda: page.text("#response-body") == "begin")
    page.until(lambda: "2 chunks" in page.texts("#response-line span"))
    page.until(lambda: "first byte" in page.texts(ROWS))


def test_form_sends_asynchronously_and_offers_examples(dev: Dev, page: Page) -> None:
    page.until(lambda: page.all("#example option[value=sqs]"))
    page.one("#example option[value=sqs]").click()
    page.one("#type option[value=Event]").click()
    page.one("#submit").click()

    page.until(lambda: page.texts("#response-line span")[:2] == ["HTTP 202", "queued"])
    page.until(lambda: page.texts("article .facet") and page.texts("article .facet")[0].startswith("event ·"))


# ...in every way and on every device.


def test_everything_can_be_reached_by_the_keyboard(dev: Dev, page: Page) -> None:
    """
    The keys go from invocation to invocation, which shows that it has the focus, and to the parts of the page.
    """
    for number in range(3):
        dev.invoke({"say": str(number)})
        page.until(lambda: page.texts("article .status") == ["success"] * (number + 1))  # noqa: B023
    page.press(Keys.TAB, Keys.ENTER)
    assert page.browser.switch_to.active_element.get_attribute("id") == "invocations"  # by the link that skips the head
    focused = "return [...document.querySelectorAll('article')].indexOf(document.activeElement)"

    places = []
    for key in ("j", "j", "k", Keys.ARROW_DOWN, Keys.END, Keys.ARROW_UP, Keys.HOME):
        page.press(key)
        places.append(page.script(focused))
    assert places == [0, 1, 0, 1, 2, 1, 0]
    assert page.one("article:focus").value_of_css_property("outline").endswith(" solid 2px")
    assert page.texts("#lines .function span") == ["2"]
    page.press(Keys.ESCAPE)
    assert page.texts("#lines .function span") == ["0", "1", "2"]

    page.press("?")
    assert page.one("#shortcuts").is_displayed()
    page.press(Keys.ESCAPE)
    page.press("e")
    assert page.browser.switch_to.active_element.get_attribute("id") == "event"


def test_every_control_has_a_name(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["charge"]})
    page.until_texts("article .status", "answered, 1 failed")

    controls = page.all("button, select, input, textarea, a, summary, article, section, [tabindex='0']")
    assert [
        each.get_attribute("outerHTML") for each in controls if each.is_displayed() and not each.accessible_name
    ] == []
    assert page.text("#news") != ""


def test_dark_and_light(dev: Dev, page: Page) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page.emulate(prefers_color_scheme=scheme)
        page.until(lambda: page.script("return matchMedia(`(prefers-color-scheme: ${arguments[0]})`).matches", scheme))  # noqa: B023
        colours[scheme] = [page.one("html").value_of_css_property(name) for name in ("background-color", "color")]

    assert not set(colours["light"]) & set(colours["dark"])


def test_narrow_screen_needs_no_sideways_scrolling(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["charge"], "say": "a-word-without-end" * 20})
    page.until_texts("article .status", "answered, 1 failed")
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    page.until(lambda: page.script("return innerWidth === 360 && document.documentElement.scrollWidth === 360"))


def test_page_finds_the_emulator_again(dev: Dev, page: Page) -> None:
    """
    Without a reload by hand: it says that the emulator is away, and that it is another one which knows nothing yet.
    """
    dev.invoke({})
    page.until_texts("article .status", "success")
    dev.stop()
    page.until(lambda: page.text("#connection").startswith("The emulator is away"))

    dev.start()
    page.until(lambda: page.text("#connection").startswith("The emulator was restarted at "))
    assert page.all("article") == []


def test_nothing_is_fetched_from_elsewhere(dev: Dev, page: Page) -> None:
    page.until(lambda: len(page.all("#example option")) > 1)
    fetched = page.script(
        "return performance.getEntries().map((entry) => entry.name).filter((name) => name.includes(':'))"
    )

    assert {urlsplit(url).netloc for url in fetched} == {urlsplit(dev.url).netloc}
