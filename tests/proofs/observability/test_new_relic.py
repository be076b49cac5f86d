"""New Relic's agent, as far as its package on PyPI goes: see the recipe for what it reports."""

from __future__ import annotations

import pytest

from tests.conftest import Serve

SOURCE = """
import newrelic.agent

newrelic.agent.initialize()

@newrelic.agent.background_task(newrelic.agent.register_application(), name="handler")
def handler(event, context):
    return event
"""
MODE = {"NEW_RELIC_SERVERLESS_MODE_ENABLED": "true", "NEW_RELIC_ACCOUNT_ID": "1", "NEW_RELIC_TRUSTED_ACCOUNT_KEY": "1"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "set NEW_RELIC_SERVERLESS_MODE_ENABLED=true"),
        ({**MODE, "NEW_RELIC_MONITOR_MODE": "false"}, "set NEW_RELIC_MONITOR_MODE=true"),
        (MODE, ""),
    ],
    ids=["in a process that lives on", "switched off", "in serverless mode"],
)
def test_agent_that_can_report_nothing_is_told_of_at_init(serve: Serve, environment: dict[str, str], told: str) -> None:
    """By one warning, and not for every event."""
    served = serve(SOURCE, 1, 2, env=environment)

    assert served.answers == [1, 2]
    warnings = [line for line in served.lines if "New Relic's agent reports nothing" in line]
    assert [told in line for line in warnings] == ([True] if told else [])
