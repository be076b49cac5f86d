"""What Quart offers, in one application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from quart import Quart, Response, abort, jsonify, make_response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from tests.proofs.frameworks.apps.job import work

app = Quart(__name__)


@app.after_request
async def stamp(response: Response) -> Response:
    response.headers["x-stamp"] = request.method
    return response


@app.get("/json")
async def json() -> Response:
    return jsonify(framework="quart", name="Zoë 🦀", nothing=None)


@app.route("/echo/<path:rest>", methods=["GET", "POST", "PATCH", "DELETE"])
async def echo(rest: str) -> Response:
    return jsonify(
        method=request.method,
        rest=rest,
        url=request.url,
        query=request.query_string.decode("latin-1"),
        parameters=request.args.to_dict(flat=False),
        header=request.headers.get("x-of-test"),
        cookies=request.cookies,
        root_path=request.root_path,
    )


@app.post("/form")
async def form() -> Response:
    files = {name: [file.filename, file.read().hex()] for name, file in (await request.files).items()}
    return jsonify({**(await request.form), **files})


@app.post("/bytes")
async def reversed_bytes() -> Response:
    data = await request.get_data(as_text=False)
    assert isinstance(data, bytes)
    return Response(data[::-1], mimetype="application/octet-stream")


@app.get("/redirect")
async def to_json() -> BaseResponse:
    return redirect("/json?name=Zoë", 303)


@app.get("/slash/")
async def slash() -> str:
    return "with a slash"


@app.route("/nothing", methods=["GET", "DELETE"])
async def nothing() -> tuple[str, int]:
    return "", 204


@app.get("/error")
async def error() -> str:
    raise RuntimeError("as ordered")


@app.get("/refusal")
async def refusal() -> str:
    abort(418, "a teapot")


@app.get("/headers")
async def headers() -> Response:
    response = await make_response("see the head")
    assert isinstance(response, Response)
    response.headers.add("x-several", "one")
    response.headers.add("x-several", "two")
    response.headers["x-latin"] = "Zoë"
    response.set_cookie("theme", "dark", httponly=True)
    response.set_cookie("session", "a=b; c", secure=True, samesite="Lax")
    return response


@app.get("/stream")
async def stream() -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(range(256))
        yield b"x" * 100_000

    return Response(chunks(), mimetype="application/octet-stream")


@app.get("/slow-stream")
async def slow_stream() -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.to_thread(work, "in the middle")
        yield b"second"

    return Response(chunks(), mimetype="text/plain")


@app.get("/large")
async def large() -> str:
    return "<p>Zoë</p>" * 1000
