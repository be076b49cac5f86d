import os

import requests
from exchanges import over

session = requests.Session()


@over
def handler(who):
    return session.get(f"http://127.0.0.1:{os.environ['HTTP_PORT']}/{who}").text
