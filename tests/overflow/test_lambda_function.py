"""
The sink that invokes a function asynchronously: against the emulator, and against a server that follows a script.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lambda_ric.emulator import Emulator
from lambda_ric.overflow import lambda_async
from lambda_ric.tasks.envelope import Envelope
from tests.support.aws_service import authorization, envelopes, set_environment
from tests.support.callers import served
from tests.support.fakes import ACCEPTED, FakeRuntimeAPI, Request, reply

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:worker:live"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)


def test_function_is_invoked_once_for_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an event like that of SQS, of one record; the service is where the environment says."""
    (tmp_path / "app.py").write_text("def handler(event, context): print('got', event['Records'][0]['body'])")
    lines: list[str] = []
    emulator = Emulator("app.handler", task_root=str(tmp_path), on_log=lambda line: lines.append(line.text))
    sent = envelopes(2)
    with served(emulator) as (endpoint, call):
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", endpoint.url)
        with closing(lambda_async("function")) as sink:
            left = sink.send(sent, 20)
        call(endpoint.events.drained)

    assert left == []
    assert sorted(line for line in lines if line.startswith("got")) == [f"got {each.encode()}" for each in sent]


def test_function_that_does_not_exist_is_the_reason() -> None:
    """As Lambda names it."""
    with served(Emulator("app.handler")) as (endpoint, _):
        with closing(lambda_async("nobody", endpoint_url=endpoint.url)) as sink:
            ((_, reason),) = sink.send(envelopes(), 20)

    assert reason.startswith("status 404 ResourceNotFoundException: Function not found")


def test_request_is_what_lambda_expects_and_signed_as_it_is_sent() -> None:
    """The colons of an ARN are part of the path, and of the signature; the trace goes on."""
    (envelope,) = envelopes(trace="Root=1-2-3")
    with FakeRuntimeAPI() as service:
        with closing(lambda_async(ARN, endpoint_url=f"http://{service.address}")) as sink:
            assert sink.send([envelope], 20) == []

    (request,) = service.requests
    assert request.path == f"/2015-03-31/functions/{ARN.replace(':', '%3A')}/invocations"
    assert request.headers["x-amz-invocation-type"] == "Event"
    assert request.headers["x-amzn-trace-id"] == "Root=1-2-3"
    assert request.headers["authorization"] == authorization(request, "lambda", "eu-west-1")
    assert request.json() == {
        "Records": [
            {
                "messageId": "id-0",
                "body": envelope.encode(),
                "attributes": {"ApproximateReceiveCount": "1", "AWSTraceHeader": "Root=1-2-3"},
                "messageAttributes": {},
                "eventSource": "lambda-ric:task",
            }
        ]
    }


def test_envelope_of_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    """The whole event counts, with the envelope as a text in it."""
    with FakeRuntimeAPI() as service:
        with closing(lambda_async(ARN, endpoint_url=f"http://{service.address}")) as sink:
            sink.send(envelopes(), 20)
    size = len(service.requests[0].body)

    lambda_async(ARN, max_payload_size=size).check(envelopes()[0])
    with pytest.raises(ValueError, match=f"its event has {size} bytes, and {size - 1} are allowed"):
        lambda_async(ARN, max_payload_size=size - 1).check(envelopes()[0])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_throttling_is_waited_for(status: int) -> None:
    """One task that is refused does not keep the next one back: it is refused until that one has come."""
    asked: list[str] = []

    def answer(request: Request) -> bytes:
        asked.append(_id(request))
        if len(set(asked)) == 2:
            return ACCEPTED
        return reply(status, b"{}", x_amzn_ErrorType="TooManyRequestsException")

    with FakeRuntimeAPI(intercept=answer) as service:
        with closing(lambda_async(ARN, endpoint_url=f"http://{service.address}")) as sink:
            assert sink.send(envelopes(2), 20) == []

    assert asked.count(asked[0]) > 1


def test_answer_of_an_invocation_that_was_not_asynchronous_is_none() -> None:
    """Only 202 says that Lambda has the event."""
    with FakeRuntimeAPI(intercept=lambda request: reply(200, b"null")) as service:
        with closing(lambda_async(ARN, endpoint_url=f"http://{service.address}")) as sink:
            ((_, reason),) = sink.send(envelopes(), 20)

    assert reason == "status 200"
    assert len(service.requests) == 1


def _id(request: Request) -> str:
    envelope = Envelope.decode(request.json()["Records"][0]["body"])
    assert envelope is not None
    return envelope.id
