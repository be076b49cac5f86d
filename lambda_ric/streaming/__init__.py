"""Responses that are sent while they are made. Loaded with the first."""
