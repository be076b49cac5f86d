"""
What the platform itself writes: lines for the log, in text or JSON, and records for the Telemetry API.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lambda_ric.emulator.apis import telemetry_records as records
from lambda_ric.emulator.apis.extensions_api import ExtensionsAPI
from lambda_ric.emulator.apis.telemetry_api import TelemetryAPI
from lambda_ric.emulator.apis.telemetry_records import Record
from lambda_ric.emulator.event.failure import Failure
from lambda_ric.emulator.event.invocation import Invocation

from .host import Host

# Seconds; every runtime takes a moment from its answer to its next poll.
WORTH_A_LINE = 0.01


class PlatformLog:
    """Writes for the environment of *host* that is called *instance*; *say* gets each line."""

    def __init__(self, host: Host, instance: str, say: Callable[[str], None]) -> None:
        self._function = host.function
        self._instance = instance
        self._clock = host.clock
        self._say = say
        self._json = host.function.json_logs
        self._telemetry: TelemetryAPI | None = None
        self._extensions: ExtensionsAPI | None = None
        self._init_phase = ""
        self._told_of: Invocation | None = None
        self._runtime_done_at: float | None = None

    def init_start(self, phase: str, telemetry: TelemetryAPI, extensions: ExtensionsAPI) -> None:
        """Tell that an init begins, after which *telemetry* and *extensions* are those of the environment."""
        self._telemetry, self._extensions, self._init_phase = telemetry, extensions, phase
        kind = self._function.initialization_type
        self._emit(records.init_start(self._function, self._instance, initialization_type=kind, phase=phase))

    def init_end(self, phase: str, duration: float, failure: Failure | None) -> None:
        """Tell that an init has ended after *duration* seconds; only one that failed is worth a line."""
        kind = self._function.initialization_type
        if failure is not None:
            self.runtime_done(None, failure)
        for extension in self._extensions.all if self._extensions else []:
            text = f"EXTENSION\tName: {extension.name}\tState: {extension.state.value}"
            self._write(f"{text}\tEvents: [{', '.join(extension.events)}]", records.extension(extension))
        record = records.init_report(duration, failure, initialization_type=kind, phase=phase)
        text = f"INIT_REPORT Init Duration: {duration * 1000:.2f} ms\tPhase: {phase}"
        if failure is None:
            self._emit(record)
        else:
            self._write("\t".join([text, *failure.report_fields()]), record)

    def restore_start(self) -> None:
        """Tell that a restore begins."""
        self._write("RESTORE_START Runtime Version: unknown", records.restore_start(self._function, self._instance))

    def restore_end(self, duration: float, failure: Failure | None) -> None:
        """Tell that a restore has ended after *duration* seconds."""
        fields = [f"RESTORE_REPORT Restore Duration: {duration * 1000:.2f} ms"]
        fields += failure.report_fields() if failure else []
        self._emit(records.restore_runtime_done(failure))
        self._write("\t".join(fields), records.restore_report(duration, failure))

    def start(self, invocation: Invocation) -> None:
        """Tell that *invocation* begins."""
        text = f"START RequestId: {invocation.request_id} Version: $LATEST"
        self._write(text, records.start(invocation) if self._wants_records else None)

    def runtime_done(self, invocation: Invocation | None, failure: Failure | None) -> None:
        """Tell once that the runtime is done with its init or with *invocation*, extensions may not be."""
        if self._init_phase:
            kind = self._function.initialization_type
            self._emit(records.init_runtime_done(failure, initialization_type=kind, phase=self._init_phase))
            self._init_phase = ""
        elif invocation is not None and invocation is not self._told_of and not math.isnan(invocation.started_at):
            self._told_of, self._runtime_done_at = invocation, self._clock()
            if self._wants_records:
                record = records.runtime_done(invocation, self._runtime_done_at, failure)
                if failure is not None and self._json:
                    self._write("", record)
                else:
                    self._emit(record)

    def error(self, invocation: Invocation, failure: Failure) -> None:
        """Tell why *invocation* was ended, which in JSON is a matter of `runtime_done`."""
        if self._json:
            return
        when = " (after the response)" if invocation.answer is not None else ""
        self._say(f"RequestId: {invocation.request_id} Error: {failure.message}{when}")

    def end(self, invocation: Invocation) -> None:
        """Tell that *invocation* has ended, and what it took."""
        if not self._json:
            self._say(f"END RequestId: {invocation.request_id}")
            self._background(invocation)
        record = None
        if self._wants_records:
            extended = self._extensions is not None and bool(self._extensions.registered)
            record = records.report(invocation, self._function.memory, self._runtime_done_at if extended else None)
        self._write(report_line(invocation, self._function.memory), record)

    def _background(self, invocation: Invocation) -> None:
        """Make up for a runtime that does not tell itself how long it worked after its answer."""
        end, kinds = invocation.ended_at, [span.kind for span in invocation.spans]
        extended = "extension" in kinds
        if extended and self._told_of is invocation and self._runtime_done_at is not None:
            end = self._runtime_done_at
        told = any(kind not in ("handler", "extension") for kind in kinds)
        if not told and invocation.answered_at is not None and end - invocation.answered_at >= WORTH_A_LINE:
            duration = (end - invocation.answered_at) * 1000
            self._say(f"BACKGROUND RequestId: {invocation.request_id}\tDuration: {duration:.2f} ms")
        for span in invocation.spans if extended else []:
            if span.kind == "extension" and span.end - end >= WORTH_A_LINE:
                duration = (span.end - end) * 1000
                text = f"EXTENSION RequestId: {invocation.request_id}\tName: {span.name}"
                self._say(f"{text}\tAfter the runtime: {duration:.2f} ms")

    @property
    def _wants_records(self) -> bool:
        return self._json or (self._telemetry is not None and self._telemetry.wanted)

    def _write(self, text: str, record: Record | None) -> None:
        if record is not None:
            self._emit(record)
            if self._json:
                text = records.encode(self._clock(), *record).decode()
        self._say(text)

    def _emit(self, record: Record) -> None:
        if self._telemetry is not None:
            self._telemetry.emit(*record)


def report_line(invocation: Invocation, memory: int) -> str:
    """Return the REPORT line of *invocation*, which has ended, in a function of *memory* MB."""
    fields = [
        f"REPORT RequestId: {invocation.request_id}",
        f"Duration: {invocation.duration * 1000:.2f} ms",
        f"Billed Duration: {invocation.billed_ms} ms",
        f"Memory Size: {memory} MB",
    ]
    if invocation.max_memory is not None:
        fields.append(f"Max Memory Used: {invocation.max_memory} MB")
    if invocation.init_duration is not None:
        fields.append(f"Init Duration: {invocation.init_duration * 1000:.2f} ms")
    if invocation.failure is not None:
        fields += invocation.failure.report_fields()
    return "\t".join(fields)
