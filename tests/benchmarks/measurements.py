"""What is measured, in which order, and what is kept of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from .cases import EMPTY, RUNS, SOAK, Case
from .environment import Environment, Times
from .runtimes import OURS, Runtime

WARM_UP = 100
# The first invocations after a pause find cold caches; they are made, and left out.
LEAD_IN = 10
# Allocator and garbage collector have found their size by then.
SOAK_WARM_UP = 2000
MOST_GROWTH_MB = 2.0
# Seconds that a thread may take to end after its work has: the next event is asked for meanwhile.
_LAST_STEPS = 1.0


@dataclass(frozen=True, slots=True)
class Invocations:
    """Medians over the rounds, in microseconds."""

    response_p50: float
    response_p95: float
    next_p50: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Starts:
    """From exec to the first `GET next`, and what the process holds by then."""

    min_ms: float
    median_ms: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Footprint:
    rss_mb: float
    open_files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Soak:
    """*ran* is what the function has counted, *expected* what it had to."""

    invocations: int
    seconds: float
    warm: Footprint
    halfway: Footprint
    end: Footprint
    ran: Mapping[str, int]
    expected: Mapping[str, int]

    @property
    def growth_mb(self) -> float:
        return self.end.rss_mb - self.warm.rss_mb

    @property
    def problems(self) -> list[str]:
        """What is not as it has to be."""
        found = {
            f"memory grew by {self.growth_mb:.2f} MB": self.growth_mb >= MOST_GROWTH_MB,
            "open files were left": self.end.open_files > self.warm.open_files,
            "threads were left": self.end.threads > self.warm.threads,
            "the counts are wrong": self.ran != self.expected,
        }
        return [what for what, is_so in found.items() if is_so]


def invocations(
    cases: Sequence[Case], runtimes: Sequence[Runtime], rounds: int, count: int, bytecode: str
) -> dict[str, dict[str, Invocations]]:
    """
    Measure every case on every runtime, *count* invocations at a time, in turns.

    All processes live from the first round to the last, so that noise of the machine hits all of them alike;
    every second round goes backwards, so that none profits from its neighbour.
    """
    pairs = [(case, each) for case in cases for each in runtimes if each.module == OURS.module or not case.ours_alone]
    taken: dict[tuple[str, str], list[Times]] = {(case.name, runtime.name): [] for case, runtime in pairs}
    with ExitStack() as running:
        environments = [running.enter_context(Environment(each, case, bytecode)) for case, each in pairs]
        for environment in environments:
            environment.invoke(WARM_UP)
        for number in range(rounds):
            _progress("invocations: round", number + 1, rounds)
            for environment in reversed(environments) if number % 2 else environments:
                environment.invoke(LEAD_IN)
                taken[environment.case.name, environment.runtime.name].append(environment.invoke(count))

    results: dict[str, dict[str, Invocations]] = {case.name: {} for case in cases}
    for (case_name, runtime_name), times in taken.items():
        results[case_name][runtime_name] = _summary(times)
    return results


def _summary(rounds: Sequence[Times]) -> Invocations:
    return Invocations(
        response_p50=median(median(times.answer_ns) for times in rounds) / 1e3,
        response_p95=median(_p95(times.answer_ns) for times in rounds) / 1e3,
        next_p50=median(median(times.next_ns) for times in rounds) / 1e3,
        cpu=median(times.cpu / len(times.answer_ns) for times in rounds) * 1e6,
    )


def _p95(values: Sequence[int]) -> int:
    return sorted(values)[int(len(values) * 0.95)]


def starts(runtimes: Sequence[Runtime], count: int, bytecode: str) -> dict[str, Starts]:
    """Start every runtime *count* times in turns, after one start that leaves its bytecode behind."""
    taken: dict[str, list[tuple[int, int]]] = {runtime.name: [] for runtime in runtimes}
    for number in range(count + 1):
        if number:
            _progress("cold starts: round", number, count)
        for runtime in runtimes:
            with Environment(runtime, EMPTY, bytecode) as environment:
                environment.invoke(1)
                if number:
                    taken[runtime.name].append((environment.first_next_ns, environment.first_rss))
    return {
        name: Starts(
            min_ms=min(took for took, _ in values) / 1e6,
            median_ms=median(took for took, _ in values) / 1e6,
            rss_mb=median(rss for _, rss in values) / 1e6,
        )
        for name, values in taken.items()
    }


def soak(count: int, bytecode: str) -> Soak:
    """Hand over work of every kind in each of *count* invocations, and look at what stays behind."""
    with Environment(OURS, SOAK, bytecode) as environment:
        environment.invoke(SOAK_WARM_UP)
        warm = _footprint(environment)
        started = time.monotonic()
        _progress("soak: half", 1, 2)
        environment.invoke(count // 2)
        halfway = _footprint(environment)
        _progress("soak: half", 2, 2)
        environment.invoke(count - count // 2)
        seconds = time.monotonic() - started
        end = _footprint(environment)
        expected = {what: times * (SOAK_WARM_UP + count) for what, times in RUNS.items()}
        return Soak(count, seconds, warm, halfway, end, environment.ask({"report": True})["ran"], expected)


def _footprint(environment: Environment) -> Footprint:
    until = time.monotonic() + _LAST_STEPS
    while environment.threads() > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return Footprint(environment.rss() / 1e6, environment.open_files(), environment.threads())


def _progress(what: str, number: int, of: int) -> None:
    print(f"{what} {number} of {of}", end="\n" if number == of else "\r", file=sys.stderr, flush=True)
