"""The function under measurement: its directory is every runtime's LAMBDA_TASK_ROOT."""
