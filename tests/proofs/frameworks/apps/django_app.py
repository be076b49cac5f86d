"""What Django offers, in one file: *app* is asynchronous, *wsgi_app* is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.gzip import GZipMiddleware
from django.urls import path

from tests.proofs.frameworks.apps.job import work


class SameGZipMiddleware(GZipMiddleware):  # type: ignore[misc]
    """Without the random bytes, which no two responses have in common."""

    max_random_bytes = 0


class Stamp:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["x-stamp"] = request.method
        return response


settings.configure(
    SECRET_KEY="no secret",
    ALLOWED_HOSTS=["app.example.org"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        f"{__name__}.SameGZipMiddleware",
        f"{__name__}.Stamp",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
    ],
    LOGGING_CONFIG=None,
)
django.setup(set_prefix=False)


def json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"framework": "django", "name": "Zoë 🦀", "nothing": None})


def echo(request: HttpRequest, rest: str) -> HttpResponse:
    return JsonResponse(
        {
            "method": request.method,
            "rest": rest,
            "url": request.build_absolute_uri(),
            "parameters": dict(request.GET.lists()),
            "x-of-test": request.headers.get("x-of-test"),
            "cookies": request.COOKIES,
            "client": request.META.get("REMOTE_ADDR"),
        }
    )


async def async_echo(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"parameters": dict(request.GET.lists())})


def form(request: HttpRequest) -> HttpResponse:
    files = {name: [file.name, file.read().hex()] for name, file in request.FILES.items()}
    return JsonResponse({**request.POST.dict(), **files})


def reversed_bytes(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body[::-1], content_type="application/octet-stream")


def redirect(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/json?name=Zoë")


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def cached(request: HttpRequest) -> HttpResponse:
    if request.headers.get("if-none-match") == '"v1"':
        return HttpResponseNotModified(headers={"etag": '"v1"'})
    return HttpResponse("fresh", headers={"etag": '"v1"'}, content_type="text/plain")


def error(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("as ordered")


def headers(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("see the head", headers={"x-one": "1", "vary": "Cookie"})
    response.set_cookie("theme", "dark", path="/", httponly=True)
    response.set_cookie("session", "a=b; c", secure=True, samesite="Lax")
    return response


def stream(request: HttpRequest) -> HttpResponse:
    def chunks() -> Iterator[bytes]:
        yield b""
        yield bytes(range(256))
        yield b"x" * 100_000

    return StreamingHttpResponse(chunks(), content_type="application/octet-stream")


async def async_stream(request: HttpRequest) -> HttpResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}é\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def slow_stream(request: HttpRequest) -> HttpResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.to_thread(work, "in the middle")
        yield b"second"

    return StreamingHttpResponse(chunks(), content_type="text/plain")


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>Zoë</p>" * 1000)


def background(request: HttpRequest) -> HttpResponse:
    """Have `work` done when this request is finished."""

    def finished(**signal: Any) -> None:
        request_finished.disconnect(finished)
        work("one")

    request_finished.connect(finished, weak=False)
    return HttpResponse("accepted", status=202)


urlpatterns = [
    path("json", json),
    path("echo/<path:rest>", echo),
    path("async-echo", async_echo),
    path("form", form),
    path("bytes", reversed_bytes),
    path("redirect", redirect),
    path("slash/", json),
    path("nothing", nothing),
    path("cached", cached),
    path("error", error),
    path("headers", headers),
    path("stream", stream),
    path("async-stream", async_stream),
    path("slow-stream", slow_stream),
    path("large", large),
    path("background", background),
]

app = get_asgi_application()
wsgi_app = get_wsgi_application()
