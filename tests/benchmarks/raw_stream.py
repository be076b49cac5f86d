"""The floor of a stream in Python: every chunk is sent at once, with nothing between the handler and the socket."""

from __future__ import annotations

import importlib
import os
import socket
import sys

sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module, _, name = sys.argv[1].rpartition(".")
handler = getattr(importlib.import_module(module), name)
host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].rpartition(":")
connection = socket.create_connection((host, int(port)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while True:
    connection.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: lambda\r\n\r\n")
    connection.recv(65536)
    connection.sendall(
        b"POST /2018-06-01/runtime/invocation/1/response HTTP/1.1\r\nHost: lambda\r\n"
        b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for data in handler({}, None):
        data = data.encode() if isinstance(data, str) else data
        connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
    connection.sendall(b"0\r\n\r\n")
    connection.recv(65536)
