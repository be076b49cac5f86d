"""
The Runtime API over an `httpx.Client` of the user's own.

For what httpx has and a plain socket does not: event hooks, other transports,
respx in tests. The loop itself uses the socket connection, which costs a
tenth. This is the only module of the runtime that knows httpx.
"""

from __future__ import annotations

import httpx

from .connection import Connection, StreamedBody
from .errors import ConnectionLostError, MalformedReplyError
from .protocol import USER_AGENT, Call
from .replies import Reply
from .settings import Address


class HttpxConnection:
    """
    Sends calls to *address* through *client*.

    The client's own timeout holds for answers, but never for the next event,
    which may be hours away. Give the client ``trust_env=False``, or a proxy
    of the environment gets between the function and Lambda.
    """

    def __init__(self, client: httpx.Client, address: Address) -> None:
        self._client = client
        self._url = f"http://{address}{address.prefix}"
        # httpx cannot send trailers, which say how a streamed response failed.
        self._streams = Connection(address)

    def send(self, call: Call) -> Reply:
        """
        Send *call* and return the reply.

        Raises:
            ConnectionLostError: There was no whole reply, or the client has been closed.
            MalformedReplyError: What came back is not an HTTP reply.
        """
        if self._client.is_closed:
            raise ConnectionLostError("the httpx client has been closed")
        headers = {"User-Agent": USER_AGENT, **call.headers}
        try:
            reply = self._client.request(
                call.method,
                self._url + call.path,
                content=call.body if call.method == "POST" else None,
                headers={name.encode(): value.encode() for name, value in headers.items()},  # text has to be ASCII
                follow_redirects=False,
                timeout=None if call.method == "GET" else httpx.USE_CLIENT_DEFAULT,
            )
        except httpx.RemoteProtocolError as error:
            lost = "disconnected" in str(error) or "closed connection" in str(error)
            what = f"no reply from the Runtime API at {self._url}: {error}"
            raise (ConnectionLostError(what, sent=True) if lost else MalformedReplyError(what)) from error
        except httpx.HTTPError as error:
            raise ConnectionLostError(f"no reply from the Runtime API at {self._url}: {error!r}") from error
        return Reply(reply.status_code, reply.headers, reply.content)

    def stream(self, call: Call) -> StreamedBody:
        """Begin *call*, whose body follows in chunks, beside the client's connections; see `Connection.stream`."""
        return self._streams.stream(call)

    def close(self) -> None:
        """Close the connection for streams; the others are the client's."""
        self._streams.close()
