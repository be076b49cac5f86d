"""
The metadata of an environment: where it stands.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-metadata-endpoint.html
"""

from __future__ import annotations

import secrets

from lambda_ric.emulator.http.messages import Reply, Request, json_reply


class MetadataAPI:
    """Answers whoever has the *token* that its environment was given in a variable."""

    def __init__(self) -> None:
        self.token: str = secrets.token_hex(16)

    def describe(self, request: Request) -> Reply:
        """Return the availability zone, a made-up one."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return json_reply(401, {"message": "Unauthorized"})
        caching = {"Cache-Control": "private, max-age=43200, immutable"}
        return json_reply(200, {"AvailabilityZoneID": "use1-az1"}, caching)
