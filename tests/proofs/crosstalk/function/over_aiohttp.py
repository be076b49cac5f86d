import os

import aiohttp
from exchanges import over_async

sessions = []


@over_async
async def handler(who):
    if not sessions:
        sessions.append(aiohttp.ClientSession())
    async with sessions[0].get(f"http://127.0.0.1:{os.environ['HTTP_PORT']}/{who}") as response:
        return await response.text()
