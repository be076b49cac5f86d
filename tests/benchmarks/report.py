"""The results as Markdown for people and as JSON for programs, and what they say about the targets."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from lambda_ric.version import __version__

from .cases import CASES, EMPTY
from .environment import CORES
from .measurements import MOST_GROWTH_MB, Footprint, Invocations, Soak, Starts
from .runtimes import EARLIER, FLOOR, MANAGED_PEER, OURS, PEER

HALF = 0.5
HARDLY_MORE = 1.02
NOT_MORE = 1.0


@dataclass(frozen=True, slots=True)
class Results:
    """A section that was not asked for is empty."""

    invocations: Mapping[str, Mapping[str, Invocations]]
    starts: Mapping[str, Starts]
    soak: Soak | None


@dataclass(frozen=True, slots=True)
class Target:
    """
    What lambda_ric may cost at most, as a share of what awslambdaric, or an earlier checkout, costs in the same run.

    Judged against awslambdaric as it starts by itself, which is faster than *managed*: as AWS's own images for
    Python 3.12 and later start it. *floor* is the raw loop's share, to see what there is to win.
    """

    what: str
    limit: float
    ratio: float
    managed: float | None
    floor: float | None

    @property
    def met(self) -> bool:
        return self.ratio <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "not met"
        beside = {"beside awslambdaric-threads": self.managed, "floor": self.floor}
        others = "".join(f", {what} {ratio:.2f}" for what, ratio in beside.items() if ratio is not None)
        return f"{verdict}: {self.what}: {self.ratio:.2f}, target ≤ {self.limit:.2f}{others}"


def targets(results: Results) -> list[Target]:
    """Compare where both runtimes were measured, and nowhere else."""
    return [
        *(
            target
            for case, by_runtime in results.invocations.items()
            for what, figure in (
                ("event sent → response received", "response_p50"),
                ("202 sent → next received", "next_p50"),
                ("CPU per invocation", "cpu"),
            )
            for target in _target(f"{what}, {CASES[case].title}", HALF, by_runtime, figure)
        ),
        *_target("exec → first next", NOT_MORE, results.starts, "median_ms"),
        *_targets_beside_earlier(results),
    ]


def _targets_beside_earlier(results: Results) -> Iterator[Target]:
    for case, by_runtime in results.invocations.items():
        yield from _target(f"CPU, {CASES[case].title}, beside earlier", HARDLY_MORE, by_runtime, "cpu", EARLIER)
    what = "exec → first next, beside earlier"
    yield from _target(what, HARDLY_MORE, results.starts, "median_ms", EARLIER)
    yield from _target(f"RSS at {what}", NOT_MORE, results.starts, "rss_mb", EARLIER)


def _target(
    what: str,
    limit: float,
    by_runtime: Mapping[str, Invocations] | Mapping[str, Starts],
    figure: str,
    peer_name: str = PEER.name,
) -> Iterator[Target]:
    figures: dict[str, float] = {name: getattr(measured, figure) for name, measured in by_runtime.items()}
    ours, peer = figures.get(OURS.name), figures.get(peer_name)
    managed, floor = (figures.get(each.name) if peer_name == PEER.name else None for each in (MANAGED_PEER, FLOOR))
    if ours and peer:
        yield Target(what, limit, ours / peer, managed and ours / managed, floor and floor / peer)


def as_json(results: Results) -> dict[str, Any]:
    return {
        "machine": machine(),
        **asdict(results),
        "targets": [{**asdict(target), "met": target.met} for target in targets(results)],
    }


def machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "lambda_ric": __version__,
        "awslambdaric": version("awslambdaric") if find_spec("awslambdaric") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(CORES),
    }


def as_markdown(results: Results) -> str:
    sections = [f"{key} {value}" for key, value in machine().items()]
    lines = [", ".join(sections), ""]
    if results.invocations:
        lines += [*_invocations_table(results.invocations), ""]
    if results.starts:
        lines += [*_starts_table(results.starts), ""]
    if results.soak:
        lines += [*_soak_table(results.soak), ""]
    lines += [f"* {target}" for target in targets(results)]
    return "\n".join(lines).rstrip() + "\n"


def _invocations_table(invocations: Mapping[str, Mapping[str, Invocations]]) -> Iterator[str]:
    yield "Medians over the rounds, in µs; in brackets the ratio to awslambdaric in the same case, or with an"
    yield "empty handler where it cannot run the case."
    yield ""
    yield from _row("case", "runtime", "event → response, p50", "p95", "202 → next, p50", "CPU")
    yield "|---|---|--:|--:|--:|--:|"
    empty = invocations.get(EMPTY.name, {}).get(PEER.name)
    for case, by_runtime in invocations.items():
        peer = by_runtime.get(PEER.name, empty)
        for name, times in by_runtime.items():
            cells = [
                _figure(getattr(times, figure), getattr(peer, figure, None))
                for figure in ("response_p50", "response_p95", "next_p50", "cpu")
            ]
            yield from _row(CASES[case].title, name, *cells)


def _starts_table(starts: Mapping[str, Starts]) -> Iterator[str]:
    yield from _row("exec → first next", "min, ms", "median, ms", "RSS at first next, MB")
    yield "|---|--:|--:|--:|"
    peer = starts.get(PEER.name)
    for name, start in starts.items():
        cells = [
            _figure(getattr(start, figure), getattr(peer, figure, None)) for figure in ("min_ms", "median_ms", "rss_mb")
        ]
        yield from _row(name, *cells)


def _soak_table(soak: Soak) -> Iterator[str]:
    yield f"{soak.invocations} invocations with background work of every kind took {soak.seconds:.0f} s."
    yield f"{'Not met: ' + ', '.join(soak.problems) if soak.problems else 'Met'}: {soak.growth_mb:+.2f} MB,"
    yield f"target ≤ {MOST_GROWTH_MB:.0f} MB, nothing left open, exact counts."
    yield ""
    yield from _row("", "RSS, MB", "open files", "threads")
    yield "|---|--:|--:|--:|"
    for moment in ("warm", "halfway", "end"):
        footprint: Footprint = getattr(soak, moment)
        yield from _row(moment, f"{footprint.rss_mb:.2f}", str(footprint.open_files), str(footprint.threads))
    yield ""
    yield from _row("with the warm-up", "ran", "expected")
    yield "|---|--:|--:|"
    for what in {**soak.expected, **soak.ran}:
        yield from _row(what, str(soak.ran.get(what, 0)), str(soak.expected.get(what, 0)))


def _figure(value: float, peer: float | None) -> str:
    return f"{value:.1f}" if peer is None else f"{value:.1f} ({value / peer:.2f})"


def _row(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"
