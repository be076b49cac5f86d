"""
What is done for the libraries that watch a function, at the end of its init, if it has set one of them up.

They all call the handler in the same way: they take the call for the whole of an invocation, look for an `Exception`,
and flush before they return. So a handler that is asynchronous or streams, a timeout, and work after the response are
not seen, and the caller waits for the collector. Here

* the call that they make lasts until the work is done, and ends with an `Exception` when its time is up;
* their flush, as long as the caller waits, is put off to the end of the invocation, after the background work;
* one that has switched itself off is told of.

Sentry is served by the names of AWS's runtime, which its integration replaces: see `awslambdaric`.
"""

from __future__ import annotations

import logging
import sys
import time

from .context import current_invocation
from .failures import exc_info, tell
from .hooks import PROCESS_HOOKS
from .serving import Serving, serving_of
from .synchronous import to_completion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

log: logging.Logger = logging.getLogger("lambda_ric.observability")


def adapt(handler: Any) -> None:
    """Look at which libraries are set up, and do what they need for *handler*; never raises."""
    for name, adapt_one in _ADAPTERS.items():
        if name in sys.modules:
            try:
                adapt_one(sys.modules[name], handler)
            except Exception as error:  # in a version of theirs that has other names
                what = "%s could not be adapted: it works as it does under AWS's runtime"
                tell(log, logging.WARNING, what, name, exc_info=exc_info(error))


def _adapt_opentelemetry(module: Any, handler: Any) -> None:
    if not module.AwsLambdaInstrumentor().is_instrumented_by_opentelemetry:
        return
    wrapper: Any = getattr(handler, "_self_wrapper", None)
    if getattr(wrapper, "__module__", None) != module.__name__:
        what = (
            "OpenTelemetry's AwsLambdaInstrumentor has not wrapped the handler, and will make no spans: call "
            "instrument() at the end of the handler's module, where _HANDLER or ORIG_HANDLER names the handler"
        )
        tell(log, logging.WARNING, what)
        return
    handler.__wrapped__ = to_completion(handler.__wrapped__)
    providers = _providers(wrapper)
    if not hasattr(providers[0], "force_flush"):
        what = (
            "OpenTelemetry's AwsLambdaInstrumentor makes spans that go nowhere: no tracer provider of the SDK was set "
            "when the init ended: call opentelemetry.trace.set_tracer_provider"
        )
        tell(log, logging.WARNING, what)
    flushes = [_put_off(provider) for provider in providers if hasattr(provider, "force_flush")]

    def force_flush() -> None:
        ends_at = serving_of("force_flush").ends_at()
        for flush in flushes:
            flush(ends_at)

    PROCESS_HOOKS.freeze.append(force_flush)


def _providers(wrapper: Any) -> list[Any]:
    """Return those that the instrumentor was given, and the global ones for the rest; that of traces comes first."""
    given = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or (), strict=True))
    found = []
    for part, name in {"trace": "tracer_provider", "metrics": "meter_provider", "_logs": "logger_provider"}.items():
        module = sys.modules.get(f"opentelemetry.{part}")
        provider = given[name].cell_contents if name in given else None
        if provider is not None or module is not None:
            found.append(provider or getattr(module, f"get_{name}")())
    return found


def _put_off(provider: Any) -> Callable[[float], None]:
    """
    Have `provider.force_flush` do nothing as long as a caller waits; return what does it then.

    That ends at a time in seconds since 1970, and has no more time than it was asked to take.
    """
    flush: Callable[..., Any] = provider.force_flush
    asked_ms = 30_000.0  # where nobody has asked: the instrumentor's own default

    def force_flush(timeout_millis: float = 30_000, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked_ms
        if _somebody_waits():
            asked_ms = timeout_millis
            return True
        return flush(timeout_millis, *args, **kwargs)

    def flush_until(ends_at: float) -> None:
        flush(max(1, int(min(asked_ms, (ends_at - time.time()) * 1000))))

    provider.force_flush = force_flush
    return flush_until


def _somebody_waits() -> bool:
    serving = current_invocation.get()
    return isinstance(serving, Serving) and not serving.answered


def _adapt_datadog(module: Any, handler: Any) -> None:
    if type(handler).__module__ == module.__name__ and hasattr(handler, "func"):
        handler.func = to_completion(handler.func)
    stats = getattr(sys.modules.get("datadog_lambda.metric"), "lambda_stats", None)
    if stats is None:
        return
    flush: Callable[..., Any] = stats.flush

    def flush_when_answered(*args: Any, **kwargs: Any) -> Any:
        return None if _somebody_waits() else flush(*args, **kwargs)

    def flush_metrics() -> None:
        flush()

    stats.flush = flush_when_answered
    PROCESS_HOOKS.freeze.append(flush_metrics)


def _check_sentry(module: Any, handler: Any) -> None:
    integration = sys.modules["sentry_sdk"].get_client().get_integration(module.AwsLambdaIntegration)
    names = sys.modules.get(f"{__package__}.awslambdaric")
    if integration is None or (names is not None and names.is_replaced("handle_event_request")):
        return
    taken: Any = sys.modules.get("bootstrap")
    if taken is not None:
        why = (
            f"it took the module {taken.__name__!r} of {getattr(taken, '__file__', 'an unknown file')} for AWS's "
            "runtime: give that another name"
        )
    else:
        why = (
            "it found no runtime of AWS's: in a script that calls lambda_ric.run(), write `from lambda_ric import "
            "awslambdaric as bootstrap` above sentry_sdk.init()"
        )
    tell(log, logging.WARNING, "Sentry's AwsLambdaIntegration has switched itself off, and reports no errors: %s", why)


def _check_new_relic(module: Any, handler: Any) -> None:
    settings = module.global_settings()
    if not settings.monitor_mode:
        why = "its monitor_mode is off: set NEW_RELIC_MONITOR_MODE=true"
    elif not settings.serverless_mode.enabled:
        why = (
            "it is not in its serverless mode, and would send once a minute from a thread that Lambda freezes: set "
            "NEW_RELIC_SERVERLESS_MODE_ENABLED=true, NEW_RELIC_ACCOUNT_ID and NEW_RELIC_TRUSTED_ACCOUNT_KEY"
        )
    else:
        return
    tell(log, logging.WARNING, "New Relic's agent reports nothing: %s", why)


_ADAPTERS: dict[str, Callable[[Any, Any], None]] = {
    "opentelemetry.instrumentation.aws_lambda": _adapt_opentelemetry,
    "datadog_lambda.wrapper": _adapt_datadog,
    "newrelic.agent": _check_new_relic,
    "sentry_sdk.integrations.aws_lambda": _check_sentry,
}
