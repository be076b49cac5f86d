"""
The list of invocations: two hundred of them fold, are filtered, searched and gone through by the keyboard.
"""

from __future__ import annotations

import pytest
from selenium.webdriver.common.keys import Keys

from tests.proofs.browser.conftest import Dev, Page


@pytest.fixture
def full(dev: Dev, page: Page) -> Page:
    """The page of an emulator that has seen more invocations than it keeps."""
    dev.remember(250)
    page.until(lambda: len(page.texts("article")) == 200 and page.texts("article .status"))
    return page


def test_invocations_are_a_line_each_and_one_is_unfolded(full: Page) -> None:
    """
    The newest one, until another one is selected.
    """
    assert len(full.texts(".waterfall")) == 1
    assert full.texts("article:first-child .waterfall") != []

    full.all("article .line")[3].click()
    full.until(lambda: full.texts("article:nth-child(4) .waterfall"))
    assert len(full.texts(".waterfall")) == 1
    full.all("article .line")[3].click()
    full.until(lambda: full.texts(".waterfall") == [])


def test_several_are_unfolded_by_hand(full: Page) -> None:
    """
    To be compared; the newest one folds as well, also where all are unfolded.
    """
    for number in (3, 4):
        full.all("article .chevron")[number].click()
    full.until(lambda: len(full.texts(".waterfall")) == 3)
    full.all("article .chevron")[0].click()
    full.until(lambda: len(full.texts(".waterfall")) == 2)

    full.one("#unfold").click()
    full.until(lambda: len(full.texts(".waterfall")) == 200)
    full.all("article .chevron")[0].click()
    full.until(lambda: len(full.texts(".waterfall")) == 199)


def test_all_are_unfolded_and_folded_at_once(full: Page) -> None:
    full.one("#unfold").click()
    full.until(lambda: len(full.texts(".waterfall")) == 200)

    full.one("#unfold").click()
    full.until(lambda: len(full.texts(".waterfall")) == 1)


def test_list_says_what_is_gone(full: Page) -> None:
    assert full.text("#gone") == "50 older invocations are gone: the page keeps the last 200."


def test_list_is_filtered_by_state(full: Page) -> None:
    assert full.texts("#states button") == ["All 200", "Running 0", "Succeeded 155", "Failed 45"]

    full.one("#states [data-state=failed]").click()
    full.until(lambda: len(full.texts("article")) == 45)
    assert len(full.texts(".waterfall")) == 1
    assert full.texts("article .reasons li:empty") == []


def test_list_is_searched(full: Page) -> None:
    """
    In events, responses, tasks and reasons; all words have to be there, in any case.
    """
    searches = {"o-249": 1, "CARD expired": 28, "no such order": 20, "charge": 200, "nowhere": 0}
    for words, found in searches.items():
        full.enter("#find", words)
        full.until(lambda: len(full.texts("article")) == found)  # noqa: B023


def test_empty_list_says_why(dev: Dev, page: Page) -> None:
    page.until(lambda: page.text("#empty").startswith("No invocation yet."))
    assert dev.url in page.text("#empty")

    dev.remember(1)
    page.until(lambda: not page.one("#empty").is_displayed())
    page.enter("#find", "nowhere")
    page.until(lambda: page.text("#empty").startswith("No invocation matches"))
    page.one("#empty button").click()
    page.until(lambda: len(page.texts("article")) == 1)


def test_what_is_selected_stays_where_it_is_while_others_come(dev: Dev, page: Page) -> None:
    dev.remember(50)
    page.until(lambda: len(page.all("article")) == 50)
    page.press("j", "j", "j")
    place = "return Math.round(document.querySelector('[aria-current=true]').getBoundingClientRect().top)"
    before = page.script(place)

    dev.remember(5)
    page.until(lambda: len(page.all("article")) == 55)
    assert page.script(place) == before
    assert len(page.texts(".waterfall")) == 1


def test_everything_can_be_reached_by_the_keyboard(dev: Dev, page: Page) -> None:
    """
    The keys go from invocation to invocation, which shows that it has the focus, and to the parts of the page.
    """
    for number in range(3):
        dev.invoke({"say": str(number)})
        page.until(lambda: page.texts("article .status") == ["success"] * (number + 1))  # noqa: B023
    focused = "return [...document.querySelectorAll('article')].indexOf(document.activeElement)"

    places = []
    for key in ("j", "j", "k", Keys.ARROW_DOWN, Keys.END, Keys.ARROW_UP, Keys.HOME):
        page.press(key)
        places.append(page.script(focused))
    assert places == [0, 1, 0, 1, 2, 1, 0]
    assert page.one("article:focus").value_of_css_property("outline").endswith(" solid 2px")
    assert page.texts("#lines .function > span") == ["2"]
    page.press(Keys.ESCAPE)
    assert page.texts("#lines .function > span") == ["0", "1", "2"]

    page.press("?")
    assert page.one("#shortcuts").is_displayed()
    page.press(Keys.ESCAPE)
    page.press("f")
    assert page.has_focus("#find")
    page.press(Keys.ESCAPE, "/")
    assert page.has_focus("#search")
    page.press(Keys.ESCAPE, Keys.HOME, "r")
    assert page.has_focus("#event")
    assert page.one("#event").get_attribute("value") == '{\n  "say": "2"\n}'


@pytest.mark.parametrize(("link", "part"), [(1, "#invocations"), (2, "#send"), (3, "#logs")])
def test_parts_are_a_skip_link_away(page: Page, link: int, part: str) -> None:
    page.press(*[Keys.TAB] * link, Keys.ENTER)

    assert page.has_focus(part)


def test_way_by_tab_does_not_lead_through_every_invocation(full: Page) -> None:
    """
    The unfolded one has its stops, the others have none.
    """
    stops = "return [...document.querySelectorAll('#list *, article')].filter((each) => each.tabIndex === 0).length"

    assert full.script(stops) < 12
