"""
What all these functions do: exchanges over a connection that is kept, one, or so many until the time is up.

An exchange asks for what belongs to the caller. In a database it is a transaction that moves a cent, so that a half of
it shows: each caller's bookings add up to nothing.
"""

import asyncio
import os
import sys
import time
import uuid

ME = {"process": os.getpid(), "interpreter": uuid.uuid4().hex}
INTERRUPTED_AT = float(os.environ["INTERRUPTED_AT"])
"""Seconds before its deadline at which a handler is interrupted, or killed."""

HALVES = "select who from booking group by who having sum(cents) <> 0"
DEBIT = "insert into booking values (%s, -1)"
CREDIT = "insert into booking values (%s, 1)"


def over(exchange):
    """Return a handler for the function *exchange*, which is called with the caller's name."""

    def handler(event, context):
        if event["busy"]:
            time.sleep(max(_left(context) - event["busy"], 0))
        while True:
            got = exchange(event["who"])
            if not event["busy"] or got != f"secret of {event['who']}":
                return {"got": got, **ME}

    return handler


def over_async(exchange):
    """Return a handler for the coroutine function *exchange*."""

    async def handler(event, context):
        if event["busy"]:
            await asyncio.sleep(max(_left(context) - event["busy"], 0))
        while True:
            got = await exchange(event["who"])
            if not event["busy"] or got != f"secret of {event['who']}":
                return {"got": got, **ME}

    if "awslambdaric" not in sys.modules:
        return handler
    loop = asyncio.new_event_loop()  # it has none
    return lambda event, context: loop.run_until_complete(handler(event, context))


def _left(context):
    return context.get_remaining_time_in_millis() / 1000 - INTERRUPTED_AT


def transfer(connection, who, secret):
    """Move a cent over *connection*, of DB-API, and ask for what *secret* selects in between."""
    cursor = connection.cursor()
    cursor.execute(HALVES)
    half = cursor.fetchone()
    if half is not None:
        return f"half a transfer of {half[0]}"
    cursor.execute(DEBIT, (who,))
    cursor.execute(secret, (who,))
    got = cursor.fetchone()[0]
    cursor.execute(CREDIT, (who,))
    connection.commit()
    return got
