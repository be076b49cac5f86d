"""The Runtime API on paper: every call to the byte, and every way in which a reply may come or be broken."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise, repeat

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_ric import __version__, protocol
from lambda_ric.errors import ConnectionLostError, MalformedReplyError, RuntimeAPIError
from lambda_ric.protocol import Call, Invocation
from lambda_ric.replies import Reply, ReplyParser
from lambda_ric.settings import Address

MODEST = settings(deadline=None, max_examples=150, database=None)

ADDRESS = Address("127.0.0.1", 9001)
PYTHON = ".".join(map(str, sys.version_info[:3]))


def invocation(**headers: str) -> Invocation:
    """Return an event whose reply has *headers*, underscores in their names being dashes."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Invocation(Reply(200, {"lambda-runtime-aws-request-id": "r-1", **given}, b"{}"), time.time())


# The calls to make...


def test_poll_is_a_get_of_the_next_event() -> None:
    """Parity 33, 34."""
    assert protocol.NEXT.encode(ADDRESS) == (
        b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n"
        b"Host: 127.0.0.1:9001\r\n"
        b"User-Agent: lambda-ric/%s python/%s\r\n"
        b"Accept: */*\r\n"
        b"\r\n"
    ) % (__version__.encode(), PYTHON.encode())


def test_response_names_its_length_and_its_type() -> None:
    """A buffered response is not chunked and expects no 100 Continue. Parity 33, 35."""
    assert protocol.response(invocation(), b'{"a": 1}', "application/json").encode(ADDRESS) == (
        b"POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\n"
        b"Host: 127.0.0.1:9001\r\n"
        b"User-Agent: lambda-ric/%s python/%s\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 8\r\n"
        b"\r\n"
        b'{"a": 1}'
    ) % (__version__.encode(), PYTHON.encode())


def test_empty_response_still_says_its_length() -> None:
    """Without it a server waits for the end of the connection."""
    assert b"\r\nContent-Length: 0\r\n\r\n" in protocol.response(invocation(), b"", "text/plain").encode(ADDRESS)


def test_error_names_its_type_and_its_cause() -> None:
    """The platform's metrics read the type from the header. Parity 37."""
    call = protocol.error(invocation(), b"{}", "Function.KeyError", '{"paths": []}')

    assert (call.method, call.path, call.body) == ("POST", "/2018-06-01/runtime/invocation/r-1/error", b"{}")
    assert call.headers == {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-Error-Type": "Function.KeyError",
        "Lambda-Runtime-Function-XRay-Error-Cause": '{"paths": []}',
    }


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (protocol.init_error(b"{}", "Runtime.X"), "/2018-06-01/runtime/init/error"),
        (protocol.restore_error(b"{}", "Runtime.X"), "/2018-06-01/runtime/restore/error"),
    ],
)
def test_failure_of_the_environment_names_its_type(call: Call, path: str) -> None:
    """With a content type and a user agent, which AWS's own runtime leaves out. Parity 29."""
    assert (call.method, call.path, call.body) == ("POST", path, b"{}")
    assert call.headers == {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": "Runtime.X"}
    assert b"\r\nUser-Agent: lambda-ric/" in call.encode(ADDRESS)


def test_restore_is_waited_for_with_a_get() -> None:
    """Parity 132."""
    assert protocol.RESTORE_NEXT.encode(ADDRESS).startswith(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\n")


def test_invocation_id_goes_back_if_it_came() -> None:
    """It tells an attempt from a retry with the same request id; one is never invented. Parity 35, 53."""
    with_it, without, empty = (
        [protocol.response(event, b"", "x/y").headers, protocol.error(event, b"", "E", "{}").headers]
        for event in (
            invocation(lambda_runtime_invocation_id="n-1"),
            invocation(),
            invocation(lambda_runtime_invocation_id=""),
        )
    )

    assert [headers.get("Lambda-Runtime-Invocation-Id") for headers in with_it] == ["n-1", "n-1"]
    assert not any("Lambda-Runtime-Invocation-Id" in headers for headers in (*without, *empty))


def test_prefix_of_the_address_comes_before_every_path() -> None:
    """Some emulators put the Runtime API below a path. Parity 3."""
    request = protocol.NEXT.encode(Address.parse("http://localhost:9000/.rt/"))

    assert request.startswith(b"GET /.rt/2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: localhost:9000\r\n")


@pytest.mark.parametrize(
    ("request_id", "segment"),
    [
        ("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
        ("a b", "a%20b"),
        ("../../../etc", "..%2F..%2F..%2Fetc"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("a HTTP/1.1\tX", "a%20HTTP%2F1.1%09X"),
        ("ünï", "%C3%BCn%C3%AF"),
        ("\u0661", "%D9%A1"),
    ],
)
def test_request_id_is_one_segment_of_the_path_whatever_it_holds(request_id: str, segment: str) -> None:
    """A space in the id ends AWS's runtime. Parity 39."""
    event = invocation(lambda_runtime_aws_request_id=request_id)

    assert protocol.response(event, b"", "x/y").path == f"/2018-06-01/runtime/invocation/{segment}/response"
    assert protocol.error(event, b"", "E", "{}").path == f"/2018-06-01/runtime/invocation/{segment}/error"


@pytest.mark.parametrize(
    ("error_type", "header"),
    [
        ("Runtime.MarshalError", "Runtime.MarshalError"),
        ("Evil\r\nX-Injected: 1", "Evil_X-Injected:_1"),
        ("Größe", "Gr_e"),
        ("two words", "two_words"),
        ("x" * 300, "x" * 256),
        ("", ""),
    ],
)
def test_error_type_becomes_one_printable_word_in_its_header(error_type: str, header: str) -> None:
    """A class may have any name; a header must not break. Parity 37."""
    for call in (
        protocol.error(invocation(), b"", error_type, "{}"),
        protocol.init_error(b"", error_type),
        protocol.restore_error(b"", error_type),
    ):
        assert call.headers["Lambda-Runtime-Function-Error-Type"] == header


@MODEST
@given(st.text())
def test_no_error_type_adds_a_line_to_the_head(error_type: str) -> None:
    """Nothing that a function can say becomes a header of its own."""
    head, _, _ = protocol.init_error(b"", error_type).encode(ADDRESS).partition(b"\r\n\r\n")

    assert len(head.splitlines()) == 6


@pytest.mark.parametrize("nonce", ["µ-nonce", "日本", "a\x1cb\u2028c"])
def test_invocation_id_goes_back_byte_for_byte(nonce: str) -> None:
    """Lambda compares it with the one that it sent."""
    wire = f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r\r\nLambda-Runtime-Invocation-Id: {nonce}\r\n"
    reply = ReplyParser().feed(f"{wire}Content-Length: 0\r\n\r\n".encode())
    assert reply is not None

    request = protocol.response(Invocation(reply, time.time()), b"", "x/y").encode(ADDRESS)

    assert f"Lambda-Runtime-Invocation-Id: {nonce}\r\n".encode() in request


# ...the event...


def test_event_knows_what_its_headers_say() -> None:
    """Every header of the contract has its place. Parity 34."""
    deadline = int(time.time() * 1000) + 3000
    reply = ReplyParser().feed(
        b"HTTP/1.1 200 OK\r\n"
        b"LAMBDA-RUNTIME-AWS-REQUEST-ID: r-1\r\n"
        b"lambda-runtime-deadline-ms: %d\r\n"
        b"Lambda-Runtime-Invoked-Function-ARN: arn:aws:lambda:eu-west-1:1:function:f\r\n"
        b"lambda-Runtime-trace-Id: Root=1-5bef4de7;Parent=53995c3f;Sampled=1\r\n"
        b'Lambda-Runtime-Client-Context: {"custom": {"k": "\xc3\xbc"}}\r\n'
        b"Lambda-Runtime-Cognito-Identity: {}\r\n"
        b"Lambda-Runtime-Aws-Tenant-Id: blue\r\n"
        b"Lambda-Runtime-Invocation-Id: n-1\r\n"
        b"Content-type: application/json; charset=utf-8\r\n"
        b"Content-Length: 4\r\n"
        b"\r\nnull" % deadline
    )
    assert reply is not None

    event = Invocation(reply, time.time())

    assert event.request_id == "r-1"
    assert event.deadline == deadline / 1000
    assert event.function_arn == "arn:aws:lambda:eu-west-1:1:function:f"
    assert event.trace_id == "Root=1-5bef4de7;Parent=53995c3f;Sampled=1"
    assert event.client_context == '{"custom": {"k": "ü"}}'
    assert event.cognito_identity == "{}"
    assert event.tenant_id == "blue"
    assert event.invocation_id == "n-1"
    assert event.content_type == "application/json; charset=utf-8"
    assert event.body == b"null"


@pytest.mark.parametrize("sent", [{}, dict.fromkeys(("trace", "context", "identity", "tenant", "nonce", "type"), "")])
def test_absent_and_empty_headers_say_nothing(sent: dict[str, str]) -> None:
    """Managed instances send every header, with nothing in it. Parity 34, 49."""
    names = {
        "trace": "lambda_runtime_trace_id",
        "context": "lambda_runtime_client_context",
        "identity": "lambda_runtime_cognito_identity",
        "tenant": "lambda_runtime_aws_tenant_id",
        "nonce": "lambda_runtime_invocation_id",
        "type": "content_type",
    }

    event = invocation(**{names[name]: value for name, value in sent.items()})

    assert event.trace_id is event.client_context is event.cognito_identity is event.tenant_id is None
    assert event.invocation_id is None
    assert (event.function_arn, event.content_type) == ("", "application/json")


@pytest.mark.parametrize("headers", [{}, {"lambda-runtime-aws-request-id": ""}])
def test_event_without_request_id_cannot_be_answered(headers: dict[str, str]) -> None:
    """Parity 51."""
    with pytest.raises(MalformedReplyError) as refusal:
        Invocation(Reply(200, headers, b"{}"), time.time())

    assert str(refusal.value) == (
        "the next event came without the header Lambda-Runtime-Aws-Request-Id: it cannot be answered"
    )


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "soon", "1" + "0" * 30, "1" * 5000, "1e400", "nan", "", "86400000", "1700000000000000000"],
)
def test_absurd_deadline_is_none(text: str) -> None:
    """Some end AWS's runtime with SIGABRT, and an emulator sends one a million times too far ahead. Parity 50."""
    assert invocation(lambda_runtime_deadline_ms=text).deadline == math.inf


def test_missing_deadline_is_none() -> None:
    """Lambda leaves it out when it cannot compute it. Parity 50."""
    assert invocation().deadline == math.inf


# ...and the replies to read.


@dataclass
class Sent:
    """A reply as a server may send it, and what is to be read from it."""

    head: bytes
    rest: bytes
    status: int
    headers: dict[str, str]
    body: bytes
    closes: bool
    up_to_the_end: bool
    cuts: list[int]

    @property
    def wire(self) -> bytes:
        """All of its bytes."""
        return self.head + self.rest

    @property
    def pieces(self) -> list[bytes]:
        """The bytes, cut."""
        places = sorted({0, len(self.wire), *(cut % (len(self.wire) + 1) for cut in self.cuts)})
        return [self.wire[start:end] for start, end in pairwise(places)]


TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=9)
MEANINGFUL = ("content-length", "transfer-encoding", "connection")
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), max_size=12)
BLANK = st.text(" \t", max_size=2)


def recased(name: str, how: int) -> str:
    """Return *name* as it is, in lower or in upper case."""
    return (name, name.lower(), name.upper())[how]


@st.composite
def replies(draw: st.DrawFn) -> Sent:
    """Draw a reply that HTTP/1.1 allows, cut anywhere."""
    status = draw(st.sampled_from((200, 200, 202, 204, 304, 400, 413, 500, 999)))
    framing = draw(st.sampled_from(("length", "chunked", "close"))) if status not in (204, 304) else "none"
    body = draw(st.binary(max_size=40)) if framing != "none" else b""
    fields = draw(st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in MEANINGFUL), VALUE), max_size=4))
    if framing == "length" or (framing == "none" and draw(st.booleans())):
        fields += [("Content-Length", str(len(body)))] * draw(st.integers(1, 2))
    if framing == "chunked":
        fields.append(("Transfer-Encoding", draw(st.sampled_from(("chunked", "Chunked")))))
    connection = draw(st.sampled_from((None, "close", "Close", "keep-alive")))
    if connection:
        fields.append(("Connection", connection))

    newline = draw(st.sampled_from(("\r\n", "\r\n", "\n")))
    lines = [f"HTTP/1.1 {status}{draw(st.sampled_from(('', ' ', ' OK', ' Not at All Fine: ö')))}"]
    headers: dict[str, str] = {}
    for name, value in draw(st.permutations(fields)):
        lines.append(f"{recased(name, draw(st.integers(0, 2)))}:{draw(BLANK)}{value}{draw(BLANK)}")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    interim = draw(st.lists(st.sampled_from((b"100 Continue\r\n", b"103 Hints\r\nLink: </a>\r\n")), max_size=2))
    head = b"".join(b"HTTP/1.1 %s\r\n" % lines for lines in interim)
    head += "".join(line + newline for line in (*lines, "")).encode()
    return Sent(
        head,
        draw(chunked(body)) if framing == "chunked" else body,
        status,
        headers,
        body,
        closes=framing == "close" or (connection or "").lower() == "close",
        up_to_the_end=framing == "close",
        cuts=draw(st.lists(st.integers(0, 10_000), max_size=6)),
    )


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a chunked form of *body*, with extensions and trailers."""
    places = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=3))})
    wire = b""
    for start, end in (*pairwise(places), (0, 0)):
        size = draw(st.sampled_from((b"%x", b"%X", b"0%x"))) % (end - start)
        extension = draw(st.sampled_from((b"", b";a", b' ; a="b"')))
        wire += size + extension + b"\r\n" + (body[start:end] + b"\r\n" if end else b"")
    return wire + draw(st.sampled_from((b"", b"Trailer: x\r\n", b"A: 1\r\nB: 2\r\n"))) + b"\r\n"


def read(pieces: Iterable[bytes], parser: ReplyParser | None = None) -> Reply:
    """Return the reply that *pieces* make up, with the end of the connection after them."""
    parser = parser or ReplyParser()
    for piece in pieces:
        reply = parser.feed(piece)
        if reply is not None:
            return reply
    return parser.end()


def status_of(pieces: list[bytes]) -> int:
    """Return the status that *pieces* say, or 999 if they are refused as they should be."""
    try:
        return read(pieces).status
    except RuntimeAPIError:
        return 999


@MODEST
@given(replies())
def test_any_split_of_any_valid_reply_reads_the_same(sent: Sent) -> None:
    """The network may cut and join as it likes."""
    reply = read(sent.pieces)

    # What says how the body was framed is the parser's own business.
    read_headers, sent_headers = (
        {name: value for name, value in headers.items() if name not in ("content-length", "transfer-encoding")}
        for headers in (reply.headers, sent.headers)
    )
    assert (reply.status, reply.body, reply.closes) == (sent.status, sent.body, sent.closes)
    assert read_headers == sent_headers


@MODEST
@given(replies().filter(lambda sent: not sent.closes), replies())
def test_replies_of_one_connection_are_read_one_after_the_other(first: Sent, second: Sent) -> None:
    """A parser serves its connection for life."""
    parser = ReplyParser()

    bodies = [read(first.pieces, parser).body, read(second.pieces, parser).body]

    assert bodies == [first.body, second.body]


@MODEST
@given(replies(), st.integers(0, 10_000))
def test_reply_that_breaks_off_is_a_lost_connection(sent: Sent, at: int) -> None:
    """Half a reply is none; only a body that goes up to the end of the connection may end anywhere."""
    parser = ReplyParser()

    assert parser.feed(sent.wire[: at % len(sent.head if sent.up_to_the_end else sent.wire)]) is None
    with pytest.raises(ConnectionLostError):
        parser.end()


@pytest.mark.parametrize("line_ends", [b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_blank_line_ends_the_head_whatever_the_line_ends_are(line_ends: bytes) -> None:
    """What seems to be a header behind it is the beginning of the body."""
    parser = ReplyParser()

    assert parser.feed(b"HTTP/1.1 200 OK\r\nA: 1" + line_ends + b"Content-Length: 3\r\n\r\nabc") is None
    reply = parser.end()

    assert (dict(reply.headers), reply.body) == ({"a": "1"}, b"Content-Length: 3\r\n\r\nabc")


@MODEST
@given(st.lists(st.binary(max_size=60), max_size=4))
@example([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
@example([b"HTTP/1.1 000 Zero\r\n\r\n"])
@example([b"HTTP/1.1 2\xb2\xb2 \r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n"])
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"])
@example([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
def test_garbage_is_one_named_error(pieces: list[bytes]) -> None:
    """No traceback of ours, whatever comes over the connection."""
    assert 200 <= status_of(pieces) <= 999


@MODEST
@given(replies(), st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 6))
def test_valid_reply_with_a_few_bytes_changed_is_a_reply_or_one_named_error(
    sent: Sent, at: int, change: bytes, removed: int
) -> None:
    """The near misses are where a parser breaks."""
    at %= len(sent.wire)
    wire = sent.wire[:at] + change + sent.wire[at + removed :]

    assert 200 <= status_of([wire]) <= 999


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP/1.1 reply: b'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "not the first line of an HTTP/1.1 reply: 'HTTP/2.0 200 OK'"),
        (b"HTTP/2 200\r\n\r\n", "not the first line of an HTTP/1.1 reply: 'HTTP/2 200'"),
        (b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "not "),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "not the first line of an HTTP/1.1 reply: "),
        (b"HTTP/1.1 099 Low\r\n\r\n", "not the first line of an HTTP/1.1 reply: "),
        (b"HTTP/1.1 20 OK\r\n\r\n", "not the first line of an HTTP/1.1 reply: "),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not a header: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", "a blank in the name of a header: 'content-length '"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n\r\n", "a blank in the name of a header: 'a,  folded'"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\tfolded\r\n\r\n", "not a header: '\\tfolded'"),
        (b"HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n", "a null character in the head of a reply: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "Content-Length: 1, 2 is not the length of a body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "Content-Length: +5 is not the length of a body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "Content-Length:  is not the length of a body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), "Content-Length: 999"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown transfer encoding 'gzip'"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "not the size of a chunk: b'xyz"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "a chunk of 1 bytes does not end where"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "a chunk of 4294967295 bytes is larger"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "the server switched protocols"),
    ],
)
def test_malformed_reply_is_refused_and_shown(wire: bytes, text: str) -> None:
    """The log says what came instead of a reply."""
    with pytest.raises(MalformedReplyError) as refusal:
        read([wire])

    assert str(refusal.value).startswith(text)
    assert len(str(refusal.value)) < 400


def test_reply_is_whole_when_its_last_byte_has_come() -> None:
    """The answer is not waited for any longer than it takes to come."""
    wire = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc"
    parser = ReplyParser()

    replies = [parser.feed(wire[at : at + 1]) for at in range(len(wire))]

    assert [reply is not None for reply in replies] == [False] * (len(wire) - 1) + [True]


def test_body_that_is_itself_a_reply_is_a_body() -> None:
    """An event may hold anything, and come in any pieces."""
    inner = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(inner))

    assert read([head, inner, inner]).body == inner + inner


@pytest.mark.parametrize(
    "chunks", [b"5\r\nhello\r\n", b"2\r\nhe\r\n3\r\nllo\r\n", b"05\r\nhello\r\n", b"5;a=b\r\nhello\r\n"]
)
def test_chunks_that_come_at_once_are_joined(chunks: bytes) -> None:
    """As Lambda's own server sends an event of more than 2 KB."""
    reply = ReplyParser().feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")

    assert reply is not None
    assert reply.body == b"hello"


def test_body_of_known_length_may_look_like_chunks() -> None:
    """Its head says what it is."""
    body = b"5\r\nhello\r\n0\r\n\r\n"

    assert read([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body]).body == body


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        (b"A: 1\r\na: 2\r\nB: 3\r\n", {"a": "1, 2", "b": "3"}),
        (b"A: 1\nB: 2\r\n", {"a": "1", "b": "2"}),
        (b"A:1\r\nB: \t 2 \t\r\nC:\r\n", {"a": "1", "b": "2", "c": ""}),
        (b"A: b: c\r\n", {"a": "b: c"}),
    ],
)
def test_headers_of_one_name_are_joined_and_their_values_stripped(head: bytes, headers: dict[str, str]) -> None:
    """RFC 9110, 5.3; a line may end without a carriage return (RFC 9112, 2.2)."""
    for length in (b"Content-Length: 0\r\n", b"Content-Length: 0\r\nContent-Length: 0\r\n"):
        reply = read([b"HTTP/1.1 200 OK\r\n" + head + length + b"\r\n"])

        assert {name: value for name, value in reply.headers.items() if name != "content-length"} == headers


def test_chunks_go_before_a_length() -> None:
    """RFC 9112, 6.3: where both are given, the length is wrong."""
    body = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(body)

    assert read([head + body]).body == b"hello"


def test_bytes_after_a_reply_make_its_connection_unusable() -> None:
    """They answer no request: the two sides are out of step."""
    reply = ReplyParser().feed(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n")

    assert reply is not None
    assert reply.closes


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"HTTP/1.1 202 A\r\n", False),
        (b"HTTP/1.1 202 A\r\nConnection: close\r\n", True),
        (b"HTTP/1.0 202 A\r\n", True),
        (b"HTTP/1.0 202 A\r\nConnection: Keep-Alive\r\n", False),
    ],
)
def test_connection_is_kept_as_its_version_and_header_say(head: bytes, closes: bool) -> None:
    """HTTP/1.1 keeps it unless told otherwise, HTTP/1.0 the other way round. Parity 40."""
    reply = ReplyParser().feed(head + b"Content-Length: 0\r\n\r\n")

    assert reply is not None
    assert reply.closes is closes


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body_ends_with_its_head_whatever_that_says(status: int) -> None:
    """RFC 9112, 6.3: waiting for the announced body would hang for ever."""
    for framing in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"A: b"):
        reply = ReplyParser().feed(b"HTTP/1.1 %d None\r\n%s\r\n\r\n" % (status, framing))

        assert reply is not None
        assert reply.body == b""


def test_head_that_is_not_utf_8_is_read_as_latin_1() -> None:
    """Any byte may stand in a header's value."""
    reply = ReplyParser().feed(b"HTTP/1.1 200 OK\r\nA: \xfc\r\nContent-Length: 0\r\n\r\n")

    assert reply is not None
    assert reply.headers["a"] == "ü"


def test_interim_reply_alone_is_no_reply() -> None:
    """100 Continue announces the real one."""
    parser = ReplyParser()

    assert parser.feed(b"HTTP/1.1 100 Continue\r\n\r\n") is None
    with pytest.raises(ConnectionLostError, match="without a reply"):
        parser.end()


def test_body_that_is_still_to_come_can_be_asked_for() -> None:
    """So that the connection reads large events in large pieces."""
    parser = ReplyParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")

    assert parser.wanted == 997


class SmallParser(ReplyParser):
    """The real one with limits that a test can reach."""

    MAX_HEAD = 1000
    MAX_BODY = 2000


def test_limit_is_one_of_a_reply_not_of_the_connection() -> None:
    """A connection lives as long as the environment."""
    parser = SmallParser()

    bodies = [read([b"HTTP/1.1 500 Bad\r\nContent-Length: 900\r\n\r\n" + b"x" * 900], parser).body for _ in range(9)]

    assert bodies == [b"x" * 900] * 9


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 100),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2001\r\n\r\n", b"x" * 100),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"64\r\n" + b"x" * 100 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\n"),
        (b"", b"x"),
    ],
)
def test_endless_reply_is_refused(start: bytes, endless: bytes) -> None:
    """A server that never stops must not take all of the memory, nor hang the loop."""
    with pytest.raises(MalformedReplyError):
        read(chain([start], repeat(endless)), SmallParser())
