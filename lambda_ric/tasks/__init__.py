"""Tasks with a policy: attempts, limits, and the queue for what does not fit. Loaded when one is registered."""
