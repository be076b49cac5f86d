import os

import pymysql
from exchanges import over, transfer

connection = pymysql.connect(host="127.0.0.1", port=int(os.environ["MARIADB_PORT"]), user="shop", database="shop")


@over
def handler(who):
    return transfer(connection, who, "select concat('secret of ', %s), sleep(0.003)")
