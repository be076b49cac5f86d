import os

import urllib3
from exchanges import over

pool = urllib3.HTTPConnectionPool("127.0.0.1", int(os.environ["HTTP_PORT"]), maxsize=1, block=False)


@over
def handler(who):
    return pool.request("GET", f"/{who}").data.decode()
