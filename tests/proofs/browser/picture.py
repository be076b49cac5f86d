"""
What ``python -m tests.proofs.browser.picture`` does: it makes the pictures that the documentation shows, of the page
and of one timeline on it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from selenium.webdriver.common.keys import Keys

from tests.proofs.browser.conftest import REPOSITORY, Dev, Page, chromium

PICTURES = REPOSITORY / "docs" / "pictures"

ORDERS = """
    import time
    from lambda_ric import wait_until

    def send_receipt(order):
        time.sleep(0.22)

    def update_search_index(order):
        time.sleep(0.41)

    def charge_card(order):
        time.sleep(0.13)
        if order["card"] == "expired":
            raise ValueError("the card has expired")

    def handler(event, context):
        print("order", event["order"], "accepted")
        time.sleep(0.06)
        for task in (charge_card, send_receipt, update_search_index):
            wait_until(task, event)
        return {"statusCode": 202, "order": event["order"]}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        dev = Dev(Path(directory), ORDERS)
        dev.start(concurrency=2)
        try:
            page = Page(browser, dev.url)
            page.resize(1240, 640)
            for number, card in enumerate(["valid", "valid", "expired", "valid", "valid"], start=17):
                dev.invoke({"order": f"o-{number}", "card": card})
                page.until(lambda: page.texts("article.going") == [])
            page.enter("#event", '{"order": "o-22", "card": "expired"}')
            page.press(Keys.CONTROL, Keys.ENTER)
            page.until_texts("article[aria-current=true] .status", "answered, 1 failed")
            page.script("document.activeElement.blur()")
            PICTURES.mkdir(exist_ok=True)
            browser.save_screenshot(str(PICTURES / "page.png"))
            page.one("article[aria-current=true] table").screenshot(str(PICTURES / "timeline.png"))
        finally:
            dev.stop()
    for picture in sorted(PICTURES.iterdir()):
        print(f"{picture.relative_to(REPOSITORY)}: {picture.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
