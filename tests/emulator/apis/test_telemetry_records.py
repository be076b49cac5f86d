"""
The records of the Telemetry API, field by field as they are documented.
"""

from __future__ import annotations

import pytest

from lambda_ric.emulator import Function, Invocation
from lambda_ric.emulator.apis import telemetry_records as records
from lambda_ric.emulator.apis.extension import Extension, ExtensionState
from lambda_ric.emulator.event.failure import Failure

FUNCTION = Function(handler="app.handler", name="orders", memory=256, caller={})
PLACE = {
    "functionName": "orders",
    "functionVersion": "$LATEST",
    "instanceId": "82561ce0",
    "instanceMaxMemory": 256,
}
NOW = 1665532815.0
TIMEOUT = Failure("Sandbox.Timedout", "Task timed out after 3.00 seconds")
EXIT = Failure("Runtime.ExitError", "Runtime exited with error: exit status 1")


def invocation() -> Invocation:
    made = Invocation(
        event=b"{}", function_arn=FUNCTION.arn, requested_at=NOW, request_id="6d68ca91", trace_id="Root=1"
    )
    made.start(NOW, timeout=3.0)
    return made


TRACING = {"type": "X-Amzn-Trace-Id", "value": "Root=1"}


def test_init_has_a_start_an_end_and_a_report() -> None:
    """
    An init that is made up for in an invocation says so.
    """
    init = {"initializationType": "on-demand", "phase": "init"}
    late = {"initializationType": "snap-start", "phase": "invoke"}

    assert records.init_start(FUNCTION, "82561ce0") == ("platform.initStart", {**init, **PLACE})
    assert records.init_runtime_done() == ("platform.initRuntimeDone", {**init, "status": "success"})
    assert records.init_report(0.12533, EXIT, initialization_type="snap-start", phase="invoke") == (
        "platform.initReport",
        {**late, "status": "error", "errorType": "Runtime.ExitError", "metrics": {"durationMs": 125.33}},
    )


def test_extension_has_a_state_and_its_events() -> None:
    """
    And the error that it gave up with.
    """
    layer = Extension(name="layer", external=True, events=("INVOKE", "SHUTDOWN"), state=ExtensionState.READY)
    failed = Extension(name="one", external=False, state=ExtensionState.INIT_ERROR, error_type="Extension.NoDisk")

    assert [records.extension(layer), records.extension(failed)] == [
        ("platform.extension", {"name": "layer", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}),
        ("platform.extension", {"name": "one", "state": "InitError", "events": [], "errorType": "Extension.NoDisk"}),
    ]


def test_restore_has_a_start_an_end_and_a_report() -> None:
    """
    A restore names no initialization type.
    """
    assert records.restore_start(FUNCTION, "82561ce0") == ("platform.restoreStart", PLACE)
    assert records.restore_runtime_done(TIMEOUT) == ("platform.restoreRuntimeDone", {"status": "timeout"})
    assert records.restore_report(0.01519) == (
        "platform.restoreReport",
        {"status": "success", "metrics": {"durationMs": 15.19}},
    )


def test_invocation_starts_with_its_id_and_trace() -> None:
    """
    The version is that of the code.
    """
    record = {"requestId": "6d68ca91", "version": "$LATEST", "tracing": TRACING}

    assert records.start(invocation()) == ("platform.start", record)


def test_runtime_is_done_at_its_next_poll() -> None:
    """
    Three spans say how long it took to begin the response, to send it, and to ask for more.
    """
    done = invocation()
    done.delivery.respond(NOW + 0.125, b"12345", "application/json")

    assert records.runtime_done(done, NOW + 2.5) == (
        "platform.runtimeDone",
        {
            "requestId": "6d68ca91",
            "status": "success",
            "tracing": TRACING,
            "spans": [
                {"name": "responseLatency", "start": "2022-10-12T00:00:15.000Z", "durationMs": 125.0},
                {"name": "responseDuration", "start": "2022-10-12T00:00:15.125Z", "durationMs": 0.0},
                {"name": "runtimeOverhead", "start": "2022-10-12T00:00:15.125Z", "durationMs": 2375.0},
            ],
            "metrics": {"durationMs": 2500.0, "producedBytes": 5},
        },
    )


def test_stream_takes_from_its_first_byte_to_its_last() -> None:
    """
    Its bytes were not counted.
    """
    done = invocation()
    done.delivery.begin(NOW + 0.125, "text/plain", streamed=True)
    done.delivery.end_stream(NOW + 0.5, None, b"")

    _, record = records.runtime_done(done, NOW + 1)
    assert [span["durationMs"] for span in record["spans"]] == [125.0, 375.0, 500.0]
    assert record["metrics"] == {"durationMs": 1000.0}


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (TIMEOUT, {"status": "timeout"}),
        (EXIT, {"status": "error", "errorType": "Runtime.ExitError"}),
        (Failure("Sandbox.Failure", "gone"), {"status": "failure", "errorType": "Sandbox.Failure"}),
        (Failure("Exception", "", "Runtime.Unknown"), {"status": "error", "errorType": "Runtime.Unknown"}),
    ],
)
def test_runtime_that_fails_is_done_without_spans(failure: Failure, status: dict[str, str]) -> None:
    """
    It answered nothing; a failure of the platform itself is called one.
    """
    kind, record = records.runtime_done(invocation(), NOW + 1, failure)

    assert kind == "platform.runtimeDone"
    assert record == {
        "requestId": "6d68ca91",
        **status,
        "tracing": TRACING,
        "spans": [],
        "metrics": {"durationMs": 1000.0},
    }


def test_error_as_answer_is_an_error() -> None:
    """
    The type is the one that logs and metrics have.
    """
    done = invocation()
    done.delivery.respond(NOW + 1, b"{}", "application/json", "Function.Mine")

    _, record = records.runtime_done(done, NOW + 1)
    assert (record["status"], record["errorType"]) == ("error", "Function.Mine")


def test_report_sums_up() -> None:
    """
    With extensions it has a span from the runtime's poll to the last one of theirs.
    """
    done = invocation()
    done.init_started_at, done.init_ended_at = NOW - 0.5, NOW - 0.25
    done.delivery.respond(NOW + 0.125, b"null", "application/json")
    done.ended_at = NOW + 1.25
    done.max_memory = 84

    assert records.report(done, 128, runtime_done_at=NOW + 1) == (
        "platform.report",
        {
            "requestId": "6d68ca91",
            "status": "success",
            "tracing": TRACING,
            "metrics": {
                "durationMs": 1250.0,
                "billedDurationMs": 1500,
                "memorySizeMB": 128,
                "maxMemoryUsedMB": 84,
                "initDurationMs": 250.0,
            },
            "spans": [{"name": "extensionOverhead", "start": "2022-10-12T00:00:16.000Z", "durationMs": 250.0}],
        },
    )


def test_report_of_a_failed_invocation_says_so() -> None:
    """
    Where the system does not tell how much memory was used, all of it is assumed.
    """
    failed = invocation()
    failed.fail(NOW + 3, TIMEOUT)
    failed.ended_at = NOW + 3

    _, record = records.report(failed, 128)
    assert record["status"] == "timeout"
    assert record["metrics"]["maxMemoryUsedMB"] == 128
    assert "spans" not in record
