"""
The Invoke API as boto3 sees it; the expectations are those of botocore's model of the real one.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_ric.emulator import Emulator
from lambda_ric.emulator.callers.destinations import destination
from lambda_ric.emulator.callers.event_queue import EventInvokeConfig
from lambda_ric.limits import MAX_ASYNC_EVENT, MAX_EVENT
from tests.support.callers import ARN, client, served

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

# Answers with the event, and says what it got.
ECHO = """
    while True:
        request_id, event = next_event()
        for name in ("Client-Context", "Aws-Tenant-Id", "Trace-Id", "Invoked-Function-Arn"):
            say(name, event.headers.get("Lambda-Runtime-" + name))
        respond(request_id, event.content, {"Content-Type": "text/x-echo"})
"""
ERROR = b'{"errorMessage": "no", "errorType": "ValueError"}'
FAILING = f"""
    while True:
        request_id, event = next_event()
        respond(request_id, {ERROR!r}, {{"Lambda-Runtime-Function-Error-Type": "ValueError"}}, "error")
"""


@contextmanager
def caller(emulator: Emulator, *, opened: bool = True) -> Iterator[Any]:
    with served(emulator, opened=opened) as (endpoint, _), closing(client("lambda", endpoint.url)) as boto:
        yield boto


def invoke(boto: Any, **parameters: Any) -> Any:
    return boto.invoke(**{"FunctionName": "function", "Payload": b'{"n": 1}', **parameters})


def refused(boto: Any, **parameters: Any) -> Any:
    """Return what boto3 makes of the refusal."""
    with pytest.raises(ClientError) as caught:
        invoke(boto, **parameters)
    return caught.value.response


def tail(answer: Any) -> list[str]:
    return base64.b64decode(answer["LogResult"]).decode().splitlines()


# Synchronous...


def test_answer_of_a_function(stand_in: StandIn) -> None:
    """The payload and the content type are the runtime's; the rest is the platform's."""
    with caller(stand_in(ECHO)) as boto:
        answer = invoke(boto)

    metadata = answer["ResponseMetadata"]
    assert answer["Payload"].read() == b'{"n": 1}'
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert metadata["HTTPHeaders"]["content-type"] == "text/x-echo"
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", metadata["RequestId"])
    assert not {"FunctionError", "LogResult"} & answer.keys()


def test_function_error_is_an_answer(stand_in: StandIn) -> None:
    """Its document is the payload, and the status is 200."""
    with caller(stand_in(FAILING)) as boto:
        answer = invoke(boto)

    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert answer["Payload"].read() == ERROR


def test_timeout_is_a_function_error(stand_in: StandIn) -> None:
    """With the platform's own document."""
    with caller(stand_in("next_event()\ntime.sleep(60)", timeout=0.2)) as boto:
        answer = invoke(boto)

    document = json.loads(answer["Payload"].read())
    assert answer["FunctionError"] == "Unhandled"
    assert document["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 0.20 seconds" in document["errorMessage"]


def test_log_tail_ends_with_the_report(stand_in: StandIn) -> None:
    """The caller who wants the log waits for its end."""
    with caller(stand_in(ECHO)) as boto:
        answer = invoke(boto, LogType="Tail")

    lines = tail(answer)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
    assert f"END RequestId: {request_id}" in lines[-3:-1]  # BACKGROUND follows where the next poll took its time
    assert lines[-1].startswith(f"REPORT RequestId: {request_id}\t")


def test_answer_does_not_wait_for_what_follows_it(stand_in: StandIn, tmp_path: Path) -> None:
    """The caller has it while the function goes on."""
    script = """
        request_id, event = next_event()
        respond(request_id, b'"early"')
        while not os.path.exists("go"):
            time.sleep(0.01)
        say("went on")
        next_event()
    """
    went_on = threading.Event()
    emulator = stand_in(script, on_log=lambda line: went_on.set() if line.text == "went on" else None)
    with caller(emulator) as boto:
        answer = invoke(boto)
        assert not went_on.is_set()
        (tmp_path / "go").touch()
        assert went_on.wait(10)

    assert answer["Payload"].read() == b'"early"'


def test_caller_that_goes_away_does_not_stop_the_function(stand_in: StandIn, tmp_path: Path) -> None:
    """As on Lambda, where it is billed to its end."""
    script = """
        request_id, event = next_event()
        say("running")
        while not os.path.exists("go"):
            time.sleep(0.01)
        say("answered", respond(request_id).status)
        next_event()
    """
    running, answered = threading.Event(), threading.Event()
    told = {"running": running, "answered 202": answered}
    emulator = stand_in(script, on_log=lambda line: told[line.text].set() if line.text in told else None)
    with served(emulator) as (endpoint, _):
        url = urlsplit(endpoint.url)
        with socket.create_connection((url.hostname, url.port)) as connection:
            head = "POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2"
            connection.sendall(f"{head}\r\n\r\n{{}}".encode())
            assert running.wait(10)
        (tmp_path / "go").touch()
        assert answered.wait(10)


def test_runtime_is_told_what_the_caller_gave(stand_in: StandIn) -> None:
    """The client context arrives as JSON that fits into a header."""
    context = base64.b64encode('{\n  "custom": {"name": "ä"}\n}'.encode()).decode()
    with caller(stand_in(ECHO)) as boto:
        trace = "Root=1-00000001-000000000000000000000001;Parent=0000000000000002;Sampled=1"
        boto.meta.events.register(
            "before-send.lambda.Invoke", lambda request, **_: request.headers.update({"X-Amzn-Trace-Id": trace})
        )
        lines = tail(invoke(boto, LogType="Tail", ClientContext=context, TenantId="tenant-1"))

    assert 'Client-Context {"custom":{"name":"\\u00e4"}}' in lines
    assert "Aws-Tenant-Id tenant-1" in lines
    assert f"Trace-Id {trace}" in lines


def test_trace_id_that_is_no_text_is_replaced(stand_in: StandIn) -> None:
    """The runtime gets one that it can read."""
    with caller(stand_in(ECHO)) as boto:
        boto.meta.events.register(
            "before-send.lambda.Invoke", lambda request, **_: request.headers.update({"X-Amzn-Trace-Id": "ä"})
        )
        lines = tail(invoke(boto, LogType="Tail"))

    assert [line for line in lines if line.startswith("Trace-Id Root=1-")]


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        ("function", ARN),
        ("_", ARN),
        ("function:$LATEST", f"{ARN}:$LATEST"),
        ("012345678912:function:function", ARN),
        (ARN, ARN),
        (f"{ARN}:$LATEST", f"{ARN}:$LATEST"),
        ("arn:aws:lambda:us-east-1:999999999999:function:function", ARN),
    ],
)
def test_function_is_found_by_each_form_of_its_name(stand_in: StandIn, name: str, arn: str) -> None:
    """The account is a made-up one, so that any will do."""
    with caller(stand_in(ECHO)) as boto:
        lines = tail(invoke(boto, FunctionName=name, LogType="Tail"))

    assert f"Invoked-Function-Arn {arn}" in lines


def test_function_is_found_by_its_own_name(stand_in: StandIn) -> None:
    """And still by the names that work for any."""
    with caller(stand_in(ECHO, name="orders", concurrency=2)) as boto:
        assert invoke(boto, FunctionName="orders")["StatusCode"] == 200
        assert invoke(boto, FunctionName="function", Qualifier="$LATEST")["StatusCode"] == 200
        assert refused(boto, FunctionName="invoices")["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("parameters", "suffix", "version"),
    [
        ({"Qualifier": "prod"}, ":prod", "$LATEST"),
        ({"FunctionName": "function:prod"}, ":prod", "$LATEST"),
        ({"FunctionName": f"{ARN}:7"}, ":7", "7"),
        ({}, "", "$LATEST"),
    ],
)
def test_any_version_and_alias_is_the_function(
    parameters: dict[str, Any], suffix: str, version: str, stand_in: StandIn
) -> None:
    """It learns by which of them it was called."""
    script = """
        request_id, event = next_event()
        respond(request_id, event.headers["Lambda-Runtime-Invoked-Function-Arn"].encode())
        next_event()
    """
    with caller(stand_in(script)) as boto:
        answer = invoke(boto, **parameters)

    assert answer["Payload"].read().decode() == ARN + suffix
    assert answer["ExecutedVersion"] == version


def test_missing_payload_is_an_empty_object(stand_in: StandIn) -> None:
    """What a handler on Lambda gets then."""
    with caller(stand_in(ECHO, concurrency=2)) as boto:
        assert boto.invoke(FunctionName="function")["Payload"].read() == b"{}"
        assert invoke(boto, Payload=b"null")["Payload"].read() == b"null"


def test_dry_run_does_not_run_the_function(stand_in: StandIn) -> None:
    """It says whether the call would be accepted."""
    emulator = stand_in(ECHO, on_log=lambda line: pytest.fail(line.text))
    with caller(emulator) as boto:
        assert invoke(boto, InvocationType="DryRun")["StatusCode"] == 204
        assert refused(boto, InvocationType="DryRun", FunctionName="other")["Error"]["Code"] == (
            "ResourceNotFoundException"
        )


def test_largest_event_is_accepted(stand_in: StandIn) -> None:
    """6 MB for a synchronous call, 1 MB for an asynchronous one, to the byte."""
    with (
        served(stand_in(ECHO, timeout=30, concurrency=2)) as (endpoint, call),
        closing(client("lambda", endpoint.url)) as boto,
    ):
        answer = invoke(boto, Payload=b'"' + b"x" * (MAX_EVENT - 2) + b'"')
        assert len(answer["Payload"].read()) == MAX_EVENT
        invoke(boto, InvocationType="Event", Payload=b'"' + b"x" * (MAX_ASYNC_EVENT - 2) + b'"')
        call(endpoint.events.drained)


# ...asynchronous...


def test_event_is_accepted_and_run_in_the_background(stand_in: StandIn, tmp_path: Path) -> None:
    """The request id is that of the invocation, through all of its attempts."""
    script = """
        for attempt in (1, 2):
            request_id, event = next_event()
            failed = {"kind": "error"} if attempt == 1 else {}
            respond(request_id, event.content, **failed)
        next_event()
    """
    path = tmp_path / "outcome.jsonl"
    config = EventInvokeConfig(on_success=destination(str(path)), time_scale=0.0001)
    with served(stand_in(script), config) as (endpoint, call), closing(client("lambda", endpoint.url)) as boto:
        answer = invoke(boto, InvocationType="Event")
        call(endpoint.events.drained)

    record = json.loads(path.read_text())
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert record["requestContext"]["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["requestPayload"] == record["responsePayload"] == {"n": 1}


def test_client_context_is_for_synchronous_calls_only(stand_in: StandIn) -> None:
    """As the model says."""
    lines: list[str] = []
    emulator = stand_in(ECHO, on_log=lambda line: lines.append(line.text))
    with served(emulator) as (endpoint, call), closing(client("lambda", endpoint.url)) as boto:
        invoke(boto, InvocationType="Event", ClientContext=base64.b64encode(b"{}").decode())
        call(endpoint.events.drained)

    assert "Client-Context None" in lines


# ...and refused.


@pytest.mark.parametrize(
    ("parameters", "status", "code", "text"),
    [
        ({"FunctionName": "other"}, 404, "ResourceNotFoundException", f"Function not found: {ARN[:-8]}other"),
        ({"FunctionName": "other:1"}, 404, "ResourceNotFoundException", f"Function not found: {ARN[:-8]}other:1"),
        (
            {"FunctionName": "arn:aws:lambda:eu-west-1:012345678912:function:function"},
            404,
            "ResourceNotFoundException",
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        ),
        (
            {"FunctionName": f"{ARN}:$LATEST", "Qualifier": "live"},
            400,
            "InvalidParameterValueException",
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        ({"FunctionName": "a b"}, 400, "ValidationException", "Value 'a b' at 'functionName' failed to satisfy"),
        ({"FunctionName": "a" * 257}, 400, "ValidationException", "less than or equal to 256"),
        ({"Qualifier": "a b"}, 400, "ValidationException", "Value 'a b' at 'qualifier' failed to satisfy"),
        ({"TenantId": "a\u00e4"}, 400, "ValidationException", "at 'tenantId' failed to satisfy"),
        ({"LogType": "All"}, 400, "ValidationException", "enum value set: [Tail, None]"),
        (
            {"InvocationType": "Later"},
            400,
            "ValidationException",
            "at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, Request",
        ),
        ({"Payload": b"{'n': 1}"}, 400, "InvalidRequestContentException", "Could not parse request body into json: "),
        ({"Payload": b"[NaN]"}, 400, "InvalidRequestContentException", "Unrecognized token 'NaN'"),
        ({"Payload": b'"\xff"'}, 400, "InvalidRequestContentException", "Invalid UTF-8"),
        ({"Payload": b"[" * 200_000}, 400, "InvalidRequestContentException", "nested too deeply"),
        ({"ClientContext": "{}"}, 400, "InvalidRequestContentException", "valid Base64-encoded JSON object"),
        ({"ClientContext": "e3!0="}, 400, "InvalidRequestContentException", "valid Base64-encoded JSON object"),
        ({"ClientContext": "W10="}, 400, "InvalidRequestContentException", "valid Base64-encoded JSON object"),
        ({"ClientContext": "A" * 3584}, 400, "InvalidRequestContentException", "at most 3583 bytes"),
        (
            {"Payload": b"1" * (MAX_EVENT + 1)},
            413,
            "RequestEntityTooLargeException",
            "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)",
        ),
        (
            {"Payload": b"1" * (MAX_ASYNC_EVENT + 1), "InvocationType": "Event"},
            413,
            "RequestEntityTooLargeException",
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
        ),
    ],
)
def test_refused_call(stand_in: StandIn, parameters: dict[str, Any], status: int, code: str, text: str) -> None:
    """boto3 finds the code and the text where the real API puts them."""
    with caller(stand_in("next_event()")) as boto:
        # A real service is the judge of what is valid, not the client.
        response = refused(boto, **parameters)

    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Code"] == code
    assert text in response["Error"]["Message"]
    assert response["ResponseMetadata"]["RequestId"]


def test_text_of_an_error_is_the_member_of_its_shape(stand_in: StandIn) -> None:
    """The model spells it with a capital for some; SDKs that are generated from it look nowhere else."""
    with caller(stand_in("next_event()")) as boto:
        not_found = refused(boto, FunctionName="other")
        no_json = refused(boto, Payload=b"{")

    assert (not_found["Type"], not_found["Message"]) == ("User", f"Function not found: {ARN[:-8]}other")
    assert no_json["Type"] == "User"
    assert no_json["message"].startswith("Could not parse request body into json")


def test_throttled_call(stand_in: StandIn, tmp_path: Path) -> None:
    """The reason is that of a function with a concurrency of its own."""
    script = """
        while True:
            request_id, event = next_event()
            respond(request_id)
            while not os.path.exists("go"):
                time.sleep(0.01)
    """
    with caller(stand_in(script)) as boto:
        invoke(boto)
        response = refused(boto)
        (tmp_path / "go").touch()

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Error"] == {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}
    assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert response["Type"] == "User"


def test_call_to_a_closed_emulator(stand_in: StandIn) -> None:
    """The service is at fault, not the caller."""
    with caller(stand_in("next_event()"), opened=False) as boto:
        response = refused(boto)

    assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert response["Error"]["Code"] == "ServiceException"
    assert "not open" in response["Error"]["Message"]


def test_other_operations_are_refused_in_words(stand_in: StandIn) -> None:
    """Not with a bare status that leaves one guessing."""
    with caller(stand_in("next_event()")) as boto:
        with pytest.raises(ClientError, match=r"UnknownOperationException.*Invoke, InvokeWithResponseStream"):
            boto.delete_function(FunctionName="function")


# Streaming...


def stream(boto: Any, **parameters: Any) -> tuple[bytes, Any]:
    """Return what came in chunks, and the end."""
    answer = boto.invoke_with_response_stream(**{"FunctionName": "function", "Payload": b"{}", **parameters})
    with closing(answer["EventStream"]) as events:
        *chunks, end = list(events)
    return b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks), end["InvokeComplete"]


def test_stream_comes_piece_by_piece(stand_in: StandIn, tmp_path: Path) -> None:
    """The first piece is read before the second is written."""
    script = """
        def chunks():
            yield b"one"
            while not os.path.exists("go"):
                time.sleep(0.01)
            yield b"two"
        request_id, event = next_event()
        respond(request_id, chunks(), {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
        next_event()
    """
    with caller(stand_in(script)) as boto:
        answer = boto.invoke_with_response_stream(FunctionName="function", Payload=b"{}")
        with closing(answer["EventStream"]) as opened:
            events = iter(opened)
            assert next(events) == {"PayloadChunk": {"Payload": b"one"}}
            (tmp_path / "go").touch()
            assert next(events) == {"PayloadChunk": {"Payload": b"two"}}
            assert next(events) == {"InvokeComplete": {}}

    assert answer["ExecutedVersion"] == "$LATEST"
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    assert answer["ResponseMetadata"]["RequestId"]


def test_buffered_response_is_one_piece_of_a_stream(stand_in: StandIn) -> None:
    """Any function can be called so."""
    with caller(stand_in(ECHO)) as boto:
        assert stream(boto, Payload=b'{"n": 1}') == (b'{"n": 1}', {})


def test_log_of_a_stream_comes_at_its_end(stand_in: StandIn) -> None:
    """With the report."""
    with caller(stand_in(ECHO)) as boto:
        _, end = stream(boto, LogType="Tail")

    assert "REPORT RequestId:" in base64.b64decode(end["LogResult"]).decode()


def test_function_error_is_told_at_the_end_of_the_stream(stand_in: StandIn) -> None:
    """No header can tell of it."""
    with caller(stand_in(FAILING)) as boto:
        assert stream(boto) == (ERROR, {"ErrorCode": "ValueError", "ErrorDetails": ERROR.decode()})


def test_stream_that_breaks_off_says_why(stand_in: StandIn) -> None:
    """The error that the runtime put into its trailers."""
    script = """
        import base64
        request_id, event = next_event()
        connection.putrequest("POST", f"/2018-06-01/runtime/invocation/{request_id}/response")
        for name, value in {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        }.items():
            connection.putheader(name, value)
        connection.endheaders()
        body = base64.b64encode(b'{"errorMessage":"broke"}')
        connection.send(b"4\\r\\npart\\r\\n0\\r\\nLambda-Runtime-Function-Error-Type: Function.Broke\\r\\n")
        connection.send(b"Lambda-Runtime-Function-Error-Body: " + body + b"\\r\\n\\r\\n")
        connection.getresponse().read()
        next_event()
    """
    with caller(stand_in(script)) as boto:
        payload, end = stream(boto)

    assert payload == b"part"
    assert end == {"ErrorCode": "Function.Broke", "ErrorDetails": '{"errorMessage":"broke"}'}


def test_stream_that_takes_too_long_is_ended(stand_in: StandIn) -> None:
    """What was sent stays sent."""
    script = """
        def chunks():
            yield b"part"
            time.sleep(60)
        request_id, event = next_event()
        respond(request_id, chunks(), {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
    """
    with caller(stand_in(script, timeout=0.5)) as boto:
        payload, end = stream(boto)

    assert payload == b"part"
    assert end["ErrorCode"] == "Sandbox.Timedout"
    assert "Task timed out after 0.50 seconds" in end["ErrorDetails"]


def test_stream_can_be_tried_and_refused(stand_in: StandIn) -> None:
    """It has no asynchronous kind."""
    with caller(stand_in("next_event()")) as boto:
        operation = boto.invoke_with_response_stream
        answer = operation(FunctionName="function", InvocationType="DryRun")
        answer["EventStream"].close()
        assert answer["StatusCode"] == 204
        with pytest.raises(ClientError, match="ValidationException"):
            operation(FunctionName="function", InvocationType="Event")
        with pytest.raises(ClientError, match="InvalidRequestContentException"):
            operation(FunctionName="function", Payload=b"{")


def test_stream_from_a_closed_emulator(stand_in: StandIn) -> None:
    """An error, not an empty stream."""
    with caller(stand_in("next_event()"), opened=False) as boto:
        with pytest.raises(ClientError, match="ServiceException"):
            boto.invoke_with_response_stream(FunctionName="function")


# ...and whatever else may come.


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one function for all examples."""
    directory = tmp_path_factory.mktemp("echo")
    (directory / "bootstrap").write_text(
        "#!/bin/sh\n"
        'api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"\n'
        "while true; do\n"
        "  id=$(curl -sS -D - -o /dev/null $api/next | tr -d '\\r' | sed -n 's/^Lambda-Runtime-Aws-Request-Id: //p')\n"
        "  curl -sS -o /dev/null -d ok $api/$id/response\n"
        "done\n"
    )
    emulator = Emulator(command=["/bin/sh", "bootstrap"], task_root=directory, timeout=10, freeze=False)
    with served(emulator) as (endpoint, _):
        yield endpoint.url


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
NAMES = st.sampled_from(["function", "function:$LATEST", ARN, ":", "arn:aws:lambda:", "function:function:1"]) | TEXT
PATHS = st.one_of(
    NAMES.map(lambda name: f"/2015-03-31/functions/{quote(name, safe=':')}/invocations"),
    NAMES.map(lambda name: f"/2021-11-15/functions/{quote(name, safe=':')}/response-streaming-invocations"),
    TEXT.map(lambda text: f"/2015-03-31/{quote(text)}"),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["X-Amz-Invocation-Type", "X-Amz-Log-Type", "X-Amz-Client-Context", "X-Amz-Tenant-Id", "X-Amzn-Trace-Id"]
    ),
    st.sampled_from(["", "Event", "DryRun", "RequestResponse", "Tail", "None", "e30=", "Root=1;x"])
    | TEXT.map(str.strip),
)
BODIES = st.binary(max_size=30) | st.sampled_from([b"", b"{}", b"[", b'"x"', b"1e999", b"\xef\xbb\xbf{}"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["POST", "GET", "PUT", "DELETE"]),
    path=PATHS,
    query=st.none() | TEXT.map(lambda text: f"Qualifier={quote(text)}") | TEXT.map(quote),
    headers=HEADERS,
    body=BODIES,
)
def test_any_request_gets_an_answer_or_an_error_of_the_api(
    echo: str, method: str, path: str, query: str | None, headers: dict[str, str], body: bytes
) -> None:
    """Never a traceback, never a hang, never an error that an SDK cannot read."""
    connection = http.client.HTTPConnection(urlsplit(echo).netloc, timeout=10)
    connection.request(method, path + (f"?{query}" if query else ""), body, headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()

    if reply.status >= 400:
        document = json.loads(content)
        assert reply.headers["x-amzn-ErrorType"].isalpha()
        assert reply.headers["Content-Type"] == "application/json"
        assert document.get("message") or document.get("Message")
        assert reply.status in (400, 403, 404, 429)
