"""The side channel that tells an emulator what ran, and when."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from lambda_ric.spans import Spans
from tests.conftest import Serve, Served
from tests.support.fakes import Event, Request

WORK = """
    import time
    from lambda_ric import after_invoke, after_response, wait_until

    def fail():
        raise ValueError("no")

    def nap():
        time.sleep(0.05)

    @after_invoke
    def audit(outcome):
        pass

    @after_response
    def handler(event, context):
        wait_until(nap)
        wait_until(fail)
        yield event
        nap()
    """


def serve_with_spans(serve: Serve, source: str, *events: Any, **options: Any) -> tuple[Served, list[dict[str, Any]]]:
    """Serve *events* and return the lines of the side channel on what has ended as well."""
    served, lines = serve_with_lines(serve, source, *events, **options)
    return served, [line for line in lines if line["state"] != "running"]


def serve_with_lines(serve: Serve, source: str, *events: Any, **options: Any) -> tuple[Served, list[dict[str, Any]]]:
    """Serve *events* and return all lines of the side channel as well."""
    read_end, write_end = os.pipe()
    served = serve(source, *events, env={"LAMBDA_RIC_SPANS_FD": str(write_end)}, pass_fds=(write_end,), **options)
    os.close(write_end)
    with open(read_end) as lines:
        return served, [json.loads(line) for line in lines]


def test_every_piece_of_work_is_told(serve: Serve) -> None:
    """Its kind, its name, how it ended, and for which request."""
    _, spans = serve_with_spans(serve, WORK, Event("a", "first"), Event("b", "second"))

    told = [(span["request_id"], span["kind"], span["name"], span["state"]) for span in spans]
    once = [
        ("handler", "app.handler", "succeeded"),
        ("continuation", "handler", "succeeded"),
        ("hook", "audit", "succeeded"),
        ("task", "fail", "failed"),
        ("task", "nap", "succeeded"),
    ]
    assert sorted(told) == sorted((request_id, *what) for request_id in ("first", "second") for what in once)
    assert [span[:2] for span in told[:3]] == [("first", "handler"), ("first", "continuation"), ("first", "hook")]


def test_work_is_told_when_it_begins_too(serve: Serve, tmp_path: Path) -> None:
    """A timeline shows what is running by its name; the start is that of the line that follows."""
    source = """
        import pathlib, time
        from lambda_ric import wait_until

        def nap():
            while not pathlib.Path("told").exists():
                time.sleep(0.001)

        def handler(event, context):
            wait_until(nap)
    """
    lines = []

    def read(read_end: int) -> None:
        with open(read_end) as told:
            for line in told:
                lines.append(json.loads(line))
                if lines[-1]["name"] == "nap":
                    (tmp_path / "told").touch()

    read_end, write_end = os.pipe()
    reader = threading.Thread(target=read, args=(read_end,))
    reader.start()
    serve(source, None, env={"LAMBDA_RIC_SPANS_FD": str(write_end)}, pass_fds=(write_end,))
    os.close(write_end)
    reader.join()

    (begun, ended) = [line for line in lines if line["name"] == "nap"]
    assert (begun["state"], begun["end"]) == ("running", None)
    assert (ended["state"], ended["start"]) == ("succeeded", begun["start"])


def test_reason_of_a_failure_is_told(serve: Serve) -> None:
    """A timeline shows why, not only that."""
    _, spans = serve_with_spans(serve, WORK, None)

    assert {span["name"]: span["reason"] for span in spans if "reason" in span} == {"fail": "ValueError: no"}


def test_long_reason_is_cut(serve: Serve) -> None:
    """A line that a pipe takes at once is not mixed with those of other threads."""
    source = """
        from lambda_ric import wait_until

        def fail():
            raise ValueError("\\N{GRINNING FACE}" * 5000)

        def handler(event, context):
            wait_until(fail)
        """
    _, spans = serve_with_spans(serve, source, None)

    assert all(len(json.dumps(span)) < 4096 for span in spans)
    assert [span["reason"][:13] for span in spans if "reason" in span] == ["ValueError: \N{GRINNING FACE}"]


def test_handler_that_fails_is_told(serve: Serve) -> None:
    """A timeline shows it in another colour."""
    _, spans = serve_with_spans(serve, "def handler(event, context): raise ValueError('no')", None)

    assert [(span["kind"], span["state"]) for span in spans] == [("handler", "failed")]


def test_times_are_seconds_since_1970(serve: Serve) -> None:
    """An emulator draws them on one line with what it saw itself."""
    before = time.time()
    _, spans = serve_with_spans(serve, WORK, None)
    after = time.time()

    assert all(before <= span["start"] <= span["end"] <= after for span in spans)
    (nap,) = [span for span in spans if span["name"] == "nap"]
    assert nap["end"] - nap["start"] >= 0.05


def test_all_lines_of_an_invocation_are_written_before_the_next_poll(serve: Serve) -> None:
    """The emulator reads them when the environment stands still."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    at_the_polls: list[list[Any]] = []

    def look(request: Request) -> bytes | None:
        if request.name == "next":
            try:
                at_the_polls.append([json.loads(line) for line in os.read(read_end, 1 << 16).splitlines()])
            except BlockingIOError:
                at_the_polls.append([])
        return None

    serve(WORK, 1, 2, env={"LAMBDA_RIC_SPANS_FD": str(write_end)}, pass_fds=(write_end,), intercept=look)
    os.close(write_end)
    os.close(read_end)

    assert [[line["state"] for line in lines].count("succeeded") for lines in at_the_polls] == [0, 4, 4]
    assert [[line["state"] for line in lines].count("failed") for lines in at_the_polls] == [0, 1, 1]


def test_task_that_has_ended_before_it_could_be_told_of_has_one_line(serve: Serve) -> None:
    """Many small tasks must not take longer because somebody looks on; each is told of once it has ended."""
    source = """
        from lambda_ric import wait_until

        def nothing():
            pass

        def handler(event, context):
            for _ in range(200):
                wait_until(nothing)
        """
    _, lines = serve_with_lines(serve, source, None)

    states = [line["state"] for line in lines if line["name"] == "nothing"]
    assert states.count("succeeded") == 200
    assert states.count("running") < 200


def test_reader_that_has_gone_does_not_disturb_the_loop(serve: Serve) -> None:
    """The channel is a convenience."""
    read_end, write_end = os.pipe()
    os.close(read_end)

    served = serve(WORK, 1, 2, env={"LAMBDA_RIC_SPANS_FD": str(write_end)}, pass_fds=(write_end,))
    os.close(write_end)

    assert served.answers == [1, 2]


def test_number_of_no_descriptor_does_not_disturb_the_loop(serve: Serve) -> None:
    """A variable left over from somewhere is no reason to fail."""
    assert serve(WORK, 1, env={"LAMBDA_RIC_SPANS_FD": "99"}).answers == [1]


def test_name_of_a_task_may_have_any_characters(tmp_path: Path) -> None:
    """One line stays one line, and JSON."""
    with open(tmp_path / "spans", "w+b") as file:
        Spans(file.fileno()).ended("id", "task", "line\nbreak \ud800", "succeeded", 1.0, 2.5)
        file.seek(0)
        lines = file.readlines()

    assert [json.loads(line)["name"] for line in lines] == ["line\nbreak \ud800"]


def test_nothing_is_written_without_a_descriptor() -> None:
    """As in Lambda."""
    Spans(None).ended("id", "task", "name", "succeeded", 1.0, 2.5)


def test_pieces_of_one_name_that_are_told_together_keep_their_kinds() -> None:
    """A function can be a hook and be handed over."""
    reading, writing = os.pipe()
    spans = Spans(writing)
    for kind in ("task", "hook"):
        spans.ended("r", kind, "audit", "succeeded", 1.0, 2.0, keep=True)
    spans.flush()
    os.close(writing)
    with open(reading, encoding="utf-8") as lines:
        told = [json.loads(line) for line in lines]

    assert [line["kind"] for line in told] == ["task", "hook"]
