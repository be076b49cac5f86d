import os

from exchanges import HALVES, over
from sqlalchemy import create_engine, text

engine = create_engine(
    f"postgresql+pg8000://shop@127.0.0.1:{os.environ['POSTGRES_PORT']}/postgres", pool_size=1, max_overflow=0
)


@over
def handler(who):
    with engine.begin() as connection:
        half = connection.execute(text(HALVES)).scalar()
        if half is not None:
            return f"half a transfer of {half}"
        connection.execute(text("insert into booking values (:who, -1)"), {"who": who})
        got = connection.execute(text("select 'secret of ' || :who, pg_sleep(0.003)"), {"who": who}).scalar()
        connection.execute(text("insert into booking values (:who, 1)"), {"who": who})
    return got
