"""Background work: what was handed over, and its drain. Loaded with the first hand-over."""
