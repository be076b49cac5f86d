"""
The logs on the page: whose lines are shown, what is shortened, and why there are none.
"""

from __future__ import annotations

import re

from tests.proofs.browser.conftest import Dev, Page

SAID = "#lines .function > span"


def ended(page: Page, count: int) -> None:
    page.until(lambda: page.texts("article .status") == ["success"] * count)


def test_logs_of_all_or_of_the_selected_invocation(dev: Dev, page: Page) -> None:
    for number, word in enumerate(("one", "two"), start=1):
        dev.invoke({"say": word})
        ended(page, number)
    assert page.texts(SAID) == ["one", "two"]

    page.all("article")[1].click()
    assert page.texts(SAID) == ["one"]
    page.one("#logs-all").click()
    assert page.texts(SAID) == ["one", "two"]


def test_line_leads_to_its_invocation(dev: Dev, page: Page) -> None:
    for number, word in enumerate(("one", "two"), start=1):
        dev.invoke({"say": word})
        ended(page, number)

    page.one(SAID).click()
    page.until(lambda: page.all("article:nth-child(2)[aria-current=true]"))


def test_lines_of_the_platform_look_different_and_can_be_hidden(dev: Dev, page: Page) -> None:
    dev.invoke({"say": "one"})
    page.until(lambda: any(text.startswith("REPORT") for text in page.texts("#lines .platform > span")))
    page.until_still()
    colours = {kind: page.one(f"#lines .{kind}").value_of_css_property("color") for kind in ("platform", "function")}
    assert colours["platform"] != colours["function"]

    page.one("#show-platform").click()
    assert page.texts("#lines .platform") == []
    page.open()
    page.until(lambda: page.texts("#lines .function"))
    assert page.texts("#lines .platform") == []


def test_ids_are_short_and_whole_for_whoever_asks(dev: Dev, page: Page) -> None:
    """
    By their title, and in what is copied.
    """
    dev.invoke({})
    page.until(lambda: page.all("#lines .platform abbr"))
    page.until_still()
    one = page.one("#lines .platform abbr")
    whole = one.get_attribute("title") or ""

    assert re.fullmatch(r"[0-9a-f-]{36}", whole)
    assert one.get_attribute("textContent") == whole
    assert page.script("return arguments[0].getBoundingClientRect().width", one) < 80


def test_empty_panel_says_why(dev: Dev, page: Page) -> None:
    assert page.text("#logs-empty") == "No output yet: what the function prints appears here."
    dev.invoke({"say": "one"})
    ended(page, 1)

    page.enter("#search", "nowhere")
    page.until(lambda: page.text("#logs-empty") == "No line has “nowhere”.")
    page.one("#show-platform").click()
    page.one("#show-note").click()
    page.until(lambda: page.text("#logs-empty").endswith("lines of the platform and the emulator are not shown."))
    page.one("#search").clear()
    page.one("#show-function").click()
    page.until(lambda: page.text("#logs-empty").startswith("Nothing to see"))


def test_lines_that_are_gone_are_said_to_be(dev: Dev, page: Page) -> None:
    """
    Those of an invocation which later ones have pushed out, also for a page that is opened afterwards.
    """
    dev.invoke({"say": "one"})
    ended(page, 1)
    page.one("article").click()
    dev.invoke({"lines": list(range(2500))})

    gone = "The lines of this invocation are gone: the page keeps the last 2,000."
    page.until(lambda: page.text("#logs-empty") == gone)
    page.open()
    ended(page, 2)
    page.all("article .line")[1].click()
    page.until(lambda: page.text("#logs-empty") == gone)


def test_lines_that_are_gone_in_part_are_said_to_be(dev: Dev, page: Page) -> None:
    dev.invoke({"lines": list(range(2500))})
    ended(page, 1)
    page.one("article .line").click()
    cut = "Earlier lines are gone: the page keeps the last 2,000."
    page.until(lambda: page.text("#logs-cut") == cut)

    dev.invoke({"say": "one"})
    ended(page, 2)
    page.all("article .line")[0].click()
    page.until(lambda: page.texts(SAID) == ["one"])
    assert page.texts("#logs-cut") == []


def test_panel_follows_the_newest_line_until_one_scrolls_up(dev: Dev, page: Page) -> None:
    at_the_end = "const l = document.querySelector('#lines'); return l.scrollHeight - l.scrollTop - l.clientHeight < 30"
    dev.invoke({"lines": list(range(200))})
    ended(page, 1)
    assert page.script(at_the_end)

    page.script("document.querySelector('#lines').scrollTop = 0")
    page.until(lambda: page.one("#to-the-end").is_displayed())
    dev.invoke({"say": "one"})
    ended(page, 2)
    assert not page.script(at_the_end)
    page.one("#to-the-end").click()
    assert page.script(at_the_end)
