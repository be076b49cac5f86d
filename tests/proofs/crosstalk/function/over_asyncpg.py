import os

import asyncpg
from exchanges import HALVES, over_async

connections = []


@over_async
async def handler(who):
    if not connections:
        where = {"host": "127.0.0.1", "port": int(os.environ["POSTGRES_PORT"]), "user": "shop", "database": "postgres"}
        connections.append(await asyncpg.connect(**where))
    (connection,) = connections
    await connection.execute("begin")
    half = await connection.fetchval(HALVES)
    if half is not None:
        return f"half a transfer of {half}"
    await connection.execute("insert into booking values ($1, -1)", who)
    got = await connection.fetchval("select 'secret of ' || $1, pg_sleep(0.003)", who)
    await connection.execute("insert into booking values ($1, 1)", who)
    await connection.execute("commit")
    return got
