import os

import psycopg
from exchanges import over, transfer

connection = psycopg.connect(f"host=127.0.0.1 port={os.environ['POSTGRES_PORT']} user=shop dbname=postgres")


@over
def handler(who):
    return transfer(connection, who, "select 'secret of ' || %s, pg_sleep(0.003)")
