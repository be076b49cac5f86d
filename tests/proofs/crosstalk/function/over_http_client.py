import http.client
import os

from exchanges import over

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["HTTP_PORT"]))


@over
def handler(who):
    connection.request("GET", f"/{who}")
    return connection.getresponse().read().decode()
