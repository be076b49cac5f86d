"""One function interrupted at random moments, and what the caller after each interruption gets."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from lambda_ric.emulator import BlockingEmulator, Emulator, in_thread
from tests.conftest import ROOT

from .servers import Servers, postgres_connection

FUNCTION = Path(__file__).parent / "function"
CLIENTS: Mapping[str, str] = {
    "aiohttp": "http",
    "aiomcache": "memcached",
    "aiomysql": "mariadb",
    "aiosqlite": "aiosqlite.db",
    "asyncpg": "postgres",
    "http_client": "http",
    "httpx": "http",
    "httpx_async": "http",
    "pg8000": "postgres",
    "pipe": "",
    "psycopg": "postgres",
    "psycopg_async": "postgres",
    "pymemcache": "memcached",
    "pymysql": "mariadb",
    "redis": "redis",
    "redis_async": "redis",
    "requests": "http",
    "socket": "lines",
    "sqlalchemy": "postgres",
    "sqlalchemy_async": "postgres",
    "sqlite3": "sqlite3.db",
    "streams": "lines",
    "urllib3": "http",
}
"""The server that each talks to, or its file."""

TIMEOUT = 4.0
# Seconds before the interruption at which the exchanges begin, at the most: they take some milliseconds each.
BUSY = 0.1
# Of a machine that is too busy to answer in time.
MOST_ATTEMPTS = 10
COMMANDS: Mapping[str, list[str]] = {
    "lambda_ric": [sys.executable, "-m", "lambda_ric"],
    "awslambdaric": [sys.executable, "-m", "awslambdaric"],
}
# Seconds before the deadline at which they interrupt, or are killed.
INTERRUPTED_AT: Mapping[str, float] = {"lambda_ric": 2.0, "awslambdaric": 0.0}
# MB: with the lesser one a start is taken to last longer than what is left, with the other one not.
MEMORIES = (128, 3008)
TIMED_OUT = ("Function.Timeout", "Sandbox.Timedout")


@dataclass
class Result:
    """What became of one client; the lists name each case."""

    client: str
    interrupted: int = 0
    answered: int = 0
    mixed_up: list[str] = field(default_factory=list)
    """Answers that were another caller's, and transfers that were half done in the end."""
    failed: list[str] = field(default_factory=list)
    """Callers who got an error though nobody interrupted them."""
    kept: int = 0
    """Interrupted interpreters that served another event."""
    replaced: int = 0
    """Those that became a new one, under the same process id."""


@dataclass(frozen=True)
class Answered:
    """By which process, and which interpreter in it."""

    process: int
    interpreter: str


class _Calls:
    """Calls the function as one caller after the other, and judges what each gets."""

    def __init__(self, result: Result) -> None:
        self.emulator: BlockingEmulator | None = None
        self._result = result
        self._callers = 0

    def interrupted(self, busy: float) -> None:
        """Be a caller whose handler runs until it is interrupted."""
        if self._call(busy) is not None:
            self._result.failed.append(f"caller {self._callers} was not interrupted")

    def answered(self) -> Answered:
        """Be a caller who asks until there is an answer; return who gave it."""
        for _ in range(MOST_ATTEMPTS):
            by = self._call(0.0)
            if by is not None:
                return by
        self._result.failed.append(f"there was no answer in {MOST_ATTEMPTS} times {TIMEOUT} s")
        return Answered(0, "none")

    def _call(self, busy: float) -> Answered | None:
        self._callers += 1
        who, result = f"{self._result.client}-{self._callers}", self._result
        assert self.emulator is not None
        answer = self.emulator.invoke({"who": who, "busy": busy})
        self.emulator.finished(answer)
        said = json.loads(answer.payload)
        if answer.function_error is None:
            if said["got"] != f"secret of {who}":
                result.mixed_up.append(f"{who} got {said['got']!r}")
            elif not busy:
                result.answered += 1
            return Answered(said["process"], said["interpreter"])
        if said["errorType"] in TIMED_OUT:
            result.interrupted += bool(busy)
            return None
        result.failed.append(f"{who}: {said['errorType']}: {said['errorMessage']}"[:300])
        return Answered(0, who)


def play(client: str, runtime: str, moments: int, seed: int, running: Servers) -> Result:
    """Interrupt the function over *client* so often, at moments that *seed* decides, and call it after each."""
    result, moment = Result(client), random.Random(f"{seed} {client} {runtime}")
    calls = _Calls(result)
    for memory, times in zip(MEMORIES, (moments - moments // 2, moments // 2), strict=True):
        with in_thread(_emulator(client, runtime, memory, running)) as calls.emulator:
            before = calls.answered()
            for _ in range(times):
                calls.interrupted(moment.uniform(BUSY / 10, BUSY))
                after = calls.answered()
                result.kept += after == before
                result.replaced += after != before and after.process == before.process
                before = after
    result.mixed_up += [f"half of the transfer of {who} is there" for who in _halves(client, running)]
    return result


def _emulator(client: str, runtime: str, memory: int, running: Servers) -> Emulator:
    milliseconds = f"{INTERRUPTED_AT[runtime] * 1000:.0f}"
    environment = {
        **running.variables(),
        "PYTHONPATH": str(ROOT),
        "INTERRUPTED_AT": str(INTERRUPTED_AT[runtime]),
        "LAMBDA_RIC_SOFT_DEADLINE_MS": milliseconds,
    }
    command = [*COMMANDS[runtime], f"over_{client}.handler"]
    return Emulator(
        command[-1], command=command, task_root=FUNCTION, timeout=TIMEOUT, memory=memory, environment=environment
    )


def _halves(client: str, running: Servers) -> list[str]:
    """Return whose bookings do not add up, of *client*."""
    query = f"select who from booking where who like '{client}-%' group by who having sum(cents) <> 0"
    server = CLIENTS[client]
    if server == "postgres":
        with postgres_connection(running.ports[server]) as connection:
            cursor = connection.cursor()
            cursor.execute(query)
            return [who for (who,) in cursor.fetchall()]
    if server == "mariadb":
        with pymysql.connect(host="127.0.0.1", port=running.ports[server], user="shop", database="shop") as maria:
            with maria.cursor() as rows:
                rows.execute(query)
                return [who for (who,) in rows.fetchall()]
    if server.endswith(".db"):
        with closing(sqlite3.connect(running.directory / server)) as file:
            return [who for (who,) in file.execute(query)]
    return []


def play_all(
    clients: Iterable[str], runtime: str, moments: int, seed: int, running: Servers, together: int
) -> dict[str, Future[Result]]:
    """Play with all *clients*, so many *together*: they wait more than they compute."""
    for client in clients:
        running.start(CLIENTS[client])
    pool = ThreadPoolExecutor(together)
    results = {client: pool.submit(play, client, runtime, moments, seed, running) for client in clients}
    pool.shutdown(wait=False)
    return results
