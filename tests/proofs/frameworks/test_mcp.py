"""MCP servers of the official SDK and of FastMCP are functions: those of docs/mcp.md, with the SDK's own client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lambda_ric.emulator import in_thread
from tests.conftest import CLEAN_ENVIRONMENT, PATIENCE, ROOT
from tests.proofs.frameworks.conftest import Job, emulator_of

FILES = dict(
    re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", (ROOT / "docs/mcp.md").read_text(), re.MULTILINE | re.DOTALL)
)
MANY_SESSIONS = """
import asyncio, sys
from mcp import Client
from place_order import place

async def main(url):
    for number in range(5):
        print(await place(url, f"o-{number}"))
        async with Client(url) as client:
            print([tool.name for tool in (await client.list_tools()).tools])

asyncio.run(main(sys.argv[1]))
"""

IN_A_TEST = """
import json, sys
from mcp.server.mcpserver import MCPServer
from lambda_ric.asgi import ASGIHandler
from lambda_ric.testing import invoke

server = MCPServer("orders")

@server.tool()
def place(order_id: str) -> str:
    return f"placed {order_id}"

app = server.streamable_http_app(stateless_http=True, json_response=True, host="0.0.0.0")
params = {"name": "place", "arguments": {"order_id": "o-17"}}
event = {
    "rawPath": "/mcp",
    "headers": {"accept": "application/json, text/event-stream", "content-type": "application/json"},
    "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
    "body": json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}),
}
print(invoke(ASGIHandler(app), event).response["body"])
"""

WITH_A_PAUSE = """
import anyio
from mcp.server.mcpserver import Context, MCPServer
from lambda_ric.asgi import ASGIHandler
from tests.proofs.frameworks.apps.job import work

server = MCPServer("orders")

@server.tool()
async def place(order_id: str, context: Context) -> str:
    await context.report_progress(1, 2, "half")
    await anyio.to_thread.run_sync(work, "the other half")
    return f"placed {order_id}"

handler = ASGIHandler(server.streamable_http_app(stateless_http=True, host="0.0.0.0"))
"""


class Client:
    """A client in a process of its own, in *directory*: libraries for clients warn of what they do themselves."""

    def __init__(self, directory: Path, source: str, url: str) -> None:
        for name, example in FILES.items():
            (directory / f"{name}.py").write_text(example)
        self._process = subprocess.Popen(
            [sys.executable, "-c", source, f"{url.rstrip('/')}/mcp"],
            cwd=directory,
            env=CLEAN_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout

    def rest(self) -> str:
        """Return what it says until its end, which has to be a good one."""
        output, errors = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, errors
        return output


@pytest.mark.parametrize("mode", ["buffered", "response_stream"])
@pytest.mark.parametrize("server", ["orders_mcp", "orders_fastmcp"])
def test_sessions_follow_each_other_and_their_work_runs_after_the_answer(
    server: str, mode: str, tmp_path: Path
) -> None:
    """As many as there are; the lifespan, which runs the session manager, is that of the environment."""
    lines: list[str] = []
    emulator = emulator_of(
        FILES[server], tmp_path, on_log=lambda line: lines.append(line.text), LAMBDA_RIC_INVOKE_MODE=mode
    )
    with in_thread(emulator) as running, running.serve(url_mode=mode.removeprefix("response_")) as endpoint:
        output = Client(tmp_path, MANY_SESSIONS, endpoint.url).rest()

    assert [line for line in output.splitlines() if line.startswith("placed")] == [f"placed o-{n}" for n in range(5)]
    assert output.count("['place']") == output.count("3 of 3: packed") == 5
    assert [line for line in lines if line.startswith("receipt")] == [f"receipt for o-{n}" for n in range(5)]
    assert not [line for line in lines if "[ERROR]" in line or "[WARNING]" in line]


def test_progress_of_a_tool_is_streamed(tmp_path: Path) -> None:
    """The tool waits for a word from here, which comes when the client has heard how far it is."""
    job = Job(tmp_path)
    emulator = emulator_of(WITH_A_PAUSE, tmp_path, LAMBDA_RIC_INVOKE_MODE="response_stream")
    with in_thread(emulator) as running, running.serve(url_mode="stream") as endpoint:
        client = Client(tmp_path, FILES["place_order"], endpoint.url)
        assert client.output.readline() == "1 of 2: half\n"
        with job.waiting():
            pass

        assert job.said() == "the other half"
        assert client.rest() == "placed o-17\n"


def test_process_that_has_tested_a_synchronous_tool_can_end() -> None:
    """The thread of such a tool lives as long as the lifespan of its server, which nobody ends in a test."""
    done = subprocess.run(
        [sys.executable, "-c", IN_A_TEST],
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )

    assert "placed o-17" in done.stdout
    assert "WARNING" not in done.stderr
