"""Handlers that need no import, so that a cold start measures the runtime alone."""

from __future__ import annotations


class OrderError(Exception):
    pass


def empty(event: object, context: object) -> dict[str, bool]:
    return {"ok": True}


def order(event: dict[str, dict[str, str]], context: object) -> dict[str, object]:
    lines = [
        {
            "sku": f"kettle-{number:04}",
            "title": "Gooseneck kettle, 0.8 l, brushed steel",
            "quantity": number,
            "price": {"amount": 59.9, "currency": "EUR"},
            "gift": False,
            "note": None,
        }
        for number in range(1, 8)
    ]
    return {"order": event["pathParameters"]["id"], "status": "accepted", "lines": lines, "total": 1677.2}


def failing(event: object, context: object) -> None:
    _check_stock()


def _check_stock() -> None:
    raise OrderError("kettle-0001 is out of stock")
