"""
What a handler is told about its invocation, and which invocation is current.
"""

from __future__ import annotations

import _thread
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar

from .errors import ContextDecodeError
from .protocol import Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class InvocationScope:
    """
    The invocation that code belongs to, as `lambda_ric.current_invocation` tells it.

    Contexts outlive invocations, and so does this object: its ids stay, its
    *values* are let go at the end.
    """

    request_id: str
    """That of the event: retries of it have the same."""
    tenant_id: str | None
    """The tenant on whose behalf the function was called, where it is isolated by tenants."""
    trace_id: str | None
    """The X-Ray trace header."""
    _values: dict[Any, Any] | None = None

    @property
    def values(self) -> dict[Any, Any]:
        """What libraries keep for the length of this invocation, under keys of their own; shared by its threads."""
        with _making_values:
            if self._values is None:
                self._values = {}
            return self._values


_making_values = _thread.allocate_lock()


current_invocation: ContextVar[InvocationScope | None] = ContextVar("lambda_ric.invocation", default=None)
"""The invocation that the running code belongs to, also in its threads, tasks and background work."""

_served: InvocationScope | None = None


def begin_serving(invocation: InvocationScope) -> None:
    """Make *invocation* the one that the running code belongs to, and code that belongs to none besides."""
    global _served
    current_invocation.set(invocation)
    _served = invocation


def end_serving() -> None:
    """Leave code that belongs to no invocation without one."""
    global _served
    _served = None


def invocation_of_record() -> InvocationScope | None:
    """
    Return the invocation that a log record of the running code belongs to.

    A thread that is as old as the process works for the invocation that is being served.
    """
    return current_invocation.get() or _served


# What a handler is told when Lambda named no deadline: the longest timeout there is.
_LONGEST_TIMEOUT_MS = 900_000


class CognitoIdentity:
    """The Amazon Cognito identity that called the function, as far as there is one."""

    def __init__(self, cognito_identity_id: str | None = None, cognito_identity_pool_id: str | None = None) -> None:
        self.cognito_identity_id = cognito_identity_id
        self.cognito_identity_pool_id = cognito_identity_pool_id

    def __repr__(self) -> str:
        return _show(self, "cognito_identity_id", "cognito_identity_pool_id")


class Client:
    """The mobile application that called the function."""

    installation_id: str | None = None
    app_title: str | None = None
    app_version_name: str | None = None
    app_version_code: str | None = None
    app_package_name: str | None = None

    def __repr__(self) -> str:
        return _show(self, *_CLIENT_FIELDS)


_CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext:
    """The client context that the caller sent along."""

    custom: Any = None
    env: Any = None
    client: Client | None = None

    def __repr__(self) -> str:
        return _show(self, "custom", "env", "client")


class _FromEnvironment:
    """An attribute that is read from the environment when it is first asked for; it can be assigned."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> str | None:
        value = os.environ.get(self._variable)
        if instance is not None:
            vars(instance)[self._name] = value
        return value


class _Identity:
    """That of nobody, made when it is first asked for; it can be assigned."""

    def __get__(self, instance: object | None, owner: type) -> CognitoIdentity:
        identity = CognitoIdentity()
        if instance is not None:
            vars(instance)["identity"] = identity
        return identity


class LambdaContext:
    """
    The second argument of a handler.

    An ordinary object, to which libraries may assign. Its attributes are
    those of AWS's own: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    function_name: _FromEnvironment = _FromEnvironment("AWS_LAMBDA_FUNCTION_NAME")
    function_version: _FromEnvironment = _FromEnvironment("AWS_LAMBDA_FUNCTION_VERSION")
    memory_limit_in_mb: _FromEnvironment = _FromEnvironment("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    log_group_name: _FromEnvironment = _FromEnvironment("AWS_LAMBDA_LOG_GROUP_NAME")
    log_stream_name: _FromEnvironment = _FromEnvironment("AWS_LAMBDA_LOG_STREAM_NAME")

    client_context: ClientContext | None = None
    identity: CognitoIdentity | _Identity = _Identity()
    _w3c: Mapping[str, str] = {}

    trace_id: str | None = None
    """The X-Ray trace header of this invocation."""
    invocation_id: str | None = None
    """Tells this attempt from a retry of the same request, where Lambda says so."""

    def __init__(
        self,
        invoke_id: str,
        client_context: Mapping[str, Any] | None,
        cognito_identity: Mapping[str, Any] | None,
        epoch_deadline_time_in_ms: float,
        invoked_function_arn: str | None = None,
        tenant_id: str | None = None,
    ) -> None:
        self.aws_request_id = invoke_id
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms
        if client_context is not None:
            self.client_context = _client_context(client_context)
            w3c = client_context.get("w3c")
            if isinstance(w3c, Mapping):
                self._w3c = {key: w3c[key] for key in _W3C_FIELDS if isinstance(w3c.get(key), str)}
        if cognito_identity is not None:
            self.identity = CognitoIdentity(
                cognito_identity.get("cognitoIdentityId"), cognito_identity.get("cognitoIdentityPoolId")
            )

    @classmethod
    def of(cls, invocation: Invocation) -> LambdaContext:
        """
        Return the context of *invocation*.

        Raises:
            ContextDecodeError: A header that should hold a JSON object does not.
        """
        deadline = invocation.deadline
        context = cls(
            invocation.request_id,
            _json_object(invocation.client_context, "Client Context") if invocation.client_context else None,
            _json_object(invocation.cognito_identity, "Cognito Identity") if invocation.cognito_identity else None,
            int(time.time() * 1000) + _LONGEST_TIMEOUT_MS if math.isinf(deadline) else round(deadline * 1000),
            invocation.function_arn,
            invocation.tenant_id,
        )
        context.trace_id = invocation.trace_id
        context.invocation_id = invocation.invocation_id
        return context

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left before Lambda ends the invocation, never below zero."""
        return max(0, int(self._epoch_deadline_time_in_ms - int(time.time() * 1000)))

    def w3c(self) -> dict[str, str]:
        """Return the caller's W3C trace context: *traceparent*, *tracestate* and *baggage*, as far as sent."""
        return dict(self._w3c)

    def log(self, msg: object) -> None:
        """Write *msg* to the function's log as it is: no level, no request id, no line break."""
        logging = sys.modules.get("logging")
        for handler in logging.getLogger().handlers if logging else ():
            if hasattr(handler, "log_sink"):
                handler.log_sink.log(str(msg))
                return
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        return _show(
            self, "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
            "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id",
        )  # fmt: skip


_W3C_FIELDS = ("traceparent", "tracestate", "baggage")


def _client_context(sent: Mapping[str, Any]) -> ClientContext:
    context = ClientContext()
    context.custom = sent.get("custom")
    context.env = sent.get("env")
    client = sent.get("client")
    if client is not None:
        if not isinstance(client, Mapping):
            kind = type(client).__name__
            raise ContextDecodeError(f"Unable to parse Client Context JSON: expected an object as client, not {kind}")
        context.client = Client()
        for field in _CLIENT_FIELDS:
            setattr(context.client, field, client.get(field))
    return context


def _json_object(text: str, name: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContextDecodeError(f"Unable to parse {name} JSON: {error}") from error
    if value is not None and not isinstance(value, dict):
        raise ContextDecodeError(f"Unable to parse {name} JSON: expected an object, not {type(value).__name__}")
    return value


def _show(thing: object, *fields: str) -> str:
    return f"{type(thing).__name__}([{','.join(f'{field}={getattr(thing, field)}' for field in fields)}])"
