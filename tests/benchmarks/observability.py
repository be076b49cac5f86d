"""
Functions that Sentry or OpenTelemetry watches, before a slow collector: `python -m tests.benchmarks.observability`.

The same function, on AWS's own runtime and on this one, each in an environment of the emulator that is frozen after
every invocation. They take turns. The collector is an HTTP server that takes 300 ms for a request. What is compared is
the time until the caller has its answer; and what the collector has when the environment is frozen, which is where the
rest is lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from lambda_ric.emulator import BlockingEmulator, Emulator, in_thread
from tests.conftest import CLEAN_ENVIRONMENT
from tests.support.collector import Collector

SENTRY = """
import os, sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration

sentry_sdk.init(
    dsn=os.environ["SENTRY_DSN"], integrations=[AwsLambdaIntegration()], auto_enabling_integrations=False,
    traces_sample_rate=1.0,
)

def handler(event, context):
    return event
"""

OPENTELEMETRY = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

def handler(event, context):
    return event

AwsLambdaInstrumentor().instrument()
"""

RUNTIMES = {"awslambdaric": "awslambdaric", "**lambda_ric**": "lambda_ric"}


@dataclass
class Watched:
    """One function on one runtime, its *collector*, and how many reports that has *received*."""

    emulator: BlockingEmulator
    collector: Collector
    received: Callable[[Collector], int]
    answered: list[float] = field(default_factory=list)
    lost: int = 0

    def invoke(self, *, count: bool) -> None:
        """Have it called once, and look at the collector when the environment is frozen."""
        before = self.received(self.collector)
        invocation = self.emulator.finished(self.emulator.invoke({"order": "o-17"}))
        assert invocation.answered_at is not None
        assert invocation.started_at is not None
        if count:
            self.answered.append(invocation.answered_at - invocation.started_at)
            self.lost += 1 - (self.received(self.collector) - before)


LIBRARIES: dict[str, tuple[str, Callable[[Collector], int]]] = {
    "Sentry": (SENTRY, lambda collector: len(collector.transactions)),
    "OpenTelemetry": (OPENTELEMETRY, lambda collector: len(collector.spans)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.observability", description=__doc__)
    parser.add_argument("--invocations", type=int, default=50, help="measured of each (50)")
    parser.add_argument("--seconds", type=float, default=0.3, help="that the collector takes for a request (0.3)")
    options = parser.parse_args(arguments)
    print("| library | runtime | event → answer, median | largest | ratio of the medians | reports lost |")
    print("|---|---|--:|--:|--:|--:|")
    for name, (source, received) in LIBRARIES.items():
        measured = _measured(source, received, options.invocations, options.seconds)
        peer = median(measured["awslambdaric"].answered)
        for runtime, watched in measured.items():
            middle, largest = median(watched.answered), max(watched.answered)
            print(
                f"| {name} | {runtime} | {middle * 1e3:.1f} ms | {largest * 1e3:.1f} ms | {middle / peer:.3f} | "
                f"{watched.lost} of {len(watched.answered)} |",
                flush=True,
            )
    return 0


def _measured(
    source: str, received: Callable[[Collector], int], invocations: int, seconds: float
) -> dict[str, Watched]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lambda-ric-observability-")))
        (folder / "app.py").write_text(source)
        running: dict[str, Watched] = {}
        for name, module in RUNTIMES.items():
            collector = stack.enter_context(Collector(seconds))
            emulator = Emulator(
                "app.handler",
                command=[sys.executable, "-m", module, "app.handler"],
                task_root=str(folder),
                timeout=60,
                memory=1769,
                environment={
                    "PYTHONPATH": CLEAN_ENVIRONMENT["PYTHONPATH"],
                    "SENTRY_DSN": collector.dsn,
                    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                },
            )
            running[name] = Watched(stack.enter_context(in_thread(emulator)), collector, received)
        for watched in running.values():
            watched.invoke(count=False)
        for number in range(invocations):
            turn = list(running.values())
            for watched in reversed(turn) if number % 2 else turn:
                watched.invoke(count=True)
        return running


if __name__ == "__main__":
    sys.exit(main())
