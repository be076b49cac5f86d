import os

import redis.asyncio
from exchanges import over_async

client = redis.asyncio.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True, max_connections=1)


@over_async
async def handler(who):
    await client.wait(1, 3)
    return await client.echo(f"secret of {who}")
