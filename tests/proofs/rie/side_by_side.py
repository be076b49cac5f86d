"""
Two emulators, ours and AWS's, each with the same probe; and what is compared of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_ric.emulator import Emulator, in_thread
from tests.proofs.rie.conftest import Start
from tests.proofs.rie.probe_script import Probe, Step, told_to

EVENT = b'{"n": 1}'
COMMAND = [sys.executable, "-S"]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two say where they are not to say the same, and why."""

    why: str
    ours: Any
    rie: Any


@dataclass(frozen=True, slots=True)
class Case:
    """
    What a runtime does in so many invocations.

    *differs* is by the number of the step, or by "answers", which are not compared at all where *answers* is false.
    """

    does: Sequence[Step]
    invocations: int = 1
    timeout: int = 20
    answers: bool = True
    differs: Mapping[int | str, Difference] = field(default_factory=dict)

    @property
    def only_ours(self) -> dict[int | str, Any]:
        """What we say where AWS's emulator says something else."""
        return {key: difference.ours for key, difference in self.differs.items()}

    @property
    def only_rie(self) -> dict[int | str, Any]:
        """What AWS's emulator says there."""
        return {key: difference.rie for key, difference in self.differs.items()}


def heard_from_both(case: Case, start: Start, directory: Path) -> tuple[dict[int | str, Any], dict[int | str, Any]]:
    """Let the probe do what *case* says under ours and under AWS's; return what was heard from each."""
    with told_to(case.does, directory / "ours") as probe:
        answers = invoke_ours(case, probe)
        ours = heard(probe.replies(), answers if case.answers else [])
    with told_to(case.does, directory / "rie") as probe:
        answers = invoke_rie(case, probe, start)
        rie = heard(probe.replies(), answers if case.answers else [])
    return ours, rie


def heard(replies: Sequence[Mapping[str, Any] | None], answers: Sequence[bytes]) -> dict[int | str, Any]:
    """Return the replies by step, and the answers, with ids replaced by the order in which they came."""
    ids: dict[str, str] = {}

    def numbered(text: str) -> str:
        return UUID.sub(lambda found: ids.setdefault(found[0], f"<{len(ids)}>"), text)

    told: dict[int | str, Any] = {}
    for step, reply in enumerate(replies):
        told[step] = reply and (reply["status"], reply["content_type"], numbered(reply["body"]), numbered(reply["id"]))
    told["answers"] = [numbered(answer.decode()) for answer in answers]
    return told


def invoke_ours(case: Case, probe: Probe) -> list[bytes]:
    """Return what the callers of our emulator get."""
    emulator = Emulator(command=[*COMMAND, str(probe.path)], task_root=probe.path.parent, timeout=case.timeout)
    answers = []
    with in_thread(emulator) as function:
        for _ in range(case.invocations):
            answer = function.invoke(EVENT)
            function.finished(answer)
            answers.append(answer.payload)
    return answers


def invoke_rie(case: Case, probe: Probe, start: Start) -> list[bytes]:
    """Return what the callers of AWS's emulator get."""
    function = start(
        *COMMAND, str(probe.path), AWS_LAMBDA_FUNCTION_TIMEOUT=str(case.timeout), AWS_LAMBDA_FUNCTION_NAME="function"
    )
    return [function.invoke(json.loads(EVENT)).body for _ in range(case.invocations)]
