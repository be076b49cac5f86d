"""
The SQS sink: against moto's server, and against servers that do what SQS does on its worse days.
"""

from __future__ import annotations

import json
import logging
import math
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Self

import pytest

from lambda_ric.overflow import Unconfirmed, sqs
from lambda_ric.tasks.envelope import Envelope
from tests.support.aws_service import SECRET, TOKEN, authorization, envelopes, set_environment
from tests.support.callers import client, sqs_server
from tests.support.fakes import FakeRuntimeAPI, Request, reply

Step = Callable[[Request], bytes]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch)


# SQS as it should be...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with sqs_server() as url:
        yield url


@pytest.fixture
def boto(server: str) -> Iterator[Any]:
    with closing(client("sqs", server)) as boto:
        yield boto


def received(boto: Any, url: str) -> list[Any]:
    """Return all messages of the queue at *url*."""
    messages: list[Any] = []
    while True:
        more = boto.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages")
        if not more:
            return messages
        messages += more
        for message in more:
            boto.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_standard_queue_receives_every_envelope_in_batches(boto: Any) -> None:
    """More than one batch, and nothing is reported when all is accepted."""
    url = boto.create_queue(QueueName="tasks")["QueueUrl"]
    with closing(sqs(url)) as sink:
        left = sink.send(envelopes(23), 20)

    messages = received(boto, url)
    assert left == []
    assert sorted(json.loads(message["Body"])["id"] for message in messages) == sorted(f"id-{n}" for n in range(23))
    assert messages[0]["MessageAttributes"]["lambda-ric-task"]["StringValue"] == "app:send_receipt"
    assert "MessageGroupId" not in messages[0]["Attributes"]


def test_fifo_queue_receives_them_by_group_and_drops_what_it_has_seen(boto: Any) -> None:
    """The task is the group; what is sent twice is there once, but the next attempt is another message."""
    url = boto.create_queue(QueueName="tasks.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    with closing(sqs(url)) as sink:
        left = [*sink.send(envelopes(), 20), *sink.send(envelopes(), 20), *sink.send(envelopes(attempt=2), 20)]

    messages = received(boto, url)
    assert left == []
    assert [json.loads(message["Body"])["attempt"] for message in messages] == [1, 2]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"app:send_receipt"}
    assert [message["Attributes"]["MessageDeduplicationId"] for message in messages] == ["id-0-1", "id-0-2"]


def test_queue_that_does_not_exist_is_the_reason(boto: Any, server: str) -> None:
    """Nothing is gained by a second attempt."""
    with closing(sqs(f"{server}/123456789012/none")) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert "NonExistentQueue" in reason or "QueueDoesNotExist" in reason


def test_large_envelopes_are_divided_by_size(boto: Any) -> None:
    """A request has one mebibyte at most, not only its messages."""
    url = boto.create_queue(QueueName="large")["QueueUrl"]
    with closing(sqs(url)) as sink:
        assert sink.send(envelopes(5, "x" * 400_000), 20) == []

    assert len(received(boto, url)) == 5


# A server that follows a script...


def answered(request: Request, **failures: dict[str, Any]) -> bytes:
    """Accept the entries but those in *failures*, whose names are e0, e1, ..."""
    ids = [entry["Id"] for entry in request.json()["Entries"]]
    failed = {name.removeprefix("e"): failure for name, failure in failures.items()}
    document = {
        "Successful": [{"Id": each, "MessageId": "m", "MD5OfMessageBody": "0"} for each in ids if each not in failed],
        "Failed": [{"Id": each, **failure} for each, failure in failed.items()],
    }
    return reply(200, json.dumps(document).encode(), Content_Type="application/x-amz-json-1.0")


def accepts(request: Request) -> bytes:
    return answered(request)


def refuses(status: int, code: str = "", message: str = "", **headers: str) -> Step:
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message} if code else {}).encode()
    return lambda request: reply(status, body, **headers)


def says(body: bytes) -> Step:
    return lambda request: reply(200, body)


def closes(request: Request) -> bytes:
    return b""


class Service(FakeRuntimeAPI):
    """A server whose answers are those of *steps*; the last one is repeated."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        super().__init__(intercept=self._step)
        self.url = f"http://{self.address}/123456789012/tasks"

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _step(self, request: Request) -> bytes:
        return (self._steps.pop(0) if len(self._steps) > 1 else self._steps[0])(request)

    @property
    def sizes(self) -> list[int]:
        """How many entries each request had."""
        return [len(request.json()["Entries"]) for request in self.requests]


def test_request_is_what_sqs_expects_and_signed_as_it_is_sent() -> None:
    """SQS computes the signature from what it receives: method, host, path, headers and body."""
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        sink.send(envelopes(trace="Root=1-2-3"), 20)

    (request,) = service.requests
    assert request.headers["x-amz-target"] == "AmazonSQS.SendMessageBatch"
    assert request.headers["content-type"] == "application/x-amz-json-1.0"
    assert request.headers["x-amz-security-token"] == TOKEN
    assert request.headers["authorization"] == authorization(request, "sqs", "us-east-1")
    (entry,) = request.json()["Entries"]
    assert request.json()["QueueUrl"] == service.url
    assert entry["MessageSystemAttributes"] == {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}}
    assert set(entry) == {"Id", "MessageBody", "MessageAttributes", "MessageSystemAttributes"}
    assert "host" in request.headers["authorization"]


def test_unlimited_time_is_taken_as_much_of_it() -> None:
    """Neither a thread nor a socket can wait for ever."""
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        assert sink.send(envelopes(), math.inf) == []


def test_group_of_a_standard_queue_is_sent_when_it_is_given() -> None:
    """Fair queues have them; a deduplication id is for FIFO queues only."""
    with Service(accepts) as service, closing(sqs(service.url, message_group_id="tenant-7")) as sink:
        sink.send(envelopes(), 20)

    (entry,) = service.requests[0].json()["Entries"]
    assert entry["MessageGroupId"] == "tenant-7"
    assert "MessageDeduplicationId" not in entry


def test_task_whose_name_is_no_group_has_one_that_stands_for_it() -> None:
    """A group has 128 characters of ASCII at most, a task's name any."""
    named = [Envelope(name, [], {}, "id") for name in ("app:tâche", "app:" + "t" * 200)]
    with Service(accepts) as service, closing(sqs(service.url + ".fifo")) as sink:
        assert sink.send(named, 20) == []

    groups = [entry["MessageGroupId"] for entry in service.requests[0].json()["Entries"]]
    assert [len(group) for group in groups] == [64, 64]
    assert len(set(groups)) == 2


def test_ten_entries_are_the_most_of_a_request() -> None:
    """SQS's limit."""
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        sink.send(envelopes(23), 20)

    assert sorted(service.sizes) == [3, 10, 10]


def test_lower_limit_of_a_queue_holds_for_its_requests() -> None:
    """As it is given; the largest number of messages that fits goes into one request."""
    with Service(accepts) as service, closing(sqs(service.url, max_message_size=2500)) as sink:
        assert sink.send(envelopes(5, "x" * 1000), 20) == []

    assert sorted(service.sizes) == [1, 2, 2]


def test_connection_is_kept_between_invocations() -> None:
    """A handshake costs more than a message."""
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        sink.send(envelopes(), 20)
        sink.send(envelopes(), 20)

    assert [request.connection for request in service.requests] == [0, 0]


def test_connection_that_died_meanwhile_is_replaced_at_once() -> None:
    """A freeze outlasts the patience of any server."""
    with Service(accepts, closes, accepts) as service, closing(sqs(service.url)) as sink:
        sink.send(envelopes(), 20)
        left = sink.send(envelopes(), 20)

    assert left == []
    assert [request.connection for request in service.requests] == [0, 0, 1]


def test_several_threads_may_send_at_a_time() -> None:
    """The drain and a shutdown, say."""
    left: list[Any] = []
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        threads = [threading.Thread(target=lambda: left.extend(sink.send(envelopes(15), 20))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert left == []
    assert sorted(service.sizes) == [5] * 5 + [10] * 5


# On its worse days...


def test_entry_that_the_queue_could_not_take_is_sent_again_alone() -> None:
    """The fault was the queue's: what was accepted is not sent twice."""
    fault = {"SenderFault": False, "Code": "InternalError", "Message": "busy"}
    with Service(lambda request: answered(request, e1=fault), accepts) as service, closing(sqs(service.url)) as sink:
        left = sink.send(envelopes(3), 20)

    assert left == []
    assert service.sizes == [3, 1]
    assert json.loads(service.requests[1].json()["Entries"][0]["MessageBody"])["id"] == "id-1"


def test_entry_that_the_queue_refuses_is_returned_with_its_reason() -> None:
    """The fault is ours, and would be the next time."""
    fault = {"SenderFault": True, "Code": "InvalidMessageContents", "Message": "no\n\nsuch"}
    with Service(lambda request: answered(request, e1=fault)) as service, closing(sqs(service.url)) as sink:
        sent = envelopes(3)
        left = sink.send(sent, 20)

    assert left == [(sent[1], "InvalidMessageContents: no")]
    assert service.sizes == [3]


@pytest.mark.parametrize(
    "fault",
    [
        closes,
        says(b"<html>"),
        says(b"[" * 100_000),
        says(b'"fine"'),
        says(b'{"Successful": 7, "Failed": {"Id": "0"}}'),
        says(b'{"Failed": [7, null, {"Id": {}}]}'),
        lambda request: b"garbage\r\n\r\n",
        refuses(429),
        refuses(500),
        refuses(503, "ServiceUnavailable"),
        refuses(400, "ThrottlingException"),
        refuses(400, "RequestThrottled"),
        lambda request: answered(request, e0={"SenderFault": True, "Code": "RequestThrottled"}),
    ],
)
def test_fault_that_may_pass_is_waited_for(fault: Step) -> None:
    """While there is time."""
    with Service(fault, fault, accepts) as service, closing(sqs(service.url)) as sink:
        assert sink.send(envelopes(), 20) == []

    assert len(service.requests) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        refuses(400, "QueueDoesNotExist", "none"),
        refuses(403, "AccessDeniedException", "not you"),
        refuses(301, Location="http://127.0.0.1:9/"),
        refuses(307, Location="/elsewhere"),
        refuses(202),
    ],
)
def test_answer_that_will_not_change_is_final(refusal: Step) -> None:
    """Redirections are not followed: a signed request goes to where it was signed for."""
    with Service(refusal, accepts) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert reason.startswith("status ")
    assert len(service.requests) == 1


def test_reason_has_the_status_the_code_and_the_text_of_the_service() -> None:
    """Whoever reads it in the log knows what to do."""
    with Service(refuses(403, "AccessDeniedException", "not you")) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert reason == "status 403 AccessDeniedException: not you"


def test_time_that_is_up_ends_the_attempts_with_the_last_reason() -> None:
    """What was not accepted by then is returned, and nothing is waited for in vain."""
    with Service(refuses(503, "ServiceUnavailable")) as service, closing(sqs(service.url)) as sink:
        sent = envelopes(11)
        left = sink.send(sent, 2)

    assert left == [(each, "status 503 ServiceUnavailable") for each in sent]


def test_attempt_whose_answer_would_come_too_late_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused for certain stays so: a request under way at the end would make it unconfirmed."""
    monkeypatch.setattr(random, "random", lambda: 19.0)  # of a tenth of a second: 1.9 s are waited, by chance
    with Service(refuses(503, "ServiceUnavailable")) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 2)

    assert reason == "status 503 ServiceUnavailable"
    assert len(service.requests) == 1


def test_nobody_who_listens_is_a_reason() -> None:
    """Refused connections are tried again, too."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with closing(sqs(f"http://127.0.0.1:{bound.getsockname()[1]}/1/tasks")) as sink:
            ((_, reason),) = sink.send(envelopes(), 2)

    assert reason.startswith("ConnectionRefusedError: ")
    assert not isinstance(reason, Unconfirmed)


@pytest.mark.parametrize("within", [0.0, -1.0])
def test_without_time_nothing_is_sent(within: float) -> None:
    """Nor is anything connected to."""
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), within)

    assert reason == "not sent: no time was left"
    assert service.requests == []


def test_what_was_sent_without_an_answer_is_unconfirmed_and_what_was_not_sent_is_not() -> None:
    """Twenty requests are under way at most; nothing of the rest is sent once it has been called lost."""
    over = threading.Event()

    def hangs(listener: socket.socket) -> None:
        connections = []
        while not over.is_set():
            connections.append(listener.accept()[0])
        asked.append(len(connections) - 1)
        for connection in connections:
            connection.close()

    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        thread = threading.Thread(target=hangs, args=(listener,))
        thread.start()
        with closing(sqs(f"http://127.0.0.1:{listener.getsockname()[1]}/1/tasks")) as sink:
            sink.prepare()
            left = sink.send(envelopes(250), 0.5)
            over.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join(20)
            for sender in threads_of_sinks():
                sender.join(20)

    unconfirmed = [each.id for each, reason in left if isinstance(reason, Unconfirmed)]
    lost = {str(reason) for _, reason in left if not isinstance(reason, Unconfirmed)}
    assert len(left) == 250
    assert unconfirmed == [f"id-{number}" for number in range(len(unconfirmed))]
    assert 0 < len(unconfirmed) <= 10 * asked[0] <= 200
    assert lost == {"not sent: no time was left"}


def threads_of_sinks() -> list[threading.Thread]:
    """Return those that are still sending."""
    return [other for other in threading.enumerate() if other.name == "lambda_ric.overflow"]


def test_answer_that_comes_too_late_leaves_it_unconfirmed() -> None:
    """It was neither refused nor accepted when that was asked, and is never said to be lost."""
    heard, over = threading.Event(), threading.Event()

    def late(request: Request) -> bytes:
        heard.set()
        over.wait(20)
        return accepts(request)

    with Service(late) as service, closing(sqs(service.url)) as sink:
        left = sink.send(envelopes(3), 2)
        over.set()
        for sender in threads_of_sinks():
            sender.join(20)

    assert heard.is_set()
    assert [type(reason) for _, reason in left] == [Unconfirmed] * 3


def test_refusal_after_an_answer_that_was_not_heard_does_not_make_it_lost() -> None:
    """The first request may have been accepted, whatever the second one is told."""
    with Service(closes, refuses(403, "AccessDeniedException")) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert isinstance(reason, Unconfirmed)
    assert "status 403 AccessDeniedException" in reason


@pytest.mark.parametrize(
    "unheard",
    [closes, says(b"<html>"), says(b'{"Successful": []}'), refuses(502), refuses(504), lambda request: b"garbage"],
)
def test_answer_that_says_nothing_leaves_it_unconfirmed(unheard: Step) -> None:
    """Whoever sends again what is called lost must not double it."""
    with Service(unheard) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 1)

    assert isinstance(reason, Unconfirmed)


def test_batches_are_sent_at_the_same_time() -> None:
    """The server answers none before it has four of them."""
    all_there = threading.Barrier(4)

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            length = 0
            while line := stream.readline().strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            entries = json.loads(stream.read(length))["Entries"]
            all_there.wait(20)
            answer = json.dumps({"Successful": [{"Id": entry["Id"]} for entry in entries]}).encode()
            connection.sendall(reply(200, answer, Connection="close"))

    def accept(listener: socket.socket) -> None:
        threads = [threading.Thread(target=serve, args=(listener.accept()[0],)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,))
        thread.start()
        with closing(sqs(f"http://127.0.0.1:{listener.getsockname()[1]}/1/tasks")) as sink:
            assert sink.send(envelopes(40), 20) == []
        thread.join(20)


def test_answer_that_comes_byte_by_byte_is_not_waited_for() -> None:
    """No timeout between two bytes would ever end it."""
    over = threading.Event()

    def drips(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not over.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drips, args=(listener,))
        thread.start()
        with closing(sqs(f"http://127.0.0.1:{listener.getsockname()[1]}/1/tasks")) as sink:
            sink.prepare()
            ((_, reason),) = sink.send(envelopes(), 0.5)
            over.set()
            thread.join(20)
            for sender in threads_of_sinks():
                sender.join(20)

    assert isinstance(reason, Unconfirmed)


def test_envelope_that_cannot_be_encoded_does_not_keep_the_others_back() -> None:
    """Sending never raises."""
    good, bad = envelopes()[0], Envelope("app:task", [object()], {}, "id")
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        left = sink.send([bad, good], 20)

    assert [each for each, _ in left] == [bad]
    assert service.sizes == [1]


# What is kept secret, and the way out...


def test_credentials_are_in_no_log_and_no_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """AWS quotes what it had wanted to be signed: the session's token is part of it."""
    quoted = refuses(403, "SignatureDoesNotMatch", f"no match\n\nx-amz-security-token:{TOKEN}")
    inline = refuses(403, "InvalidClientTokenId", f"{TOKEN} is no token")
    with caplog.at_level(logging.DEBUG):
        with Service(quoted, inline) as service, closing(sqs(service.url)) as sink:
            reasons = [reason for _ in range(2) for _, reason in sink.send(envelopes(), 20)]

    assert reasons == ["status 403 SignatureDoesNotMatch: no match", "status 403 InvalidClientTokenId: *** is no token"]
    assert TOKEN not in caplog.text
    assert SECRET not in caplog.text
    assert "HTTP Request" not in caplog.text


def test_token_that_is_no_header_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied with a line feed, say."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{TOKEN}\n{TOKEN}\n")
    with Service(accepts) as service, closing(sqs(service.url)) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert reason == "the header X-Amz-Security-Token has characters that no header may have"
    assert service.requests == []


def test_proxy_of_the_environment_is_used_and_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every SDK does; a function without a way out may have one."""
    with Service(accepts) as proxy, closing(sqs("http://sqs.us-east-1.amazonaws.com/1/tasks")) as sink:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:password@{proxy.address}")
        left = sink.send(envelopes(), 20)
    monkeypatch.setenv("HTTP_PROXY", "nonsense://me:password@127.0.0.1")
    with closing(sqs("http://sqs.us-east-1.amazonaws.com/1/tasks")) as sink:
        ((_, reason),) = sink.send(envelopes(), 20)

    assert left == []
    assert proxy.requests[0].path == "http://sqs.us-east-1.amazonaws.com/"
    assert "password" not in reason
