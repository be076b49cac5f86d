"""
What Lambda allows: each limit once, for the runtime, the emulator and the tools.

Sizes are in bytes and times in seconds. Where nothing else is said, the source is
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, as it was in November 2026.
"""

from __future__ import annotations

MAX_EVENT = 6 * 1024 * 1024
"""Of a synchronous invocation, whichever way it comes; "(limit 6291456 bytes)", says the service's refusal."""
MAX_ASYNC_EVENT = 1024 * 1024
MAX_RESPONSE = 6 * 1024 * 1024 + 100
"""Of a buffered response; exactly so many pass (aws-lambda-runtime-interface-emulator, internal/lambda/interop)."""
MAX_STREAM = 200 * 1024 * 1024
STREAM_BURST = 6 * 1024 * 1024
STREAM_RATE = 2 * 1024 * 1024
"""Bytes a second of a stream, after the burst: .../dg/configuration-response-streaming.html"""
MAX_ENVIRONMENT = 4 * 1024
"""Of all names and values of a function's environment variables together."""

MAX_TIMEOUT = 1800
"""The service's model has it since November 2026; before that it was 900."""
MAX_MANAGED_TIMEOUT = 5400
"""Of asynchronous and event-source invocations on Lambda Managed Instances."""
MAX_INSTANCE_CONCURRENCY = 1600
"""Invocations at once in one environment on Lambda Managed Instances."""

# Megabytes.
MIN_MEMORY = 128
MAX_MEMORY = 10240
