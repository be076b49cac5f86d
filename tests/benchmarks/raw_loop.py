"""The floor: what Python, a socket and the json module cost when there is no runtime around them."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys

host, colon, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
module, dot, function = sys.argv[1].rpartition(".")
handler = getattr(importlib.import_module(module), function)
connection = socket.create_connection((host, int(port)))
path = "/2018-06-01/runtime/invocation"
while True:
    connection.sendall(f"GET {path}/next HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    request_id = headers[b"lambda-runtime-aws-request-id"].decode()
    if b"transfer-encoding" in headers:  # one chunk, as the fake API sends it
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += connection.recv(1 << 20)
        body = body.partition(b"\r\n")[2].removesuffix(b"\r\n0\r\n\r\n")
    try:
        answer, result = "response", handler(json.loads(body), None)
    except Exception as exc:
        answer, result = "error", {"errorType": type(exc).__name__, "errorMessage": str(exc)}
    content = json.dumps(result).encode()
    post = f"POST {path}/{request_id}/{answer} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}"
    connection.sendall(post.encode() + b"\r\n\r\n" + content)
    connection.recv(65536)
