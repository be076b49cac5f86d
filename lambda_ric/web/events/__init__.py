"""
HTTP events as requests, and the responses in the form that each source of them wants.
"""

from .request import HTTPRequest
from .responses import BodyTypes

__all__ = ["BodyTypes", "HTTPRequest"]
