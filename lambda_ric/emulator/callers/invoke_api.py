"""
The Invoke API: what boto3, the AWS CLI and every other caller of a function speak to.
"""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

from lambda_ric.emulator.event.invocation import Invocation
from lambda_ric.emulator.event.refusals import EmulatorError, ThrottledError
from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.messages import CutError, Later, Reply, Request
from lambda_ric.limits import MAX_EVENT

from . import event_stream
from .event_queue import EventQueue
from .invoke_request import VERSION, APIError, InvokeRequest


class InvokeAPI:
    """
    The two operations by which a function is called.

    A caller that goes away does not stop the function, as on Lambda.
    """

    def __init__(
        self,
        function: Function,
        submit: Callable[[Invocation], None],
        events: EventQueue,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._function = function
        self._submit = submit
        self._events = events
        self._clock = clock

    def invoke(self, name: str, request: Request) -> Reply | Later | Awaitable[Reply]:
        """Answer ``POST /2015-03-31/functions/{name}/invocations``."""
        try:
            call = InvokeRequest.read(self._function, name, request, ("Event", "RequestResponse", "DryRun"))
            event = request.whole(MAX_EVENT)
            if event is None or call.tail or call.kind != "RequestResponse":
                return self._invoke(call, request)
            # The common case: there is nothing to wait for but the answer, which needs no task of its own then.
            invocation = self._invocation(call, call.checked(event))
            self._start(invocation, self._submit)
        except APIError as error:
            return error.reply()
        later = Later()
        invocation.delivery.when_answered(lambda: later.set(_reply(invocation)))
        return later

    async def _invoke(self, call: InvokeRequest, request: Request) -> Reply:
        try:
            invocation = self._invocation(call, await call.event(request))
            match call.kind:
                case "DryRun":
                    return _accepted(204, invocation)
                case "Event":
                    invocation.source = "event"
                    self._start(invocation, self._events.put)
                    return _accepted(202, invocation)
            self._start(invocation, self._submit)
            log_result = await _log_result(invocation) if call.tail else ""
        except APIError as error:
            return error.reply()
        try:
            await invocation.answered()
        except EmulatorError:
            pass  # which the reply tells of
        reply = _reply(invocation)
        return replace(reply, headers={**reply.headers, "X-Amz-Log-Result": log_result}) if log_result else reply

    async def invoke_with_response_stream(self, name: str, request: Request) -> Reply:
        """Answer ``POST /2021-11-15/functions/{name}/response-streaming-invocations``."""
        try:
            call = InvokeRequest.read(self._function, name, request, ("RequestResponse", "DryRun"))
            invocation = self._invocation(call, await call.event(request))
            if call.kind == "DryRun":
                return _accepted(204, invocation)
            invocation.source, invocation.streaming = "stream", True
            self._start(invocation, self._submit)
            try:
                await invocation.delivery.begun()
            except EmulatorError as exc:
                raise _service_error(exc) from exc
        except APIError as error:
            return error.reply()
        headers = {
            "Content-Type": event_stream.CONTENT_TYPE,
            "X-Amz-Executed-Version": _version(invocation),
            "X-Amzn-RequestId": invocation.request_id,
        }
        return Reply(200, _frames(invocation, call), headers)

    def _invocation(self, call: InvokeRequest, event: bytes) -> Invocation:
        return Invocation(
            event=event,
            function_arn=call.function_arn,
            requested_at=self._clock(),
            trace_id=call.trace_id,
            client_context=call.client_context,
            tenant_id=call.tenant_id,
        )

    def _start(self, invocation: Invocation, submit: Callable[[Invocation], None]) -> None:
        try:
            submit(invocation)
        except ThrottledError as exc:
            reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            raise APIError(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason, Type="User") from exc
        except EmulatorError as exc:
            raise _service_error(exc) from exc


def _accepted(status: int, invocation: Invocation) -> Reply:
    return Reply(status, b"", {"X-Amzn-RequestId": invocation.request_id})


def _reply(invocation: Invocation) -> Reply:
    """Return what the caller of *invocation* gets, which has been answered or never will be."""
    response = invocation.delivery.response
    if response is None:
        return _service_error(EmulatorError("the emulator was closed before the invocation was answered")).reply()
    headers = {
        "Content-Type": response.content_type,
        "X-Amz-Executed-Version": _version(invocation),
        "X-Amzn-RequestId": invocation.request_id,
    }
    if response.function_error is not None:
        headers["X-Amz-Function-Error"] = "Unhandled"
    return Reply(200, response.payload, headers)


def _version(invocation: Invocation) -> str:
    """Return the version that was called by its number; an alias stands for the only code that there is."""
    qualifier = invocation.function_arn.split(":", 7)[7:]
    return qualifier[0] if qualifier and qualifier[0].isdigit() else VERSION


async def _frames(invocation: Invocation, call: InvokeRequest) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in invocation.chunks():
            if chunk:
                yield event_stream.payload_chunk(chunk)
        answer = await invocation.answered()
    except EmulatorError as exc:
        raise CutError from exc
    details = None if answer.function_error is None else answer.error_body.decode(errors="replace")
    log_result = await _log_result(invocation) if call.tail else None
    yield event_stream.invoke_complete(answer.function_error, details, log_result)


async def _log_result(invocation: Invocation) -> str:
    """Return the end of the log, END and REPORT included, for which the invocation must have ended."""
    try:
        await invocation.finished()
    except EmulatorError:
        pass  # closed meanwhile: there will be no more lines
    return base64.b64encode(invocation.log_tail()).decode()


def _service_error(exc: EmulatorError) -> APIError:
    return APIError(500, "ServiceException", str(exc), Type="Service")
