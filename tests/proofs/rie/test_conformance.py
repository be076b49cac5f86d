"""
Our Runtime API beside AWS's own: the same runtime does the same things to both, and hears the same.

Status, content type and body of every reply, and what callers have in the end, are equal byte for byte. Where AWS's
emulator is not like Lambda, the case names the difference, and why.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import Start
from tests.proofs.rie.probe_script import (
    LIMIT,
    RUNTIME,
    call,
    cut_short,
    end,
    fail,
    give_up,
    hang,
    poll,
    respond,
    told_to,
)
from tests.proofs.rie.side_by_side import Case, Difference, heard_from_both, invoke_ours, invoke_rie

TIMED_OUT = '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: <0> Error: Task timed out after 1.00 seconds"}'
EXITED = (
    '{"errorType":"Runtime.ExitError","errorMessage":"RequestId: <0> Error: Runtime exited with error: exit status 3"}'
)
TRUNCATED = '{"errorType":"Runtime.TruncatedResponse","errorMessage":"The response ended before it was complete."}'
TOO_SHORT = '{"errorMessage":"HTTP request detected as truncated","errorType":"TruncatedHTTPRequest"}\n'

ITS_OWN_TIMEOUT = "its timeout is text of its own, and it forgets the response that it holds back"
PANICS = "its handler panics and closes the connection; the environment is stuck until the deadline"

MODE = "Lambda-Runtime-Function-Response-Mode"
WITH_CAUSE = {"Content-Type": "application/vnd.aws.lambda.error.cause+json"}

CASES = {
    "unknown id": Case(
        [respond(to="no"), poll(), respond(to="no"), fail(to="no"), respond(), respond(to="no"), fail(to="no")]
    ),
    "finished id": Case(
        [poll(name="first"), respond(), poll(), respond(to="<first>"), fail(to="<first>"), respond()], invocations=2
    ),
    "id in the path": Case([poll(), respond(to="%6eo"), respond(to="a%2Fb"), respond(to="")]),
    "second response": Case([poll(), respond(), respond()]),
    "second error": Case([poll(), fail(), fail()]),
    "response after an error": Case([poll(), fail(), respond()]),
    "error after a response": Case([poll(), respond(), fail()]),
    "poll before the answer": Case([poll(), poll(), poll(), respond()]),
    "init error after init": Case([poll(), give_up(), respond(), give_up()]),
    "init error": Case([give_up(), poll(), give_up(), end(1)]),
    "init error that is not JSON": Case([give_up(body="no database"), end(1)]),
    "unknown mode": Case(
        [poll(), respond(headers={MODE: "Streaming"}), poll(), respond(), fail(), hang()],
        timeout=1,
        differs={"answers": Difference(ITS_OWN_TIMEOUT, [""], ["Task timed out after 1.00 seconds"])},
    ),
    "mode streaming": Case([poll(), respond(headers={MODE: "streaming"}, chunked=True)]),
    "over the limit": Case([poll(), respond(LIMIT + 1), fail(), respond()]),
    "over the limit in chunks": Case([poll(), respond(LIMIT + 1, chunked=True), fail()]),
    "at the limit": Case([poll(), respond(LIMIT)]),
    "at the limit in chunks": Case([poll(), respond(LIMIT, chunked=True)]),
    "no SnapStart": Case(
        [
            call("GET", f"{RUNTIME}/restore/next"),
            call("POST", f"{RUNTIME}/restore/error"),
            call("GET", "/2021-04-23/credentials"),
            poll(),
            call("GET", f"{RUNTIME}/restore/next"),
        ]
    ),
    "routes": Case(
        [
            call("GET", "/"),
            call("GET", "/2018-06-01"),
            call("GET", "/2018-06-01/ping"),
            call("GET", "/2018-06-01/ping/"),
            call("GET", "/2018-06-01//ping"),
            call("GET", "/2018-06-01/nowhere"),
            call("POST", RUNTIME),
            call("GET", f"{RUNTIME}/invocation/"),
            call("POST", f"{RUNTIME}/invocation/response"),
            call("POST", f"{RUNTIME}/invocation/no/response/"),
            call("GET", f"{RUNTIME}/invocation/next/"),
            call("GET", f"{RUNTIME}/invocation/next?x=1"),
        ]
    ),
    "methods": Case(
        [
            call("POST", "/2018-06-01/ping"),
            call("HEAD", "/2018-06-01/ping"),
            call("OPTIONS", "/2018-06-01/ping"),
            call("POST", f"{RUNTIME}/invocation/next"),
            call("HEAD", f"{RUNTIME}/invocation/next"),
            call("GET", f"{RUNTIME}/invocation/no/response"),
            call("PUT", f"{RUNTIME}/invocation/no/error"),
            call("DELETE", f"{RUNTIME}/init/error"),
            call("DELETE", f"{RUNTIME}/nowhere"),
        ]
    ),
    "error document": Case([poll(), fail('{ "errorType": "Ü", "any": [1] }')]),
    "error of a type unheard of": Case([poll(), fail(headers={"Lambda-Runtime-Function-Error-Type": "what?"})]),
    "error that is not JSON": Case([poll(), fail("no JSON", headers={"Content-Type": "text/plain"})]),
    "error without a word": Case([poll(), fail("")]),
    "error with its cause": Case(
        [
            poll(),
            fail(
                '{"errorMessage":"m","errorType":"t","stackTrace":["s"],"errorCause":{"working_directory":"/x"}}',
                headers=WITH_CAUSE,
            ),
        ]
    ),
    "error with a cause that is not JSON": Case([poll(), fail("no JSON", headers=WITH_CAUSE)]),
    "empty response": Case([poll(), respond("")]),
    "cut in a chunk": Case(
        [poll(), cut_short(respond(), "Transfer-Encoding: chunked\r\n\r\nff\r\nshort")],
        timeout=1,
        differs={
            1: Difference(PANICS, (400, "application/json", TOO_SHORT, ""), None),
            "answers": Difference(PANICS, [TRUNCATED], ["Task timed out after 1.00 seconds"]),
        },
    ),
    "cut before its length": Case(
        [poll(), cut_short(respond(), "Content-Length: 100\r\n\r\nshort")],
        timeout=1,
        differs={
            1: Difference(PANICS, (400, "application/json", TOO_SHORT, ""), None),
            "answers": Difference(PANICS, [TRUNCATED], ["Task timed out after 1.00 seconds"]),
        },
    ),
    "exit with 0": Case([poll(), end(0)]),
    "exit with 3": Case([poll(), end(3)]),
    "killed": Case([poll(), end(-signal.SIGKILL)]),
    "terminated": Case([poll(), end(-signal.SIGTERM)]),
    "crashed": Case([poll(), end(-signal.SIGSEGV)]),
    "exit in init": Case(
        [end(3)],
        differs={
            "answers": Difference(
                "its caller gets nothing when init ends without a word",
                [EXITED],
                [""],
            )
        },
    ),
    "exit after the response": Case([poll(), respond(), end(0)]),
    "timeout": Case(
        [poll(), hang()],
        timeout=1,
        differs={"answers": Difference(ITS_OWN_TIMEOUT, [TIMED_OUT], ["Task timed out after 1.00 seconds"])},
    ),
    "timeout after the response": Case(
        [poll(), respond(), hang()],
        timeout=1,
        differs={"answers": Difference(ITS_OWN_TIMEOUT, ['"done"'], ["Task timed out after 1.00 seconds"])},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_runtime_hears_from_us_what_it_hears_from_aws(case: Case, start_classic: Start, tmp_path: Path) -> None:
    """
    The Runtime API of an environment that serves one event at a time.
    """
    ours, rie = heard_from_both(case, start_classic, tmp_path)

    assert rie == {**rie, **case.only_rie}
    assert ours == {**rie, **case.only_ours}


def test_event_has_the_headers_of_aws_and_two_more(start_classic: Start, tmp_path: Path) -> None:
    """
    The RIE traces nothing, and this half of it does not number attempts yet; Lambda does both.
    """
    case = Case([poll()])
    with told_to(case.does, tmp_path / "ours") as probe:
        invoke_ours(case, probe)
        ours = set(probe.replies()[0]["headers"])
    with told_to(case.does, tmp_path / "rie") as probe:
        invoke_rie(case, probe, start_classic)
        rie = set(probe.replies()[0]["headers"])

    assert ours - rie == {"Lambda-Runtime-Trace-Id", "Lambda-Runtime-Invocation-Id"}
    assert rie - ours == {"Date"}
