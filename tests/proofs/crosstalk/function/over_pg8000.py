import os

import pg8000.dbapi
from exchanges import over, transfer

connection = pg8000.dbapi.connect("shop", host="127.0.0.1", port=int(os.environ["POSTGRES_PORT"]), database="postgres")


@over
def handler(who):
    return transfer(connection, who, "select 'secret of ' || %s, pg_sleep(0.003)")
