import os

import aiomysql
from exchanges import CREDIT, DEBIT, HALVES, over_async

connections = []


@over_async
async def handler(who):
    if not connections:
        where = {"host": "127.0.0.1", "port": int(os.environ["MARIADB_PORT"]), "user": "shop", "db": "shop"}
        connections.append(await aiomysql.connect(**where))
    (connection,) = connections
    cursor = await connection.cursor()
    await cursor.execute(HALVES)
    half = await cursor.fetchone()
    if half is not None:
        return f"half a transfer of {half[0]}"
    await cursor.execute(DEBIT, (who,))
    await cursor.execute("select concat('secret of ', %s), sleep(0.003)", (who,))
    (got, _) = await cursor.fetchone()
    await cursor.execute(CREDIT, (who,))
    await connection.commit()
    return got
