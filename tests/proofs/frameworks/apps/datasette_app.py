"""Datasette, with a database of two tables."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from datasette.app import Datasette

FILE = Path(os.environ["JOB_DIRECTORY"]) / "shop.db"

with sqlite3.connect(FILE) as database:
    database.executescript(
        """
        create table orders (id integer primary key, customer text, total real);
        create table notes (id text primary key, orders integer references orders (id), note text);
        create view large as select * from orders where total > 50;
        """
    )
    rows = [(number, f"Zoë {number % 7}", number * 1.5) for number in range(1, 251)]
    database.executemany("insert into orders values (?, ?, ?)", rows)
    database.execute("insert into notes values ('a/b c', 17, 'ring twice')")
database.close()

app = Datasette([str(FILE)], settings={"num_sql_threads": 2}, secret="of the tests").app()
