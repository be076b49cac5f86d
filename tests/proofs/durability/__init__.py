"""What is promised of work after the response, held against the loss of time and of processes."""
