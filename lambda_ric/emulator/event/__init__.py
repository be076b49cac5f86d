"""One event: all that is known of it, its answer, and how both are shown."""
