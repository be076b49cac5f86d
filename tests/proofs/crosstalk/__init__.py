"""Real clients, interrupted in the middle of what they do: what one caller left behind never reaches the next."""
