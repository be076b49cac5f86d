"""What runtimes and extensions reach: the Runtime, Extensions and Telemetry APIs of one environment."""
