"""Whole applications that others have written, unmodified: as functions they answer like under their servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.proofs.frameworks.conftest import App, as_function, under_server
from tests.proofs.frameworks.test_like_servers import headers, not_comparable
from tests.support import environments

Visit = Callable[[httpx.Client], Iterator[httpx.Response]]


@pytest.fixture(scope="module")
def python() -> str:
    return environments.python_with_applications()


def datasette(client: httpx.Client) -> Iterator[httpx.Response]:
    """Look around, page through a table, ask in SQL, and take all rows at once."""
    for path in [
        "/",
        "/-/databases.json",
        "/-/static/app.css",
        "/shop",
        "/shop/orders?_sort_desc=total&_facet=customer",
        "/shop/orders.json?_shape=array&customer__startswith=Zo%C3%AB+3&_size=5",
        "/shop/orders/17",
        "/shop/notes/a~2Fb~20c",
        "/shop/large.json?_shape=array&_size=3",
        "/shop?sql=select+sum(total)+from+orders+where+customer+%3D+%3Awho&who=Zo%C3%AB+1",
        "/shop?sql=select+no+such+thing",
        "/shop/orders.csv?_stream=on",
        "/shop.db",
        "/none",
    ]:
        yield client.get(path)


def strawberry(client: httpx.Client) -> Iterator[httpx.Response]:
    """Ask, change, ask for what was changed, and for what there is not."""
    yield client.get("/graphql", headers={"accept": "text/html"})
    for query in [
        'query { order(id: "o-17") { id customer lines(first: 3) } }',
        'mutation { place(id: "o-18", customer: "Zoë 🦀") { id } }',
        'query { order(id: "o-18") { customer lines } }',
        'query { order(id: "o-19") { id } }',
        "query { broken }",
        "query { nothing }",
    ]:
        yield client.post("/graphql", json={"query": query})
    yield client.get("/graphql", params={"query": '{ order(id: "o-17") { id } }'})
    yield client.post("/graphql", content=b"no JSON", headers={"content-type": "application/json"})


def sqladmin(client: httpx.Client) -> Iterator[httpx.Response]:
    """Make a row, look for it, change it, export it, delete it."""
    for path in ["/admin/", "/admin/statics/js/main.js", "/admin/order/list", "/admin/order/create"]:
        yield client.get(path)
    yield client.post("/admin/order/create", data={"customer": "Zoë & Söhne", "save": "Save"})
    yield client.get("/admin/order/list", params={"search": "Söhne"})
    yield client.get("/admin/order/details/1")
    yield client.post("/admin/order/edit/1", data={"customer": "", "save": "Save"})
    yield client.get("/admin/order/export/csv")
    yield client.delete("/admin/order/delete", params={"pks": "1"})
    yield client.get("/admin/order/details/1")


def django(client: httpx.Client) -> Iterator[httpx.Response]:
    """Log in to the admin, make groups there and over the API, and log out."""
    yield client.get("/api/groups")
    yield client.get("/admin/")
    login = client.get("/admin/login/?next=/admin/")
    yield login
    form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "zoe", "next": "/admin/"}
    yield client.post("/admin/login/", data=form | {"password": "wrong"})
    yield client.post("/admin/login/", data=form | {"password": "secret"})
    yield client.get("/admin/")
    token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
    yield client.post("/admin/auth/group/add/", data=token | {"name": "Bäcker", "_save": "Save"})
    yield client.post("/api/groups", json={"name": "Müller"})
    yield client.post("/api/groups", json={"title": "none"})
    yield client.get("/api/groups", params={"search": "ä"})
    yield client.get("/admin/auth/group/", params={"q": "Bäcker"})
    yield client.get("/admin/auth/user/1/change/")
    yield client.post("/admin/auth/group/add/", data={"name": "without a token"})
    yield client.get("/api/openapi.json")
    yield client.get("/api/docs")
    yield client.post("/admin/logout/", data={"csrfmiddlewaretoken": client.cookies["csrftoken"]})
    yield client.get("/admin/auth/user/")


def titiler(client: httpx.Client) -> Iterator[httpx.Response]:
    """Ask about an image, for a tile of it and for all of it, and for what there is not."""
    image = {"url": "berlin.tif"}
    yield client.get("/info", params=image)
    yield client.get("/point/13.4,52.5", params=image)
    corners = [[13.1, 52.4], [13.2, 52.4], [13.2, 52.5], [13.1, 52.4]]
    area = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [corners]}}
    yield client.post("/statistics", params=image, json=area)
    yield client.get("/WebMercatorQuad/tilejson.json", params=image)
    tile = client.get("/tiles/WebMercatorQuad/10/550/335.png", params=image)
    assert tile.content.startswith(b"\x89PNG")
    yield tile
    yield client.get("/preview.tif", params=image)
    yield client.get("/tiles/WebMercatorQuad/10/0/0.png", params=image)
    yield client.get("/info", params={"url": "none.tif"})
    yield client.get("/info")


APPLICATIONS = [
    (App("datasette_app"), datasette),
    (App("strawberry_app"), strawberry),
    (App("sqladmin_app"), sqladmin),
    (App("titiler_app"), titiler),
    (App("ninja_app"), django),
    (App("ninja_app", "wsgi_app", "WSGIHandler"), django),
]


@pytest.mark.parametrize(("app", "visit"), APPLICATIONS, ids=[str(app) for app, _ in APPLICATIONS])
def test_application_answers_like_under_its_server(python: str, app: App, visit: Visit, tmp_path: Path) -> None:
    """Each answer to a visit of many requests, which depend on each other."""
    app = replace(app, python=python)
    ours, theirs = tmp_path / "function", tmp_path / "server"
    ours.mkdir()
    theirs.mkdir()
    with under_server(app, theirs) as server, as_function(app, ours, "buffered") as function:
        pairs = zip(visit(server.client), visit(function.client), strict=True)
        for expected, answer in pairs:
            but = {*not_comparable(answer, expected), "content-length"}
            line = f"{expected.request.method} {expected.request.url.raw_path.decode()}"
            assert (line, answer.status_code) == (line, expected.status_code)
            theirs_say, ours_say = known(headers(expected, but)), known(headers(answer, but))
            assert ours_say == theirs_say, f"{line}: {ours_say} and not {theirs_say}"
            assert body(answer) == body(expected), line


# Times, and what is made by chance for each answer or session.
CHANCE = re.compile(
    r"(?<=csrftoken=)[^;]*|(?<=sessionid=)[^;]*|(?<=messages=)[^;]*|(?<=csrfmiddlewaretoken\" value=\")\w+"
    r"|(?<=/)(server|function)(?=/shop)|(?<=<bdi>)\w+|127\.0\.0\.1:\d+|\d\d:\d\d:\d\d|[0-9.]+ ?ms"
)


def body(answer: httpx.Response) -> object:
    """Return the body of *answer*: what is known of a text, and every byte of anything else."""
    try:
        return known(answer.content.decode())
    except UnicodeDecodeError:
        return answer.content


def known(found: object) -> str:
    """Return what is the same each time of *found*."""
    return CHANCE.sub("…", str(found))
