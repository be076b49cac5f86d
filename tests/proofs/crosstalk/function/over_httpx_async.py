import os

import httpx
from exchanges import over_async

client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{os.environ['HTTP_PORT']}", trust_env=False)


@over_async
async def handler(who):
    return (await client.get(f"/{who}")).text
