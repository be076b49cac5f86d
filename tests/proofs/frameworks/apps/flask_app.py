"""What Flask offers, in one application."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask, Response, abort, jsonify, make_response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from tests.proofs.frameworks.apps.job import work

app = Flask(__name__)


@app.after_request
def stamp(response: Response) -> Response:
    response.headers["x-stamp"] = request.method
    return response


@app.get("/json")
def json() -> Response:
    return jsonify(framework="flask", name="Zoë 🦀", nothing=None)


@app.route("/echo/<path:rest>", methods=["GET", "POST", "PATCH", "DELETE"])
def echo(rest: str) -> Response:
    return jsonify(
        method=request.method,
        rest=rest,
        url=request.url,
        query=request.query_string.decode("latin-1"),
        parameters=request.args.to_dict(flat=False),
        script=request.environ["SCRIPT_NAME"],
        header=request.headers.get("x-of-test"),
        cookies=request.cookies,
        client=request.remote_addr,
    )


@app.post("/form")
def form() -> Response:
    files = {name: [file.filename, file.read().hex()] for name, file in request.files.items()}
    return jsonify({**request.form, **files})


@app.post("/bytes")
def reversed_bytes() -> Response:
    return Response(request.get_data()[::-1], mimetype="application/octet-stream")


@app.get("/redirect")
def to_json() -> BaseResponse:
    return redirect("/json?name=Zoë", 303)


@app.get("/slash/")
def slash() -> str:
    return "with a slash"


@app.route("/nothing", methods=["GET", "DELETE"])
def nothing() -> tuple[str, int]:
    return "", 204


@app.get("/cached")
def cached() -> BaseResponse:
    response = make_response("fresh")
    response.set_etag("v1")
    return response.make_conditional(request)


@app.get("/error")
def error() -> str:
    raise RuntimeError("as ordered")


@app.get("/refusal")
def refusal() -> str:
    abort(418, "a teapot")


@app.get("/headers")
def headers() -> Response:
    response = make_response("see the head")
    response.headers.add("x-several", "one")
    response.headers.add("x-several", "two")
    response.headers["x-latin"] = "Zoë"
    response.set_cookie("theme", "dark", max_age=None, httponly=True)
    response.set_cookie("session", "a=b; c", secure=True, samesite="Lax")
    return response


@app.get("/stream")
def stream() -> Response:
    def chunks() -> Iterator[bytes]:
        yield b""
        yield bytes(range(256))
        yield b"x" * 100_000

    return Response(chunks(), mimetype="application/octet-stream")


@app.get("/slow-stream")
def slow_stream() -> Response:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        work("in the middle")
        yield b"second"

    return Response(chunks(), mimetype="text/plain")


@app.get("/large")
def large() -> str:
    return "<p>Zoë</p>" * 1000


@app.post("/background")
def background() -> tuple[Response, int]:
    response = make_response("accepted")
    response.call_on_close(lambda: work("one"))
    return response, 202
