import os

import redis
from exchanges import over

client = redis.Redis(port=int(os.environ["REDIS_PORT"]), decode_responses=True, single_connection_client=True)


@over
def handler(who):
    client.wait(1, 3)  # for a replica that there is not, 3 ms
    return client.echo(f"secret of {who}")
