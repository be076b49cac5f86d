"""One environment: its phases, its processes, and what they write."""
