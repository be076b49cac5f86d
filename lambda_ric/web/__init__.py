"""HTTP for web applications: events as requests, responses in the form that each source wants."""
