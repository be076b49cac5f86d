import os

import aiomcache
from exchanges import over_async

clients = []


@over_async
async def handler(who):
    if not clients:
        clients.append(aiomcache.Client("127.0.0.1", int(os.environ["MEMCACHED_PORT"]), pool_size=1))
    (client,) = clients
    await client.set(f"of-{who}".encode(), f"secret of {who}".ljust(500_000).encode())
    return (await client.get(f"of-{who}".encode())).decode().rstrip()
