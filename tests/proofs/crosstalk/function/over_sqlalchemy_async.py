import os

from exchanges import HALVES, over_async
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(
    f"postgresql+asyncpg://shop@127.0.0.1:{os.environ['POSTGRES_PORT']}/postgres", pool_size=1, max_overflow=0
)


@over_async
async def handler(who):
    async with engine.begin() as connection:
        half = await connection.scalar(text(HALVES))
        if half is not None:
            return f"half a transfer of {half}"
        await connection.execute(text("insert into booking values (:who, -1)"), {"who": who})
        got = await connection.scalar(text("select 'secret of ' || cast(:who as text), pg_sleep(0.003)"), {"who": who})
        await connection.execute(text("insert into booking values (:who, 1)"), {"who": who})
    return got
