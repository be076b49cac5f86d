"""The fixtures of the tests under AWS's emulator."""

from tests.proofs.rie.conftest import exits, rie, start_classic, start_managed, task

__all__ = ["exits", "rie", "start_classic", "start_managed", "task"]
