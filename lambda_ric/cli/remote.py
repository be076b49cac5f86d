"""
`lambda-ric invoke --endpoint`: an event to a function that somebody else has started.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from urllib.parse import quote

import httpx

from lambda_ric.emulator import Decoder, EventStreamError
from lambda_ric.errors import ConfigurationError

from .output import decode, print_json, print_response, write


def invoke_remotely(endpoint: str, name: str, event: bytes, options: argparse.Namespace) -> int:
    """
    Send *event* to the function *name* at *endpoint*; return the exit code.

    Raises:
        ConfigurationError: Nobody is there, or does not accept the event.
    """
    try:
        if (httpx.URL(endpoint).port or 0) > 65535:
            # The system takes it modulo 65536, and whoever listens there would get the event.
            raise ValueError("there is no such port")
        # No proxy of the environment, no limit of time: the function has one.
        with httpx.Client(base_url=endpoint, trust_env=False, timeout=httpx.Timeout(10, read=None)) as client:
            if options.stream:
                return _stream(client, name, event)
            return _invoke(client, name, event, options.output)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as exc:
        raise ConfigurationError(f"--endpoint {endpoint} is not a URL such as http://127.0.0.1:9000: {exc}") from exc
    except httpx.HTTPError as exc:
        raise ConfigurationError(f"--endpoint {endpoint}: {str(exc) or type(exc).__name__}") from exc


def _invoke(client: httpx.Client, name: str, event: bytes, output: str) -> int:
    headers = {"Content-Type": "application/json"}
    if output == "json":
        headers["X-Amz-Log-Type"] = "Tail"  # which has to wait for the end of the background work
    reply = client.post(f"/2015-03-31/functions/{quote(name, safe='')}/invocations", content=event, headers=headers)
    _check(reply, reply.content)
    error = reply.headers.get("X-Amz-Function-Error")
    if output == "json":
        response, encoding = decode(reply.content)
        print_json(
            {
                "request_id": reply.headers.get("X-Amzn-RequestId"),
                "status": "error" if error else "success",
                "function_error": error,
                "response": response,
                "response_encoding": encoding,
                "content_type": reply.headers.get("Content-Type"),
                "log_tail": _log(reply.headers.get("X-Amz-Log-Result", "")),
            }
        )
    else:
        print_response(reply.content)
    return 1 if error else 0


def _stream(client: httpx.Client, name: str, event: bytes) -> int:
    path = f"/2021-11-15/functions/{quote(name, safe='')}/response-streaming-invocations"
    headers = {"Content-Type": "application/json", "X-Amz-Log-Type": "Tail"}
    decoder = Decoder()
    end = None
    with client.stream("POST", path, content=event, headers=headers) as reply:
        if reply.status_code != 200:
            _check(reply, reply.read())
        try:
            for data in reply.iter_raw():
                for kind, payload in decoder.feed(data):
                    if kind == "PayloadChunk":
                        write(sys.stdout, payload)
                    elif kind == "InvokeComplete":
                        end = json.loads(payload)
        except (EventStreamError, ValueError) as exc:
            raise ConfigurationError(f"what came is not an event stream: {exc}") from exc
    if end is None:
        write(sys.stderr, "the stream broke off before it was complete\n")
        return 1
    write(sys.stderr, _log(end.get("LogResult") or ""))
    if end.get("ErrorCode"):
        write(sys.stderr, f"{end['ErrorCode']}: {end.get('ErrorDetails') or ''}\n")
        return 1
    return 0


def _check(reply: httpx.Response, body: bytes) -> None:
    if reply.status_code == 200:
        return
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
        text = document.get("message") or document.get("Message") or text
    except (ValueError, AttributeError):
        pass
    kind = reply.headers.get("x-amzn-ErrorType", f"status {reply.status_code}")
    raise ConfigurationError(f"{kind}: {text[:1000]}")


def _log(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""
