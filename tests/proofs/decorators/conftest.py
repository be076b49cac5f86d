"""Fixtures: what receives the traces and reports of a function."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proofs.decorators.daemons import SentryServer, XRayDaemon


@pytest.fixture
def xray() -> Iterator[XRayDaemon]:
    """An X-Ray daemon."""
    with XRayDaemon() as daemon:
        yield daemon


@pytest.fixture
def sentry() -> Iterator[SentryServer]:
    """A server of Sentry's."""
    with SentryServer() as server:
        yield server
