"""
The rows of the house: in every folder of the package, who may import whom.

A folder has rows, the upper ones first. A room, which is a module or a folder of its own, imports from rows below its
own, so there is no circle and no neighbour. What is imported for type checkers only counts as well: it is knowledge,
too. A package's `__init__` stands in its folder like any other module.

The pictures of ``docs/architecture.md`` are drawn from this table: ``python -m tests.house.layers`` writes them.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import lambda_ric

PACKAGE = Path(lambda_ric.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- rows: python -m tests.house.layers -->", "<!-- end of rows -->"

Rows = list[tuple[str, str]]
"""What a row is for, and the names of its rooms."""

ROWS: dict[str, Rows] = {
    "lambda_ric": [
        ("the command line", "cli/"),
        ("what Lambda takes", "packaging/"),
        ("on this machine", "emulator/ testing httpx_connection debugging"),
        ("public names", "__main__ __init__"),
        ("AWS's runtime kept", "stock/"),
        ("start", "entry"),
        ("many events at once", "managed/"),
        ("the loop, doors", "runtime asgi awslambdaric django_tasks observability wsgi"),
        ("web applications", "web/ synchronous"),
        ("verbs, queues", "current handover overflow/"),
        ("tasks with a policy, durable functions", "durable tasks/"),
        ("one invocation", "serving"),
        ("what follows its answer", "follow_up"),
        ("what it is served with", "environment"),
        ("hooks, the log", "hooks logs"),
        ("after the response, streams", "background/ streaming/"),
        ("the event loop, the process", "event_loop process/"),
        ("threads", "threads"),
        ("Lambda", "client connection context"),
        ("on paper", "protocol payloads forks"),
        ("what went wrong", "failures handlers replies settings"),
        ("base", "errors version limits interrupt spans log_sinks callables"),
    ],
    "lambda_ric.background": [
        ("the drain", "drain"),
        ("what runs it", "workers coroutines orphans"),
        ("the state of each piece", "registry"),
        ("what became of it", "task metrics report summary"),
        ("whose turn it is", "queue"),
        ("one piece of work", "work __init__"),
    ],
    "lambda_ric.managed": [
        ("the main process, a worker", "supervisor service"),
        ("its slots, on the event loop", "plan loop_pollers"),
        ("its slots, in threads", "pollers loop_connection"),
        ("what they share", "pool"),
        ("one invocation among others", "turns"),
        ("one process", "worker loops"),
        ("what they use", "ledger lines watch __init__"),
    ],
    "lambda_ric.cli": [
        ("start", "__main__"),
        ("every command", "__init__"),
        ("about packages", "deploy doctor new"),
        ("commands", "bootstrap build dev invoke"),
        ("elsewhere", "remote signals"),
        ("what is asked for", "options"),
        ("what is shown", "output"),
    ],
    "lambda_ric.emulator": [
        ("public names", "__init__"),
        ("without async", "in_thread"),
        ("who calls", "callers/"),
        ("who gets an environment", "emulator"),
        ("an environment", "environment/"),
        ("its APIs, whose turn it is", "apis/ slots"),
        ("one event", "event/ examples"),
        ("what is run, and how it is spoken to", "function/ http/"),
    ],
    "lambda_ric.emulator.apis": [
        ("every URL", "routes"),
        ("what an environment sees, telemetry", "runtime_side telemetry_api"),
        ("for one event, for many, delivery", "runtime_api managed_runtime_api telemetry_delivery"),
        ("extensions, posts, records", "extensions_api posts telemetry_records"),
        ("parts", "__init__ bandwidth documents extension metadata_api"),
    ],
    "lambda_ric.emulator.callers": [
        ("every URL", "endpoint"),
        ("the Lambda API", "invoke_api control_api"),
        ("what calls by itself", "event_queue event_source stream_source"),
        ("where outcomes go, batches", "destinations batches"),
        ("URLs, the page, queues, streams", "function_url page sqs streams"),
        ("what the page is told, AWS", "feed local_service"),
        ("what HTTP means, requests", "cors http_response invoke_request signatures"),
        ("parts", "__init__ backoff event_stream filters loopback notes outcome snapshot"),
    ],
    "lambda_ric.emulator.environment": [
        ("one event at a time, many at once", "ordinary managed"),
        ("what both have", "environment"),
        ("its processes and their APIs", "sandbox"),
        ("its processes as one, its log", "processes platform_log"),
        ("one process, what all have, its network", "process host network"),
        ("its keeper", "guard"),
        ("parts", "__init__ confinement keeper lines names profiler waiting"),
    ],
    "lambda_ric.emulator.event": [
        ("how it is shown", "observer timeline"),
        ("all that is known of it", "invocation"),
        ("its answer", "delivery"),
        ("parts", "__init__ failure log_line refusals span"),
    ],
    "lambda_ric.emulator.function": [
        ("what a look at it tells", "lookup"),
        ("the function", "function"),
        ("parts", "__init__ changes examples variables"),
    ],
    "lambda_ric.emulator.http": [
        ("the server", "server"),
        ("requests, and whose they are", "parsing origin"),
        ("messages", "__init__ json_text messages"),
    ],
    "lambda_ric.overflow": [
        ("public names", "__init__"),
        ("queues", "lambda_function sqs_queue"),
        ("what they share", "aws_sink"),
        ("AWS", "service"),
        ("signed by whom", "signature"),
        ("credentials", "credentials"),
        ("on the wire", "http_client"),
        ("on paper", "addresses failure"),
    ],
    "lambda_ric.packaging": [
        ("what is told of it", "doctor report sbom"),
        ("the package", "package"),
        ("its parts", "bytecode deployment images interpreter manifest pruning secret_files sources"),
        ("what is needed", "wheels"),
        ("the project, its files", "archive binaries project runtime_files"),
        ("on paper", "new_project platforms tree"),
        ("base", "__init__ errors"),
    ],
    "lambda_ric.process": [
        ("who takes its place", "recycling"),
        ("apart from each other", "__init__ children left_threads log_listeners shutdown_notice snapshot"),
    ],
    "lambda_ric.stock": [
        ("in the runtime", "bootstrap"),
        ("after the answer", "carrier"),
        ("parts", "__init__ extension sink turn wakeups"),
    ],
    "lambda_ric.streaming": [
        ("a stream", "stream"),
        ("parts", "__init__ response writer"),
    ],
    "lambda_ric.tasks": [
        ("a queue's tasks", "consumer"),
        ("those of one invocation", "supervision"),
        ("on their way to a queue", "sending"),
        ("one run", "attempts"),
        ("where from", "sources"),
        ("@task", "policy"),
        ("queues", "failure_record sink"),
        ("on its way", "__init__ envelope"),
    ],
    "lambda_ric.web": [
        ("websockets", "websocket"),
        ("one application", "exchange gateway lifespan"),
        ("what both doors share", "adapter"),
        ("requests", "events/"),
        ("parts", "__init__ head"),
    ],
    "lambda_ric.web.events": [
        ("public names", "__init__"),
        ("requests", "request"),
        ("parts", "fields paths responses"),
    ],
}


@cache
def modules() -> dict[str, Path]:
    """Return the files of the package by the full names of their modules; that of a package ends in `__init__`."""
    files = PACKAGE.rglob("*.py")
    return {".".join(("lambda_ric", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in files}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the full names that *module* imports, whether at its top, in a function or for type checkers."""
    folder = module.split(".")[:-1]
    imported = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            base += [node.module] if node.module else []
            # `from . import protocol` imports a module, `from .protocol import API` a name of one.
            imported |= {".".join([*base, alias.name]) for alias in node.names}
    return frozenset(imported)


@cache
def siblings_of(module: str) -> frozenset[str]:
    """Return the modules of this package that *module* imports from."""
    ours = (name for name in imports_of(module) if name.split(".")[0] == "lambda_ric")
    return frozenset(_module_of(name) for name in ours) - {module}


def _module_of(name: str) -> str:
    if name in modules():
        return name
    return f"{name}.__init__" if f"{name}.__init__" in modules() else _module_of(name.rpartition(".")[0])


@cache
def folders() -> list[str]:
    """Return the folders of the package, each as the start of the names in it."""
    return sorted({module.rpartition(".")[0] for module in modules()})


def rooms_of(folder: str) -> set[str]:
    """Return the names of the modules and folders in *folder*; those of folders end in a slash."""
    return {room_of(module, folder) for module in modules() if module.startswith(f"{folder}.")}


def room_of(module: str, folder: str) -> str:
    """Return the room of *folder* in which *module* is."""
    name, dot, _ = module.removeprefix(f"{folder}.").partition(".")
    return name + ("/" if dot else "")


def arrows_of(folder: str) -> dict[tuple[str, str], str]:
    """Return who imports whom between the rooms of *folder*, each pair with an example."""
    arrows = {}
    for module in modules():
        for sibling in siblings_of(module) if module.startswith(f"{folder}.") else ():
            if sibling.startswith(f"{folder}."):
                arrow = room_of(module, folder), room_of(sibling, folder)
                if arrow[0] != arrow[1]:
                    arrows[arrow] = f"{module} imports {sibling}"
    return arrows


def levels_of(folder: str) -> dict[str, int]:
    """Return the height of each room's row in *folder*."""
    rows = ROWS[folder]
    return {room: len(rows) - place for place, (_, rooms) in enumerate(rows) for room in rooms.split()}


def pictures() -> str:
    """Return the rows of all folders that have more than one room, as the page shows them."""
    return "\n".join(_picture(folder) for folder in ROWS if len(ROWS[folder]) > 1)


def _picture(folder: str) -> str:
    path = folder.replace(".", "/") + "/"
    width = max(len(says) for says, _ in ROWS[folder])
    lines = [f"{says:{width}}  {'   '.join(rooms.split())}".rstrip() for says, rooms in ROWS[folder]]
    return "\n".join([f"`{path}`", "", "```text", *lines, "```", ""])


def page_with_pictures() -> str:
    """Return the page as it has to be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{pictures()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_with_pictures(), encoding="utf-8")
