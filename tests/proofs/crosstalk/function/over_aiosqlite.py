import os

import aiosqlite
from exchanges import over_async

connections = []


@over_async
async def handler(who):
    if not connections:
        connections.append(await aiosqlite.connect(os.path.join(os.environ["SHOP"], "aiosqlite.db")))
        await connections[0].execute("create table if not exists booking (who text not null, cents integer not null)")
    (connection,) = connections
    async with connection.execute("select who from booking group by who having sum(cents) <> 0") as cursor:
        half = await cursor.fetchone()
    if half is not None:
        return f"half a transfer of {half[0]}"
    await connection.execute("insert into booking values (?, -1)", (who,))
    async with connection.execute("select 'secret of ' || ?", (who,)) as cursor:
        (got,) = await cursor.fetchone()
    await connection.execute("insert into booking values (?, 1)", (who,))
    await connection.commit()
    return got
