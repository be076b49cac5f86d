"""Write the tables of docs/reliability.md anew: `python -m tests.proofs.faults`."""

from __future__ import annotations

from .page import PAGE, with_tables

PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
