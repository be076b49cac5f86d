"""
A project to begin with: a function, a FastAPI application, or a server of the Model Context Protocol.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from .errors import PackagingError

_PYPROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[dependency-groups]
dev = ["pytest>=8"]

[tool.lambda-ric]
handler = "app.handler"

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_README = """\
# {name}

{what}

    lambda-ric dev app.handler              # a local Lambda with hot reload, http://127.0.0.1:9000/_/ shows it
    lambda-ric invoke app.handler --data-file event.json
    pytest
    lambda-ric build                        # dist/function.zip
    lambda-ric deploy {name} --dry-run      # the calls that would create the function

Needed: `pip install{packages} pytest 'lambda-ric[build,deploy]'`. On Lambda the function has the variable
`AWS_LAMBDA_EXEC_WRAPPER=/var/task/bootstrap`, which `deploy` sets.
"""

_IGNORED = """\
__pycache__/
.env
.venv/
dist/
"""

_FUNCTION = '''\
"""A function that answers first and finishes afterwards."""

import json

from lambda_ric import wait_until


def handler(event, context):
    order = json.loads(event["body"])
    wait_until(send_receipt, order)  # runs when the caller has its answer
    return {"statusCode": 202, "body": json.dumps({"accepted": order["id"]})}


def send_receipt(order):
    print("sent the receipt for", order["id"])
'''

_TEST = '''\
import json
from pathlib import Path

from lambda_ric.testing import invoke

from app import handler

EVENT = json.loads(Path(__file__).parents[1].joinpath("event.json").read_text())


def test_receipt_is_sent_after_the_response(capsys):
    invoked = invoke(handler, EVENT)

    assert invoked.response["statusCode"] == {status}
    assert "o-17" in invoked.response["body"]
    assert {{task.state for task in invoked.tasks}} == {{"succeeded"}}
    assert "sent the receipt for o-17" in capsys.readouterr().out
'''

_FASTAPI = '''\
"""A FastAPI application whose background tasks run after the response."""

from fastapi import BackgroundTasks, FastAPI

from lambda_ric.asgi import ASGIHandler

app = FastAPI()


@app.post("/orders/{order_id}", status_code=202)
def accept(order_id: str, background_tasks: BackgroundTasks) -> dict[str, str]:
    background_tasks.add_task(send_receipt, order_id)  # runs when the caller has its answer
    return {"accepted": order_id}


def send_receipt(order_id: str) -> None:
    print("sent the receipt for", order_id)


handler = ASGIHandler(app)
'''

_MCP = '''\
"""A server of the Model Context Protocol: its tools are functions, and work may go on after their answers."""

from mcp.server import MCPServer

from lambda_ric import wait_until
from lambda_ric.asgi import ASGIHandler

server = MCPServer("orders")


@server.tool()
async def accept_order(order_id: str) -> str:
    """Accept an order."""
    wait_until(send_receipt, order_id)  # runs when the caller has its answer
    return f"accepted {order_id}"


def send_receipt(order_id: str) -> None:
    print("sent the receipt for", order_id)


# Without sessions, since the next request may meet another environment; "0.0.0.0" lets any host name through, as the
# address of a function URL is known only after it was made.
handler = ASGIHandler(server.streamable_http_app(stateless_http=True, json_response=True, host="0.0.0.0"))
'''

_CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "accept_order", "arguments": {"order_id": "o-17"}},
}


def _request(path: str, body: str | None = None) -> dict[str, Any]:
    """Return the event of a POST to a function URL."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "id.lambda-url.eu-west-1.on.aws",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        },
        "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}},
        "body": body,
        "isBase64Encoded": False,
    }


class _Kind(NamedTuple):
    what: str
    app: str
    event: dict[str, Any]
    status: int
    needs: tuple[str, ...] = ()


_KINDS = {
    "function": _Kind("A function on Lambda.", _FUNCTION, {"body": '{"id": "o-17"}'}, 202),
    "fastapi": _Kind("A FastAPI application on Lambda.", _FASTAPI, _request("/orders/o-17"), 202, ("fastapi",)),
    "mcp": _Kind(
        "A server of the Model Context Protocol on Lambda.", _MCP, _request("/mcp", json.dumps(_CALL)), 200, ("mcp>=2",)
    ),
}

KINDS = tuple(_KINDS)


def create(folder: Path, kind: str) -> list[Path]:
    """
    Write a project of *kind*, one of `KINDS`, into *folder*; return the files.

    Raises:
        PackagingError: The folder holds files already, or its name cannot be that of a project.
    """
    name = folder.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9]([\w-]*[A-Za-z0-9])?", name, re.ASCII):
        raise PackagingError(f"{name!r} cannot be a project's name: take letters, digits, - and _")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PackagingError(f"{folder} holds something already: name a new folder")
    chosen = _KINDS[kind]
    dependencies = ", ".join(f'"{need}"' for need in (*chosen.needs, "lambda-ric"))
    packages = "".join(f" '{need}'" for need in chosen.needs)
    files = {
        "app.py": chosen.app,
        "event.json": json.dumps(chosen.event, indent=2) + "\n",
        "tests/test_app.py": _TEST.format(status=chosen.status),
        "pyproject.toml": _PYPROJECT.format(name=name, dependencies=dependencies),
        "README.md": _README.format(name=name, what=chosen.what, packages=packages),
        ".gitignore": _IGNORED,
    }
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return [folder / path for path in files]
