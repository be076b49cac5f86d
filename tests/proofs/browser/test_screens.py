"""
The page on every screen: at each width, light and dark, with nothing to show and with more than it keeps.
"""

from __future__ import annotations

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.proofs.browser.conftest import Dev, Page

SCREENS = {
    "wide": (1440, 900),
    "laptop": (1280, 720),
    "small": (1024, 768),
    "half": (960, 1000),
    "phone": (390, 844),
    "across": (844, 390),
    "least": (320, 568),
}

# What one sees of an element, if anything.
SEEN = """
    const seen = (each) => {
        const { left, top, right, bottom } = each.getBoundingClientRect();
        return right > 0 && bottom > 0 && left < innerWidth && top < innerHeight && each.checkVisibility()
            && !each.closest(".hidden-text, .skips, .rest, .label");
    };
    const told = (each) => `${each.localName}#${each.id}.${each.className} ${each.textContent.slice(0, 60)}`;
"""

# What is wider than its place, and cannot be read in full: an event in a line is meant to be cut, and has its title.
CUT = (
    SEEN
    + """
    const measure = document.createElement("canvas").getContext("2d");
    const isCut = (each) => {
        if (!["select", "input"].includes(each.localName)) return each.scrollWidth > each.clientWidth + 1;
        measure.font = getComputedStyle(each).font;
        const shown = each.localName === "select" ? each.selectedOptions[0].text : each.placeholder;
        return measure.measureText(shown).width > each.clientWidth - 20;
    };
    const words = "h1, h2, h3, p, button, select, input[type=search], label, th, td, li, span, b";
    return [...document.querySelectorAll(words)]
        .filter((each) => seen(each) && !each.closest(".event, .track"))
        .filter((each) => getComputedStyle(each).display !== "inline" && isCut(each)).map(told);
"""
)

SIDEWAYS = (
    SEEN
    + """
    return [document.documentElement, ...document.querySelectorAll("main *")].filter((each) => {
        const scrolls = each.localName === "html" || ["auto", "scroll"].includes(getComputedStyle(each).overflowX);
        return scrolls && each.scrollWidth > each.clientWidth && seen(each);
    }).map(told);
"""
)

# The ratio of the Web Content Accessibility Guidelines, 1.4.3: 4.5 for text of this size.
FAINT = (
    SEEN
    + """
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => {
        const part = (value) => (value /= 255, value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const ground = (each) => {
        for (; each; each = each.parentElement) {
            const { backgroundColor, backgroundImage } = getComputedStyle(each);
            if (backgroundImage !== "none") return null;
            const [r, g, b, alpha = 1] = parse(backgroundColor);
            if (alpha === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const isFaint = (each) => {
        const behind = ground(each);
        if (!behind) return false;
        const [a, b] = [light(parse(getComputedStyle(each).color)), light(behind)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05) < 4.5;
    };
    const hasText = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll("body *")]
        .filter((each) => hasText(each) && seen(each) && !each.closest("select") && isFaint(each)).map(told);
"""
)


def tab(page: Page, name: str) -> None:
    """Bring the part of the page up that a phone shows in its drawer."""
    button = page.one(f"#tab-{name}")
    if button.is_displayed() and button.get_attribute("aria-expanded") == "false":
        button.click()


@pytest.mark.parametrize("count", [0, 1, 50, 2000])
def test_form_timelines_and_logs_are_on_the_first_screen(dev: Dev, page: Page, count: int) -> None:
    """
    Or one visible tab away, on a phone; nothing is cut, nothing scrolls sideways; at every width.
    """
    dev.remember(count)
    page.until(lambda: len(page.texts("article .status")) == min(count, 200))
    for screen, size in SCREENS.items():
        page.resize(*size)
        tab(page, "send")
        places = ["#event", "#submit", "#find", "article .status" if count else "#empty"]
        if size[1] < 600:  # room for one of them at a time
            places = ["#event"]
        for place in places:
            page.until(lambda: page.reachable(place))  # noqa: B023
        assert page.script(SIDEWAYS) + page.script(CUT) == [], screen
        tab(page, "logs")
        page.until(lambda: page.reachable("#lines .entry:last-child" if count else "#logs-empty"))
        assert page.script(SIDEWAYS) + page.script(CUT) == [], screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(dev: Dev, page: Page, scheme: str) -> None:
    """
    All of it, in both colours, be it of a failure, of what is selected or disabled.
    """
    dev.remember(50)
    page.emulate(prefers_color_scheme=scheme)
    page.until(lambda: page.script("return matchMedia(`(prefers-color-scheme: ${arguments[0]})`).matches", scheme))
    page.enter("#event", '{"answer": 17, "tasks": ["charge"]}')
    page.press(Keys.CONTROL, Keys.ENTER)
    page.until_texts("article[aria-current=true] .status", "answered, 1 failed")
    grounds = {"light": "rgba(246, 246, 243, 1)", "dark": "rgba(15, 17, 20, 1)"}
    assert page.one("html").value_of_css_property("background-color") == grounds[scheme]
    for screen in ("wide", "half", "phone"):
        page.resize(*SCREENS[screen])
        assert page.script(FAINT) == [], screen


def test_log_has_room_on_a_small_screen_beside_an_answer(dev: Dev, page: Page) -> None:
    page.resize(*SCREENS["laptop"])
    page.enter("#event", '{"answer": {"a": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, "lines": [1, 2, 3, 4, 5, 6, 7, 8, 9]}')
    page.press(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page.text("#response-body"))

    assert page.one("#lines").size["height"] > 180


@pytest.mark.parametrize(
    ("screen", "separator", "part", "by", "side"),
    [
        ("wide", "#inner", "#send", (0, 80), "height"),
        ("wide", "#outer", "#logs", (-80, 0), "width"),
        ("half", "#outer", "#logs", (0, -80), "height"),
        ("half", "#inner", "#logs", (-80, 0), "width"),
        ("phone", "#outer", "#send", (0, -80), "height"),
    ],
)
def test_parts_are_resized_and_stay_so(
    dev: Dev, page: Page, screen: str, separator: str, part: str, by: tuple[int, int], side: str
) -> None:
    """
    By dragging, and by the keys; after a reload as well.
    """
    page.resize(*SCREENS[screen])
    before = page.one(part).size[side]
    ActionChains(page.browser).drag_and_drop_by_offset(page.one(separator), *by).perform()
    page.until(lambda: abs(page.one(part).size[side] - before - 80) < 6)

    page.script("document.querySelector(arguments[0]).focus()", separator)
    keys = {(0, 80): Keys.ARROW_DOWN, (0, -80): Keys.ARROW_UP, (-80, 0): Keys.ARROW_LEFT}
    page.press(keys[by])
    page.until(lambda: page.one(part).size[side] > before + 90)
    after = page.one(part).size[side]
    page.open()
    assert abs(page.one(part).size[side] - after) < 3


def test_phone_shows_the_logs_of_what_was_sent(dev: Dev, page: Page) -> None:
    """
    And the drawer closes, for the room of the list.
    """
    page.resize(*SCREENS["phone"])
    page.enter("#event", '{"say": "this one"}')
    page.one("#submit").click()
    page.until_texts("#lines .function > span", "this one")
    assert page.reachable("article[aria-current=true] .status")

    before = page.one("#scroller").size["height"]
    page.one("#tab-logs").click()
    page.until(lambda: page.one("#scroller").size["height"] > before + 200)
    page.one("#tab-send").click()
    page.until(lambda: page.reachable("#event"))


def test_every_control_has_a_name(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["charge"]})
    page.until_texts("article .status", "answered, 1 failed")
    page.until_still()

    controls = page.all("button, select, input, textarea, a, article, main > section, .side > section, [tabindex='0']")
    assert [
        each.get_attribute("outerHTML") for each in controls if each.is_displayed() and not each.accessible_name
    ] == []
    assert page.text("#news") != ""


def test_word_without_end_needs_no_sideways_scrolling(dev: Dev, page: Page) -> None:
    dev.invoke({"tasks": ["charge"], "say": "a-word-without-end" * 20, "answer": "a-word-without-end" * 20})
    page.until_texts("article .status", "answered, 1 failed")
    for size in SCREENS.values():
        page.resize(*size)
        for name in ("send", "logs"):
            tab(page, name)
            assert page.script(SIDEWAYS) == []
