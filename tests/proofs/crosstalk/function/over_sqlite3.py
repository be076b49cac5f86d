import os
import sqlite3

from exchanges import over

connection = sqlite3.connect(os.path.join(os.environ["SHOP"], "sqlite3.db"))
connection.execute("create table if not exists booking (who text not null, cents integer not null)")


@over
def handler(who):
    half = connection.execute("select who from booking group by who having sum(cents) <> 0").fetchone()
    if half is not None:
        return f"half a transfer of {half[0]}"
    connection.execute("insert into booking values (?, -1)", (who,))
    (got,) = connection.execute("select 'secret of ' || ?", (who,)).fetchone()
    connection.execute("insert into booking values (?, 1)", (who,))
    connection.commit()
    return got
