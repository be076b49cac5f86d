"""The fixtures of the tests of packages."""

from tests.packaging.conftest import offline, run

__all__ = ["offline", "run"]
