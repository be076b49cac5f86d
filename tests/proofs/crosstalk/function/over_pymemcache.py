import os

from exchanges import over
from pymemcache.client.base import Client

client = Client(("127.0.0.1", int(os.environ["MEMCACHED_PORT"])), no_delay=True)


@over
def handler(who):
    client.set(f"of-{who}", f"secret of {who}".ljust(500_000))  # more than one read has room for
    return client.get(f"of-{who}").decode().rstrip()
