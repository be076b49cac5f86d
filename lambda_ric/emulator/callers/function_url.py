"""
The function URL: an HTTP request becomes an event, and what the function answers an HTTP response.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html

"Recorded" marks what that page does not say, or says differently, and was
seen on real URLs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qsl

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError, ThrottledError
from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.json_text import read_json
from lambda_ric.emulator.http.messages import JSON, BodyTooLargeError, CutError, Reply, Request, json_reply
from lambda_ric.limits import MAX_EVENT
from lambda_ric.protocol import PRELUDE_TYPE

from .http_response import HOP_BY_HOP, MalformedResponseError, Prelude, buffered_reply, may_have_body, whole_stream
from .notes import Note, no_note

log: logging.Logger = logging.getLogger("lambda_ric.emulator")

Mode = Literal["buffered", "stream", "auto"]

# Measured with the same payload format on an HTTP API: a form, and a body of no type, come in base64 too.
_TEXT_TYPES = re.compile(r"text/.+|application/(json|xml|javascript)")


class FunctionURL:
    """
    Serves a function over HTTP.

    *mode* is what a real URL is configured to: ``buffered``, or ``stream``,
    in which the JSON of a runtime that does not stream reaches the client as
    it is. ``auto`` goes by what the runtime does, which no real URL can.
    """

    def __init__(
        self,
        function: Function,
        submit: Callable[[Invocation], None],
        clock: Callable[[], float] = time.time,
        mode: Mode = "auto",
        note: Note = no_note,
    ) -> None:
        self._function = function
        self._submit = submit
        self._clock = clock
        self._mode = mode
        self._note = note
        self._told: set[str] = set()

    async def serve(self, request: Request, path: str) -> Reply:
        """Answer *request*, whose path below the URL is *path*, percent-encoded."""
        invocation = Invocation(
            event=b"",
            function_arn=self._function.arn,
            requested_at=self._clock(),
            trace_id=_given_trace_id(request),
            source="function-url",
            streaming=self._mode != "buffered",
            collects_unmarked_json=self._mode == "auto",
        )
        reply = await self._answer(invocation, request, path)
        platform = {"x-amzn-requestid": invocation.request_id, "x-amzn-trace-id": invocation.trace_id}
        return replace(reply, headers={**reply.headers, **platform})

    async def _answer(self, invocation: Invocation, request: Request, path: str) -> Reply:
        try:
            body = await request.body(MAX_EVENT)
            invocation.event = request_event(self._function, request, path, body, invocation)
            if len(invocation.event) > MAX_EVENT:
                raise BodyTooLargeError
            self._submit(invocation)
            return await self._response(invocation, request)
        except BodyTooLargeError:
            text = f"Request must be smaller than {MAX_EVENT} bytes for the InvokeFunction operation"
            return _refusal(413, "RequestEntityTooLargeException", text)
        except ThrottledError:
            return _refusal(429, "TooManyRequestsException", "Rate Exceeded.")
        except (MalformedResponseError, EmulatorError) as exc:
            log.warning("function URL: 502 for invocation %s: %s", invocation.request_id, exc)
            # Recorded: this text, whatever went wrong in the function.
            return Reply(502, b"Internal Server Error", {"content-type": JSON})

    async def _response(self, invocation: Invocation, request: Request) -> Reply:
        if invocation.streaming:
            await invocation.delivery.begun()
            if invocation.response_streamed:
                return await _streamed(invocation, body_wanted=request.method != "HEAD")
        answer = await invocation.answered()
        if answer.function_error is not None:
            raise MalformedResponseError(f"the function failed with {answer.function_error}")
        if invocation.streaming and _is_prelude(answer.content_type):
            return whole_stream(answer.payload)
        if self._mode == "stream":
            if _is_proxy_response(answer.payload):
                self._tell(invocation, "answers in one piece, and the URL streams: the client gets the JSON as it is")
            return Reply(200, answer.payload, {"content-type": answer.content_type})
        if invocation.delivery.collected:
            self._tell(invocation, "streams, and the URL does not: the stream was collected, and is read as JSON")
        reply = buffered_reply(answer.payload)
        if _media_type(str(reply.headers.get("content-type", [""])[0])) == "text/event-stream":
            self._tell(invocation, "answers with an event stream in one piece, when its last event was made")
        return reply

    def _tell(self, invocation: Invocation, what: str) -> None:
        """Say once that two settings do not fit together, which have to be set together in the cloud as well."""
        if what not in self._told:
            self._told.add(what)
            text = f"the function {what}. LAMBDA_RIC_INVOKE_MODE and --url-mode (a URL's InvokeMode) have to agree"
            self._note("stream", text, invocation)


def request_event(function: Function, request: Request, path: str, body: bytes, invocation: Invocation) -> bytes:
    """Return the event in payload format 2.0, as JSON, that *invocation* of *function* gets for *request*."""
    url_id = hashlib.sha256(function.arn.encode()).hexdigest()[:32]
    headers = {name: _decoded(value) for name, value in request.headers.items() if name not in HOP_BY_HOP}
    # A real URL's host is its domain; here frameworks that build links from it get the address that was called.
    host = headers.setdefault("host", f"{url_id}.lambda-url.{function.region}.on.aws")
    port = re.search(r":([0-9]+)$", host)
    # Whoever can reach the loopback interface is on it.
    source_ip = "127.0.0.1"
    headers["x-amzn-trace-id"] = _given_trace_id(request) or invocation.trace_id.partition(";")[0]
    headers["x-forwarded-for"] = source_ip
    headers["x-forwarded-port"] = port[1] if port else "80"
    headers["x-forwarded-proto"] = "http"

    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path or "/",
        "rawQueryString": request.query,
    }
    # Recorded: they stay among the headers as well.
    if "cookie" in headers:
        event["cookies"] = [cookie for part in headers["cookie"].split(";") if (cookie := part.strip())]
    event["headers"] = headers
    if parameters := _query_parameters(request.query):
        event["queryStringParameters"] = parameters
    # Recorded: without IAM there are no `authentication` and `authorizer`, be it as null.
    event["requestContext"] = {
        "accountId": "anonymous",
        "apiId": url_id,
        "domainName": host,
        "domainPrefix": url_id,
        "http": {
            "method": request.method,
            "path": path or "/",
            "protocol": "HTTP/1.1",
            "sourceIp": source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": invocation.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(invocation.requested_at)),
        "timeEpoch": int(invocation.requested_at * 1000),
    }
    text = _text(body, headers.get("content-type", ""))
    if body:
        event["body"] = base64.b64encode(body).decode() if text is None else text
    event["isBase64Encoded"] = text is None
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(value: str) -> str:
    """Return the text of a header: JSON cannot carry bytes, and whatever serves the event encodes it as UTF-8 again."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:  # Latin-1, which HTTP once was
        return value


def _given_trace_id(request: Request) -> str:
    given = request.headers.get("x-amzn-trace-id", "")
    return given if "Root=" in given else ""


def _query_parameters(query: str) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return {name: ",".join(several) for name, several in values.items()}


def _text(body: bytes, content_type: str) -> str | None:
    """Return *body* as text, or None if it has to travel in base64."""
    if body and not _TEXT_TYPES.fullmatch(_media_type(content_type)):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


async def _streamed(invocation: Invocation, *, body_wanted: bool) -> Reply:
    chunks = invocation.chunks()
    head, first = Reply(200, b"", {"content-type": invocation.content_type_of_response}), b""
    if _is_prelude(invocation.content_type_of_response):
        try:
            head, first = await _read_prelude(chunks)
        except MalformedResponseError:
            await _close(chunks)
            raise
    if body_wanted and may_have_body(head.status):
        return replace(head, body=_rest(invocation, first, chunks))
    async for _ in chunks:
        break
    await _close(chunks)
    return head


async def _read_prelude(chunks: AsyncIterator[bytes]) -> tuple[Reply, bytes]:
    prelude = Prelude()
    async for chunk in chunks:
        first = prelude.feed(chunk)
        if prelude.head is not None:
            return prelude.head, first
    raise MalformedResponseError("the stream ended before its prelude did")


async def _rest(invocation: Invocation, first: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for chunk in chunks:
            yield chunk
    except EmulatorError as exc:
        raise CutError(str(exc)) from exc
    finally:
        await _close(chunks)
    error = invocation.answer.function_error if invocation.answer is not None else None
    if error is not None:
        # The status was sent long ago: all that is left is to show the client that the end is missing.
        log.warning("function URL: the stream of invocation %s is cut: %s", invocation.request_id, error)
        raise CutError(error)


async def _close(chunks: AsyncIterator[bytes]) -> None:
    """Say that nobody reads on, so that the runtime is not held up."""
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()


def _is_proxy_response(payload: bytes) -> bool:
    try:
        document = read_json(payload)
    except ValueError:
        return False
    return isinstance(document, dict) and "statusCode" in document


def _is_prelude(content_type: str) -> bool:
    return _media_type(content_type) == PRELUDE_TYPE


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _refusal(status: int, error_type: str, message: str) -> Reply:
    # The statuses are those of a real URL; the words, which were not recorded, are those of the Invoke API.
    return json_reply(status, {"Message": message}, {"x-amzn-ErrorType": error_type})
