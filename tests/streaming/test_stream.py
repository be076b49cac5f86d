"""Responses sent while they are made, by the real runtime over a real connection."""

from __future__ import annotations

import base64
import json
import socket
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_ric import StreamingResponse
from lambda_ric.protocol import PRELUDE_END, PRELUDE_TYPE
from lambda_ric.testing import invoke
from tests.conftest import Serve
from tests.support.fakes import Event, Request, reply


def error_of(post: Request) -> Any:
    """Return the error document in the trailers of *post*."""
    return json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"], validate=True))


HANDLERS = {
    "generator": "def handler(event, context):\n    yield b'a'\n    yield 'ß'",
    "async generator": "async def handler(event, context):\n    yield b'a'\n    yield 'ß'",
    "iterator": "def handler(event, context):\n    return iter([b'a', 'ß'])",
    "iterator of an async handler": "async def handler(event, context):\n    return iter([b'a', 'ß'])",
    "async iterator of a sync handler": (
        "async def chunks():\n    yield b'a'\n    yield 'ß'\ndef handler(event, context):\n    return chunks()"
    ),
    "bytearray and memoryview": (
        "def handler(event, context):\n    yield bytearray(b'a')\n    yield memoryview('ß'.encode())"
    ),
}


@pytest.mark.parametrize("source", HANDLERS.values(), ids=HANDLERS)
def test_iterator_of_bytes_and_str_is_streamed(serve: Serve, source: str) -> None:
    """The returned object decides, not what the handler looks like."""
    (post,) = serve(source, None).posts

    assert post.name == "response"
    assert post.body == "aß".encode()
    assert post.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert post.headers["transfer-encoding"] == "chunked"
    assert post.headers["content-type"] == "application/octet-stream"
    assert "content-length" not in post.headers
    assert post.trailers == {}


def test_trailers_are_announced_before_the_body(serve: Serve) -> None:
    """A server may drop the ones that are not."""
    served = serve("def handler(event, context):\n    yield b'a'", None)

    # The scripted server keeps the last of several headers of one name.
    assert served.posts[0].headers["trailer"] == "Lambda-Runtime-Function-Error-Body"


def test_invocation_id_goes_back_with_a_stream(serve: Serve) -> None:
    """As with any answer."""
    event = Event(headers={"Lambda-Runtime-Invocation-Id": "attempt-1"})

    assert serve("def handler(event, context):\n    yield b'a'", event).posts[0].headers[
        "lambda-runtime-invocation-id"
    ] == ("attempt-1")


def test_streams_and_plain_responses_share_one_connection(serve: Serve) -> None:
    """A streamed response leaves it in order."""
    served = serve("def handler(event, context):\n    return iter([b'a']) if event else event", True, False, True)

    assert [post.body for post in served.posts] == [b"a", b"false", b"a"]
    assert {request.connection for request in served.api.requests} == {0}


def test_empty_stream_is_an_empty_response(serve: Serve) -> None:
    """Not an error, nor null."""
    (post,) = serve("def handler(event, context):\n    return iter([])", None).posts

    assert (post.name, post.body, post.chunks) == ("response", b"", [])


def test_empty_chunk_does_not_end_the_body(serve: Serve) -> None:
    """On the wire it would."""
    (post,) = serve(
        "def handler(event, context):\n    yield b'a'\n    yield b''\n    yield ''\n    yield b'b'", None
    ).posts

    assert post.body == b"ab"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=70_000), st.text(max_size=50)), max_size=12), st.booleans())
def test_bytes_arrive_exactly_and_in_order(chunks: list[Any], asynchronous: bool) -> None:
    """Whatever their sizes, and however they are put together on the way."""

    async def later() -> Any:
        for chunk in chunks:
            yield chunk

    invoked = invoke(lambda event, context: later() if asynchronous else iter(chunks))

    assert invoked.response == b"".join(chunk.encode() if isinstance(chunk, str) else chunk for chunk in chunks)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("sizes", [[1] * 5000, [7, 100_000] * 20, [3_000_000, 1], [16 * 1024, 16 * 1024 - 1, 1] * 50])
def test_bytes_arrive_exactly_over_a_connection(serve: Serve, sizes: list[int], asynchronous: bool) -> None:
    """Across what finds no room, what waits for a thread, and what is cut into pieces."""
    source = f"""
        {"async " if asynchronous else ""}def handler(event, context):
            for number, size in enumerate(event):
                yield bytes([number % 251]) * size
    """

    (post,) = serve(source, sizes).posts

    assert post.body == b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tiny_chunks_travel_together(serve: Serve, asynchronous: bool) -> None:
    """A send for each would cost more than the work."""
    source = f"""
        {"async " if asynchronous else ""}def handler(event, context):
            for _ in range(10_000):
                yield b"x"
    """

    (post,) = serve(source, None).posts

    assert post.body == b"x" * 10_000
    assert len(post.chunks) < 1000


@pytest.mark.parametrize("asynchronous", [False, True])
def test_every_chunk_arrives_before_the_next_one_is_made(serve: Serve, asynchronous: bool) -> None:
    """Also the second of two that came at once: the producer here goes on only when Lambda has what it made."""
    arrived = {1: threading.Event(), 3: threading.Event()}
    received = 0

    def on_chunk(data: bytes) -> None:
        nonlocal received
        received += len(data)
        if received in arrived:
            arrived[received].set()

    with socket.create_server(("127.0.0.1", 0)) as gate:

        def tell() -> None:
            connection, _ = gate.accept()
            with connection:
                for event in arrived.values():
                    assert event.wait(10)
                    connection.sendall(b"!")

        teller = threading.Thread(target=tell)
        teller.start()
        served = serve(
            f"""
            import socket
            {"async " if asynchronous else ""}def handler(event, context):
                with socket.create_connection(("127.0.0.1", event)) as gate:
                    gate.settimeout(10)
                    yield b"a"
                    gate.recv(1)
                    yield b"b"
                    yield b"c"
                    {"import asyncio; await asyncio.sleep(0.01)" if asynchronous else ""}
                    gate.recv(1)
                    yield b"d"
            """,
            gate.getsockname()[1],
            on_chunk=on_chunk,
        )
        teller.join()

    assert served.posts[0].body == b"abcd"


# HTTP responses...


def test_streaming_response_has_its_head_as_a_prelude(serve: Serve) -> None:
    """JSON, eight NUL bytes, then the body: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html"""
    served = serve(
        """
        from lambda_ric import StreamingResponse
        def handler(event, context):
            headers = {"X-One": "1", "Accept-Ch": ["DPR", "Width"]}
            return StreamingResponse(["a", b"b"], status_code=201, headers=headers, cookies=["theme=dark; Path=/"])
        """,
        None,
    )

    prelude, end, body = served.posts[0].body.partition(PRELUDE_END)
    assert served.posts[0].headers["content-type"] == PRELUDE_TYPE
    assert (end, body) == (PRELUDE_END, b"ab")
    assert json.loads(prelude) == {
        "statusCode": 201,
        "headers": {"X-One": "1"},
        "multiValueHeaders": {"Accept-Ch": ["DPR", "Width"]},
        "cookies": ["theme=dark; Path=/"],
    }


@pytest.mark.parametrize(
    "body", [b"ab", "ab", bytearray(b"ab"), ["a", "b"], iter(["a", b"b"]), {"a": 1, "b": 2}.keys()]
)
def test_body_of_a_streaming_response_is_any_iterable_or_one_chunk(body: Any) -> None:
    """One chunk is not taken for an iterable of numbers or letters."""
    assert invoke(lambda event, context: StreamingResponse(body)).response == b"ab"


def test_prelude_is_sent_with_an_empty_first_chunk(serve: Serve) -> None:
    """So that a browser has the head before there is anything to say."""
    source = """
        from lambda_ric import StreamingResponse
        def chunks():
            yield b""
            raise ValueError("no")
        def handler(event, context):
            return StreamingResponse(chunks())
    """

    (post,) = serve(source, None).posts

    assert post.body == b'{"statusCode": 200}' + PRELUDE_END
    assert error_of(post)["errorMessage"] == "no"


def test_empty_body_has_a_prelude_all_the_same() -> None:
    """A redirect has no more."""
    invoked = invoke(lambda event, context: StreamingResponse([], 302, {"Location": "/"}))

    assert (invoked.prelude, invoked.response) == ({"statusCode": 302, "headers": {"Location": "/"}}, b"")


def test_repeated_names_are_one_header_with_several_values_and_set_cookie_is_a_cookie() -> None:
    """Names are the same in any case; the spelling that came first stays."""
    pairs = [("Vary", "Origin"), ("vary", "Accept"), ("Set-Cookie", "a=b"), ("X", "1")]

    response = StreamingResponse([], headers=pairs, cookies=["c=d"])

    assert response.headers == {"Vary": ["Origin", "Accept"], "X": ["1"]}
    assert response.cookies == ["c=d", "a=b"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"status_code": 99}, "status_code=99"),
        ({"status_code": "200"}, "status_code='200'"),
        ({"status_code": True}, "status_code=True"),
        ({"headers": {"X\r\nY": "1"}}, "name of a header"),
        ({"headers": {"": "1"}}, "name of a header"),
        ({"headers": {"X": "1\r\nY: 2"}}, "line break"),
        ({"headers": {"X": "1\0"}}, "control character"),
        ({"headers": {"X": ["1", 2]}}, "'int'"),
        ({"headers": {"X": 1}}, "'X' is text, not 'int'"),
        ({"headers": [("X",)]}, "not enough values"),
        ({"cookies": ["a=b\n"]}, "line break"),
        ({"cookies": "a=b"}, "a list"),
    ],
)
def test_head_that_cannot_be_one_is_refused_where_it_is_made(arguments: Any, text: str) -> None:
    """In the line of the function that is wrong, not by API Gateway."""
    with pytest.raises((TypeError, ValueError), match=text):
        StreamingResponse([], **arguments)


def test_characters_outside_ascii_and_nul_bytes_never_break_the_prelude() -> None:
    """They are escaped: eight NUL bytes can only be its end."""
    invoked = invoke(lambda event, context: StreamingResponse([bytes(20)], headers={"X": "gr\u00fcn"}))

    assert invoked.prelude == {"statusCode": 200, "headers": {"X": "gr\u00fcn"}}
    assert invoked.response == bytes(20)


def test_file_is_streamed_and_closed(serve: Serve) -> None:
    """In blocks: its lines can be as long as itself."""
    source = """
        import tempfile
        def handler(event, context):
            global file
            if event:
                return file.closed
            file = tempfile.TemporaryFile()
            file.write(bytes(1_000_000))
            file.seek(0)
            return file
    """

    streamed, closed = serve(source, False, True).posts

    assert streamed.body == bytes(1_000_000)
    assert closed.body == b"true"


# Failures...


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_error_before_the_first_byte_is_an_ordinary_error(serve: Serve, asynchronous: str) -> None:
    """Nothing of a response has been sent yet."""
    source = f"{asynchronous}def handler(event, context):\n    raise ValueError('no')\n    yield b'a'"

    (post,) = serve(source, None).posts

    assert (post.name, post.json()["errorType"], post.json()["errorMessage"]) == ("error", "ValueError", "no")


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_error_after_the_first_byte_comes_in_the_trailers_and_the_body_ends_cleanly(
    serve: Serve, asynchronous: str
) -> None:
    """The caller has half of it and is told why; the log has the traceback once; the loop goes on."""
    source = f"""
        {asynchronous}def handler(event, context):
            yield b"half"
            if event == "fail":
                raise ValueError("no more")
    """

    served = serve(source, "fail", "go on")

    failed, following = served.posts
    assert (failed.name, failed.body) == ("response", b"half")
    assert failed.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
    assert error_of(failed)["errorType"] == "ValueError"
    assert error_of(failed)["errorMessage"] == "no more"
    assert 'raise ValueError("no more")' in "".join(error_of(failed)["stackTrace"])
    assert served.stdout.count("[ERROR] ValueError: no more") == 1
    assert served.stdout.count("Traceback") == 1
    assert (following.body, following.trailers) == (b"half", {})


def test_error_document_in_the_trailers_is_cut_down_to_what_a_server_takes(serve: Serve) -> None:
    """Go's takes 4 KB of trailers in all, and drops the connection at more."""
    source = """
        def dive(depth):
            if depth == 0:
                raise ValueError("x" * 5000)
            dive(depth - 1)

        def handler(event, context):
            yield b"half"
            dive(100)
    """

    (post,) = serve(source, None).posts

    assert sum(len(name) + len(value) + 4 for name, value in post.trailers.items()) < 4000
    assert error_of(post)["errorMessage"].startswith("xxx")


@pytest.mark.parametrize("value", ["{'statusCode': 200}", "17", "None", "['a']", "'\\ud800'"])
def test_chunk_that_is_no_text_or_bytes_says_what_a_stream_is_made_of(serve: Serve, value: str) -> None:
    """A generator that was meant to go on after its response is told how to."""
    served = serve(f"def handler(event, context):\n    yield {value}", None)

    (post,) = served.posts
    assert (post.name, post.json()["errorType"]) == ("error", "Runtime.MarshalError")
    assert "stream" in post.json()["errorMessage"]


def test_system_exit_in_mid_stream_is_told_and_ends_the_process(serve: Serve) -> None:
    """As in a handler that does not stream."""
    served = serve("import sys\ndef handler(event, context):\n    yield b'half'\n    sys.exit(3)", None, None)

    (post,) = served.posts
    assert error_of(post)["errorType"] == "SystemExit"
    assert served.exit_code == 3


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_deadline_in_mid_stream_is_an_error_in_the_trailers(serve: Serve, asynchronous: str) -> None:
    """The environment lives on, and the generator is closed."""
    source = f"""
        import asyncio, time
        {asynchronous}def handler(event, context):
            try:
                yield b"half"
                {"await asyncio.sleep(60)" if asynchronous else "time.sleep(60)"}
            finally:
                print("closed")
    """

    served = serve(source, Event(timeout=1.0))

    assert served.posts[0].body == b"half"
    assert error_of(served.posts[0])["errorType"] == "Function.Timeout"
    assert served.lines.count("closed") == 1


def test_reader_that_stands_still_cannot_hold_the_environment_beyond_the_deadline(serve: Serve) -> None:
    """The response is broken off, and the next event is asked for."""
    over = threading.Event()

    def stand_still(data: bytes) -> None:
        over.wait(20)

    served = serve(
        "def handler(event, context):\n    while event:\n        yield b'x' * 100_000\n    yield b'fine'",
        Event(True, timeout=1.0),
        Event(False),
        on_chunk=stand_still,
        intercept=lambda request: over.set() if request.name == "next" else None,
        env={"LAMBDA_RIC_AFTER_TIMEOUT": "keep"},
    )

    assert "was broken off" in served.stdout
    assert served.posts[-1].body == b"fine"


# What the platform refuses...


@pytest.mark.parametrize("asynchronous", ["", "async "])
@pytest.mark.parametrize("status", [413, 410, 403, 400])
def test_refusal_in_mid_stream_stops_the_producer_and_the_loop_goes_on(
    serve: Serve, status: int, asynchronous: str
) -> None:
    """Lambda may have given the invocation up: there is nobody to make the rest for."""
    served = serve(
        f"""
        {asynchronous}def handler(event, context):
            try:
                while event:
                    yield b"x" * 50_000
                yield b"fine"
            finally:
                print("closed")
        """,
        True,
        False,
        on_chunk=lambda data: reply(status, b"enough", Connection="close") if data != b"fine" else None,
    )

    assert served.lines.count("closed") == 2
    assert f"the Runtime API said {status}" in served.stdout or "the connection broke" in served.stdout
    assert "Traceback" not in served.stdout
    assert [post.body for post in served.posts] == [b"fine"]


def test_connection_that_is_lost_in_mid_stream_stops_the_producer(serve: Serve) -> None:
    """A stream cannot be sent again: its producer has gone on."""
    served = serve(
        "def handler(event, context):\n    while event:\n        yield b'x' * 50_000\n    yield b'fine'",
        True,
        False,
        on_chunk=lambda data: b"" if data != b"fine" else None,
    )

    assert [post.body for post in served.posts] == [b"fine"]
    assert served.stdout.count("the response was not acknowledged") == 1


def test_refused_end_of_a_stream_is_logged_and_the_loop_goes_on(serve: Serve) -> None:
    """As with any response."""
    served = serve(
        "def handler(event, context):\n    yield b'a'",
        None,
        None,
        intercept=lambda request: reply(410) if request.method == "POST" else None,
    )

    assert served.stdout.count("posting the response failed: the Runtime API said 410") == 2
    assert [post.body for post in served.posts] == [b"a", b"a"]


def test_kept_connection_that_was_closed_meanwhile_is_replaced_before_a_stream(serve: Serve) -> None:
    """A stream cannot be repeated, as a buffered response can."""
    opened: list[Request] = []
    served = serve(
        "import time\ndef handler(event, context):\n    yield event\n",
        "x",
        intercept=lambda request: (
            Event("x").encode().replace(b"Content-Type", b"X-Note: Connection: close\r\nContent-Type")
            if request.name == "next" and len(opened) < 1 and not opened.append(request)  # type: ignore[func-returns-value]
            else None
        ),
    )

    assert served.posts[0].body == b"x"
    assert served.posts[0].connection == 1


def test_stream_that_breaks_off_leaves_no_thread_behind(serve: Serve) -> None:
    """Nor one that is refused, and small chunks are what the thread is for."""
    served = serve(
        """
        import threading, time
        def handler(event, context):
            while event:
                yield b"x"
                yield b"x"  # for the thread
                time.sleep(0.005)  # what comes now is not
            while threading.active_count() > 1:  # a thread's last steps are not waited for
                time.sleep(0.01)
            yield "1"
        """,
        *[True] * 5,
        False,
        on_chunk=lambda data: b"" if data.startswith(b"x") else None,
    )

    assert [post.body for post in served.posts] == [b"1"]


# What comes after...


def test_work_after_the_response_starts_when_the_stream_has_ended(serve: Serve) -> None:
    """And what is handed over inside the generator counts."""
    served = serve(
        """
        from lambda_ric import after_invoke, wait_until

        @after_invoke
        def after(outcome):
            print("after", outcome.succeeded)

        def handler(event, context):
            wait_until(print, "handed over before")
            yield b"a"
            wait_until(print, "handed over inside")
            print("made")
            yield b"b"
            print("the end")
        """,
        None,
    )

    assert served.lines[:3] == ["made", "the end", "after True"]
    assert sorted(served.lines[3:5]) == ["handed over before", "handed over inside"]
    assert "Tasks: 3" in served.summaries[0]


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_after_response_generator_may_yield_a_stream(serve: Serve, asynchronous: str) -> None:
    """Its rest runs when that has ended."""
    served = serve(
        f"""
        from lambda_ric import StreamingResponse, after_response

        def chunks():
            yield b"a"
            print("made")

        @after_response
        {asynchronous}def handler(event, context):
            yield StreamingResponse(chunks(), 202)
            print("after the response")
        """,
        None,
    )

    prelude, _, body = served.posts[0].body.partition(PRELUDE_END)
    assert (json.loads(prelude), body) == ({"statusCode": 202}, b"a")
    assert served.lines[:2] == ["made", "after the response"]


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_generator_is_closed_when_its_stream_fails_outside_of_it(serve: Serve, asynchronous: str) -> None:
    """Here by a chunk that is none."""
    served = serve(
        f"""
        {asynchronous}def handler(event, context):
            try:
                yield b"a"
                yield 17
            finally:
                print("closed")
        """,
        None,
    )

    assert served.lines.count("closed") == 1
    assert error_of(served.posts[0])["errorType"] == "Runtime.MarshalError"


def test_asynchronous_generator_runs_in_one_task(serve: Serve) -> None:
    """Else a timeout around a yield would be one task's at its start and another's at its end."""
    served = serve(
        """
        import asyncio
        async def handler(event, context):
            async with asyncio.timeout(10):
                first = asyncio.current_task()
                yield b"a"
                await asyncio.sleep(0)
                yield b"b"
                assert asyncio.current_task() is first
        """,
        None,
    )

    assert (served.posts[0].body, served.posts[0].trailers) == (b"ab", {})


def test_event_loop_goes_on_while_a_slow_reader_holds_the_stream_up(serve: Serve) -> None:
    """Back-pressure suspends the producer, not the other tasks: here only one of them lets the reader go on."""
    with socket.create_server(("127.0.0.1", 0)) as gate:
        opened: list[bytes] = []

        def wait_for_the_task(data: bytes) -> None:
            if not opened:
                connection, _ = gate.accept()
                with connection:
                    opened.append(connection.recv(1))

        served = serve(
            """
            import asyncio
            written = 0

            async def knock(port):
                while written < 300_000:
                    await asyncio.sleep(0.001)
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"!")
                await writer.drain()
                writer.close()

            async def handler(event, context):
                global written
                knocking = asyncio.create_task(knock(event))
                for _ in range(200):
                    yield b"x" * 100_000
                    written += 100_000
                await knocking
            """,
            gate.getsockname()[1],
            on_chunk=wait_for_the_task,
        )

    assert len(served.posts[0].body) == 20_000_000


@pytest.mark.parametrize("asynchronous", ["", "async "])
def test_200_mb_take_no_memory(serve: Serve, asynchronous: str) -> None:
    """The scripted server reads more slowly than this makes them: the producer waits, and nothing piles up."""
    received = 0

    def count(data: bytes) -> None:
        nonlocal received
        received += len(data)

    served = serve(
        f"""
        import resource
        {asynchronous}def handler(event, context):
            yield b"first"
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            block = bytes(50_000)
            for _ in range(4000):
                yield block
            print("grown by", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """,
        Event(timeout=60),
        on_chunk=count,
        keep_chunks=False,
    )

    (grown,) = [int(line.split()[2]) for line in served.lines if line.startswith("grown by")]
    assert received == 5 + 200_000_000
    assert grown < 10_000  # kilobytes
