import os

import psycopg
from exchanges import CREDIT, DEBIT, HALVES, over_async

connections = []


@over_async
async def handler(who):
    if not connections:
        where = f"host=127.0.0.1 port={os.environ['POSTGRES_PORT']} user=shop dbname=postgres"
        connections.append(await psycopg.AsyncConnection.connect(where))
    (connection,) = connections
    cursor = connection.cursor()
    half = await (await cursor.execute(HALVES)).fetchone()
    if half is not None:
        return f"half a transfer of {half[0]}"
    await cursor.execute(DEBIT, (who,))
    await cursor.execute("select 'secret of ' || %s, pg_sleep(0.003)", (who,))
    (got, _) = await cursor.fetchone()
    await cursor.execute(CREDIT, (who,))
    await connection.commit()
    return got
