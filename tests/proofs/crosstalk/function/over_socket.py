import os
import socket

from exchanges import over

connection = socket.create_connection(("127.0.0.1", int(os.environ["LINES_PORT"])))
lines = connection.makefile("r")


@over
def handler(who):
    connection.sendall(f"{who}\n".encode())
    return lines.readline().strip()
