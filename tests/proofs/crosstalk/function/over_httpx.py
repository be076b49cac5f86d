import os

import httpx
from exchanges import over

client = httpx.Client(base_url=f"http://127.0.0.1:{os.environ['HTTP_PORT']}", trust_env=False)


@over
def handler(who):
    return client.get(f"/{who}").text
