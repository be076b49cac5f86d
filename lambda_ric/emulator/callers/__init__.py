"""What callers reach, and what calls by itself: the Invoke API, the function URL, the page, queues."""
