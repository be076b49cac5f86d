"""What Falcon offers, in one application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import falcon

from tests.proofs.frameworks.apps.job import work


class Json:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = {"framework": "falcon", "name": "Zoë 🦀", "nothing": None}


class Echo:
    def on_get(self, request: falcon.Request, response: falcon.Response, rest: str) -> None:
        response.media = {
            "rest": rest,
            "path": request.path,
            "query": request.query_string,
            "parameters": request.params,
            "header": request.get_header("x-of-test"),
            "cookies": dict(request.cookies),
            "client": request.remote_addr,
            "prefix": request.prefix,
        }


class Form:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.get_media()


class Reversed:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "application/octet-stream"
        response.data = request.bounded_stream.read()[::-1]


class Lines:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = [line.decode("latin-1") for line in request.bounded_stream]


class Redirect:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPSeeOther("/json?name=Zo%C3%AB")


class Nothing:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.status = falcon.HTTP_204

    on_delete = on_get


class Cached:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.etag = "v1"
        if request.if_none_match:
            response.status = falcon.HTTP_304
        else:
            response.text = "fresh"


class Error:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise RuntimeError("as ordered")


class Refusal:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPError(falcon.HTTP_418, description="a teapot")


class Headers:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.text = "see the head"
        response.append_header("x-several", "one")
        response.append_header("x-several", "two")
        response.set_cookie("theme", "dark", http_only=True, secure=False)
        response.set_cookie("session", "a=b", same_site="Lax")


class Stream:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "application/octet-stream"
        response.stream = iter((b"", bytes(range(256)), b"x" * 100_000))


class SlowStream:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/plain"
        response.stream = self.parts()

    def parts(self) -> Iterator[bytes]:
        yield b"first"
        work("in the middle")
        yield b"second"


class Large:
    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "text/html"
        response.text = "<p>Zoë</p>" * 1000


app: Any = falcon.App()
app.add_route("/json", Json())
app.add_route("/echo/{rest:path}", Echo())
app.add_route("/form", Form())
app.add_route("/bytes", Reversed())
app.add_route("/lines", Lines())
app.add_route("/redirect", Redirect())
app.add_route("/nothing", Nothing())
app.add_route("/cached", Cached())
app.add_route("/error", Error())
app.add_route("/refusal", Refusal())
app.add_route("/headers", Headers())
app.add_route("/stream", Stream())
app.add_route("/slow-stream", SlowStream())
app.add_route("/large", Large())
