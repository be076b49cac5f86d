"""
The forms that a handler can have, as source: each under `decorated`, a library's decorators, and around `work`.

Both are for the source before it to define, with PAUSE and the imports.
"""

from __future__ import annotations

PAUSE = 0.02
"""How many seconds each of them takes."""

FORMS = """
from lambda_ric import blocking

@decorated
def plain(event, context):
    time.sleep(PAUSE)
    work(event)
    return "done"

@decorated
@after_response
def continued(event, context):
    time.sleep(PAUSE)
    work(event)
    yield "done"

@decorated
@blocking
async def awaited(event, context):
    await asyncio.sleep(PAUSE)
    work(event)
    return "done"

@decorated
@blocking
@after_response
async def awaited_and_continued(event, context):
    await asyncio.sleep(PAUSE)
    work(event)
    yield "done"

@decorated
@blocking
def streamed(event, context):
    yield "do"
    time.sleep(PAUSE)
    work(event)
    yield "ne"

@decorated
@blocking
async def awaited_and_streamed(event, context):
    yield "do"
    await asyncio.sleep(PAUSE)
    work(event)
    yield "ne"

def handler(event, context):
    return globals()[event["form"]](event, context)
"""

STREAMING = ["streamed", "awaited_and_streamed"]
NAMES = ["plain", "continued", "awaited", "awaited_and_continued", *STREAMING]
