"""
Our Extensions API beside AWS's own, as an extension inside the runtime hears them; see test_conformance.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proofs.rie.conftest import Start
from tests.proofs.rie.probe_script import end, extend, poll, read, register, respond
from tests.proofs.rie.side_by_side import Case, Difference, heard_from_both

UNKNOWN = "00000000-0000-4000-8000-000000000000"
NO_TYPE = {"Lambda-Extension-Identifier": "<extension>"}
GO_SAYS = "the texts of Go's JSON reader, types of the source included"


def refused(reason: str) -> tuple[int, str, str, str]:
    document = {"errorMessage": reason, "errorType": "InvalidRequestFormat"}
    return 403, "application/json", json.dumps(document, separators=(",", ":")) + "\n", ""


CASES = {
    "registration refused": Case(
        [
            register("INVOKE", extension=""),
            register("X"),
            register("SHUTDOWN"),
            register("INVOKE", "SHUTDOWN"),
            register("INVOKE", "X"),
            poll(),
            register("INVOKE"),
        ]
    ),
    "registration that is not JSON": Case(
        [register(body="no JSON"), poll()],
        differs={
            0: Difference(
                GO_SAYS,
                refused("invalid character 'n' at position 0"),
                refused("invalid character 'o' in literal null (expecting 'u')"),
            ),
        },
    ),
    "registered twice": Case(
        [register(), register(), register("INVOKE"), extend("GET", "event/next", on="it", wait=False), poll()]
    ),
    "no events named": Case([register(body="{}"), extend("GET", "event/next", on="it", wait=False), poll()]),
    "event named twice": Case([register("INVOKE", "INVOKE"), end(1)], answers=False),
    "registered late": Case([poll(), register(extension="late"), register("X"), register(extension=""), respond()]),
    "eleven": Case([*(register(extension=f"{number}") for number in range(11)), end(1)], answers=False),
    "unknown extension": Case(
        [
            extend("GET", "event/next", ""),
            extend("GET", "event/next", "x"),
            extend("GET", "event/next", UNKNOWN),
            extend("POST", "init/error", ""),
            extend("POST", "init/error", "x"),
            extend("POST", "init/error", UNKNOWN),
            extend("POST", "exit/error", UNKNOWN),
            poll(),
        ]
    ),
    "init error of an extension": Case(
        [
            register("INVOKE"),
            extend("POST", "init/error", headers=NO_TYPE),
            extend("POST", "exit/error", headers=NO_TYPE),
            extend("POST", "init/error"),
            extend("POST", "init/error"),
            extend("GET", "event/next"),
            extend("POST", "exit/error"),
            end(1),
        ],
        answers=False,
    ),
    "exit error of an extension": Case(
        [register("INVOKE"), extend("POST", "exit/error"), extend("GET", "event/next"), end(1)],
        answers=False,
    ),
    "routes of extensions": Case(
        [
            extend("GET", "nowhere"),
            extend("DELETE", "register"),
            extend("POST", "event/next"),
            extend("GET", "init/error"),
            poll(),
        ]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_extension_hears_from_us_what_it_hears_from_aws(case: Case, start_classic: Start, tmp_path: Path) -> None:
    """
    The Extensions API, for an extension inside the runtime.
    """
    ours, rie = heard_from_both(case, start_classic, tmp_path)

    assert rie == {**rie, **case.only_rie}
    assert ours == {**rie, **case.only_ours}


def test_event_has_the_fields_of_aws_and_its_trace(start_classic: Start, tmp_path: Path) -> None:
    """
    The RIE traces nothing; Lambda tells extensions of the trace, too.
    """
    ask = extend("GET", "event/next", on="it", wait=False)
    case = Case([register("INVOKE"), ask, poll(), read("it"), ask, respond()])
    ours, rie = (json.loads(said[3][2]) for said in heard_from_both(case, start_classic, tmp_path))

    assert ours.pop("tracing")["type"] == "X-Amzn-Trace-Id"
    assert ours.keys() == rie.keys()
    assert (ours["eventType"], ours["requestId"]) == (rie["eventType"], rie["requestId"]) == ("INVOKE", "<0>")
