"""
The extension of docs/external-extension.md, as it stands there, beside AWS's runtimes for Python and for Node.js.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.emulator import Answer, BlockingEmulator, Emulator, Invocation, in_thread
from tests.conftest import CLEAN_ENVIRONMENT, ROOT
from tests.proofs.rie import binary
from tests.proofs.rie.emulator import flags, running
from tests.support import node_ric
from tests.support.ports import free_port
from tests.support.private_mounts import with_mounts
from tests.support.slow_queue import SlowQueue, slow_queue

PAGE = (ROOT / "docs" / "external-extension.md").read_text(encoding="utf-8")
EXTENSION = ROOT / "docs" / "examples" / "extension" / "jobs.py"
RUNTIMES = ("python", "node", "node 3")

# After a job was handed over as on the page, what a handler does besides, by the event's "then".
SCENES = {
    "scenes.py": """
import http.client, os, subprocess, sys, time
import orders

def mail(order):
    connection = http.client.HTTPConnection(os.environ["RECEIPTS_URL"].removeprefix("http://"))
    connection.request("POST", "/", order)
    connection.getresponse().read()

def ask(path, token, body):
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["JOBS_PORT"]))
    connection.request("POST", path, body, {"X-Jobs-Token": orders.TOKEN_FILE.read_text() if token is None else token})
    reply = connection.getresponse()
    return [reply.status, reply.read().decode()]

def handler(event, context):
    then, own = event.get("then"), context.aws_request_id
    if then == "ask":
        return [ask(*request) for request in event["requests"]]
    if then == "start another":
        other = {**os.environ, "JOBS_PORT": event["port"], "JOBS_TOKEN_FILE": event["token"]}
        done = subprocess.run([sys.executable, event["file"]], env=other, capture_output=True, text=True)
        return [done.returncode, done.stderr, os.path.exists(event["token"])]
    if then == "name another":
        orders.tell("/done", request_id=event["other"])
    answer = orders.handler(event, context)
    if then == "say done":
        orders.tell("/done", request_id=own)
    if then == "fail":
        raise ValueError("no such order")
    if then == "hang":
        time.sleep(60)
    if then == "name another":
        mail("the handler ends")
    if then == "hand over late":
        orders.tell("/done", request_id=own)
        mail("the first job has begun")
        orders.tell("/jobs", request_id=own, job="send_receipt", arguments={"order_id": "late"})
    if then == "exit":
        orders.tell("/done", request_id=own)
        mail("the first job has begun")
        os._exit(1)
    return answer
""",
    "scenes.mjs": """
import * as orders from "./orders.mjs";

export const handler = async (event, context) => {
  const answer = await orders.handler(event, context);
  if (event.then === "fail") throw new RangeError("no such order");
  if (event.then === "hang") await new Promise((resolve) => setTimeout(resolve, 60_000));
  return answer;
};
""",
}


class MailService(ThreadingHTTPServer):
    """
    Takes orders, and has *sent* a receipt when it has replied; while it is *closed*, it does not reply to "o-held".

    To "the first job has begun" it replies when another order has come. It refuses "o-refused", and to be a queue.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), _Mail)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.closed = False
        self.changed = threading.Condition()

    def forget(self) -> None:
        """Begin with empty lists; what is held comes to none of them."""
        with self.changed:
            self.asked, self.sent = [], []

    def wait_for(self, order: str) -> None:
        """Wait until a receipt is asked for."""
        with self.changed:
            assert self.changed.wait_for(lambda: order in self.asked, 20)

    def open(self) -> None:
        """Reply to all that is held."""
        with self.changed:
            self.closed = False
            self.changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: whoever asked was interrupted."""


class _Mail(BaseHTTPRequestHandler):
    server: MailService

    def do_POST(self) -> None:
        order = self.rfile.read(int(self.headers["Content-Length"])).decode()
        service = self.server
        with service.changed:
            sent = service.sent
            service.asked.append(order)
            service.changed.notify_all()
            if order == "the first job has begun":
                service.changed.wait_for(lambda: any(asked.startswith("o-") for asked in service.asked), 20)
            if order == "o-held":
                service.changed.wait_for(lambda: not service.closed, 20)
            sent.append(order)
        refused = order == "o-refused" or "X-Amz-Target" in self.headers
        self.send_response(403 if refused else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Stage:
    """A function, its extension, and the two services that they know."""

    def __init__(self, directory: Path, runtime: str, mail: MailService, queue: SlowQueue, **options: Any) -> None:
        self.mail = mail
        self.queue = queue
        self.lines: list[str] = []
        self.port = free_port()
        self.token = directory / "token"
        set_up(directory)
        environment = variables(mail, queue, self.port, self.token)
        self.emulator = Emulator(
            "scenes.handler",
            command=command_of(runtime, "scenes.handler"),
            task_root=directory,
            extensions_dir=EXTENSION.parent,
            memory=1024,
            environment=environment | options.pop("environment", {}),
            on_log=lambda line: self.lines.append(line.text),
            caller={**CLEAN_ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            **{"timeout": 20.0, **options},
        )
        self.served: BlockingEmulator

    @contextmanager
    def on(self) -> Iterator[Stage]:
        """Serve it."""
        with in_thread(self.emulator) as self.served:
            yield self

    def invoke(self, order: str, **event: Any) -> Answer:
        """Have *order* served; return the answer as soon as it is there."""
        self.mail.forget()
        self.queue.accepted.clear()
        self.lines.clear()
        return self.served.invoke({"order_id": order, **event})

    def finish(self, order: str, **event: Any) -> Invocation:
        """Have *order* served, and wait until it is over."""
        return self.served.finished(self.invoke(order, **event))

    def hand_over_late(self, invocation: Invocation) -> None:
        """Hand a job over in the name of *invocation*, which is over, while the environment is not frozen."""
        late = {"request_id": invocation.request_id, "job": "send_receipt", "arguments": {"order_id": "late"}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/jobs", json.dumps(late), {"X-Jobs-Token": self.token.read_text()})
        assert connection.getresponse().status == 202
        connection.close()

    def handed_over(self) -> list[tuple[str, Any, str]]:
        """Return what the queue has: the task, its arguments, and the invocation it is of."""
        return [(body["task"], body["kwargs"], body["origin"]["request_id"]) for body in self.queue.accepted]


def command_of(runtime: str, handler: str) -> list[str]:
    """Return what starts AWS's *runtime* with *handler*."""
    if runtime == "python":
        return [sys.executable, "-m", "awslambdaric", handler]
    return node_ric.command() if runtime == "node" else node_ric.BEFORE.command(handler)


def variables(mail: MailService, queue: SlowQueue, port: int, token: Path) -> dict[str, str]:
    """Return the environment of the function and of the extension."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "JOBS_QUEUE_URL": queue.url,
        "JOBS_PORT": str(port),
        "JOBS_TOKEN_FILE": str(token),
        "RECEIPTS_URL": mail.url,
        "PYTHONPATH": str(ROOT),
    }


def set_up(directory: Path) -> None:
    """Write the functions to *directory*: those of the page, and what uses them."""
    for name, source in {**SCENES, **page_files()}.items():
        (directory / name).write_text(source, encoding="utf-8")


def page_files() -> dict[str, str]:
    """Return the examples of the page under the names that they give themselves."""
    blocks = re.findall(r"^```\w+\n((?:#|//) (\S+)\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return {name: source for source, name in blocks}


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[MailService, SlowQueue]]:
    with MailService() as mail, slow_queue(0) as queue:
        serving = threading.Thread(target=mail.serve_forever, args=(0.01,))
        serving.start()
        yield mail, queue
        mail.open()
        mail.shutdown()
        serving.join()


@pytest.fixture(scope="module", params=RUNTIMES)
def stage(
    request: pytest.FixtureRequest, services: tuple[MailService, SlowQueue], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A function on either runtime, with all the time that it wants."""
    with Stage(tmp_path_factory.mktemp(request.param), request.param, *services).on() as stage:
        yield stage


@pytest.fixture(scope="module")
def python_stage(services: tuple[MailService, SlowQueue], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A function on AWS's runtime for Python."""
    with Stage(tmp_path_factory.mktemp("scenes"), "python", *services).on() as stage:
        yield stage


# When a job is done...


def test_caller_has_the_answer_while_the_job_is_at_work(stage: Stage) -> None:
    """
    And the next event is served when it is done.
    """
    stage.mail.closed = True
    answer = stage.invoke("o-held")
    stage.mail.wait_for("o-held")
    assert json.loads(answer.payload) == {"statusCode": 202}
    assert stage.mail.sent == []
    stage.mail.open()
    invocation = stage.served.finished(answer)

    assert stage.mail.sent == ["o-held"]
    assert next(line for line in stage.lines if line.startswith("job ")).endswith(f"{answer.request_id} succeeded")
    assert invocation.status == "success"
    assert stage.finish("o-18").init_started_at is None
    assert stage.mail.sent == ["o-18"]


def test_job_of_a_handler_that_fails_is_done(stage: Stage) -> None:
    """
    The caller has the error, and the next event is served.
    """
    answer = stage.invoke("o-17", then="fail")
    invocation = stage.served.finished(answer)

    assert json.loads(answer.payload)["errorMessage"] == "no such order"
    assert (invocation.status, stage.mail.sent) == ("error", ["o-17"])
    assert stage.finish("o-18").init_started_at is None
    assert stage.mail.sent == ["o-18"]


def test_job_that_raises_is_told_of_and_not_repeated(python_stage: Stage) -> None:
    """
    The next event is served.
    """
    invocation = python_stage.finish("o-refused")
    (told,) = [line for line in python_stage.lines if line.startswith("job send_receipt")]

    assert f"of {invocation.request_id} failed\rTraceback" in told
    assert "HTTP Error 403" in told
    assert "o-refused" not in told
    assert python_stage.finish("o-18").init_started_at is None
    assert python_stage.mail.asked == ["o-18"]


def test_job_that_comes_after_the_done_token_is_done(python_stage: Stage) -> None:
    """
    The first one has begun by then: the token has been heard.
    """
    python_stage.finish("o-17", then="hand over late")

    assert set(python_stage.mail.asked[:2]) == {"o-17", "the first job has begun"}
    assert python_stage.mail.asked[2:] == ["late"]


def test_done_token_of_another_invocation_begins_nothing(python_stage: Stage) -> None:
    """
    The job begins behind the end of its own.
    """
    before = python_stage.finish("o-16").request_id
    python_stage.finish("o-17", then="name another", other=before)

    assert python_stage.mail.asked == ["the handler ends", "o-17"]


# ...where it goes when it cannot be...


def test_job_at_work_when_the_runtime_ends_goes_to_the_queue(python_stage: Stage) -> None:
    """
    It is interrupted, since the environment has two seconds left; the next one serves.
    """
    python_stage.mail.closed = True
    invocation = python_stage.finish("o-held", then="exit")
    python_stage.mail.open()

    assert invocation.status == "error"
    assert python_stage.handed_over() == [("jobs:send_receipt", {"order_id": "o-held"}, invocation.request_id)]
    assert python_stage.finish("o-18").status == "success"


@pytest.mark.parametrize("runtime", ["python", "node"])
def test_job_of_a_function_that_times_out_goes_to_the_queue(
    runtime: str, services: tuple[MailService, SlowQueue], tmp_path: Path
) -> None:
    """
    It is not begun, for nobody has said that the function is done.
    """
    with Stage(tmp_path, runtime, *services, timeout=1.0).on() as stage:
        invocation = stage.finish("o-17", then="hang")

        assert invocation.status == "timeout"
        assert stage.mail.asked == []
        assert stage.handed_over() == [("jobs:send_receipt", {"order_id": "o-17"}, invocation.request_id)]


def test_job_that_takes_too_long_goes_to_the_queue_and_its_consumer_does_it(
    services: tuple[MailService, SlowQueue], tmp_path: Path
) -> None:
    """
    It is interrupted while there is time for that, so that the environment goes on; the consumer is that of the page.
    """
    with Stage(tmp_path, "python", *services, timeout=2.0).on() as stage:
        stage.mail.closed = True
        invocation = stage.finish("o-held")
        bodies = list(stage.queue.accepted)
        stage.mail.open()

        assert invocation.status == "success"
        assert stage.handed_over() == [("jobs:send_receipt", {"order_id": "o-held"}, invocation.request_id)]
        assert bodies[0]["attempt"] == 2
        assert stage.finish("o-18").init_started_at is None

    stage.mail.forget()
    (tmp_path / "jobs.py").write_text(EXTENSION.read_text(encoding="utf-8"), encoding="utf-8")
    source = "arn:aws:sqs:eu-west-1:123456789012:tasks"
    record = {"messageId": "m", "eventSource": "aws:sqs", "eventSourceARN": source, "body": json.dumps(bodies[0])}
    known = {"LAMBDA_RIC_TASK_SOURCES": source, "RECEIPTS_URL": stage.mail.url, "PYTHONPATH": str(ROOT)}
    with in_thread(Emulator("consumer.handler", task_root=tmp_path, environment=known, timeout=20)) as consumer:
        consumer.finished(consumer.invoke({"Records": [record]}))
    assert stage.mail.sent == ["o-held"]


def test_job_that_waits_when_the_environment_is_retired_goes_to_the_queue(
    services: tuple[MailService, SlowQueue], tmp_path: Path
) -> None:
    """
    It came when its invocation was over, which is seldom: a thread that was left has to have sent it.
    """
    with Stage(tmp_path, "python", *services, freeze=False).on() as stage:
        invocation = stage.finish("o-17")
        stage.hand_over_late(invocation)
        assert stage.token.stat().st_mode & 0o777 == 0o600

    assert stage.handed_over() == [("jobs:send_receipt", {"order_id": "late"}, invocation.request_id)]
    assert not stage.token.exists()


def test_done_token_is_enough_where_there_is_no_telemetry(
    services: tuple[MailService, SlowQueue], tmp_path: Path
) -> None:
    """
    On AWS's own emulator, which has none.
    """
    mail, queue = services
    (stage := tmp_path / "stage").mkdir()
    (task := tmp_path / "task").mkdir()
    set_up(task)
    port = free_port()
    command = [str(binary.path()), *flags(port), *command_of("python", "scenes.handler")]
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_REGION": "eu-west-1",
        **variables(mail, queue, free_port(), tmp_path / "token"),
    }
    mounted = with_mounts({"/opt/extensions": EXTENSION.parent}, stage, command)
    with running(mounted, port=port, environ=environ, directory=task, log_file=tmp_path / "log") as emulator:
        mail.forget()
        answers = [emulator.invoke({"order_id": order, "then": "say done"}).json() for order in ("o-17", "o-18")]

        assert answers == [{"statusCode": 202}] * 2
        assert mail.sent == ["o-17", "o-18"]
        assert "jobs.py: there is no telemetry" in emulator.log


def test_job_that_the_queue_refuses_is_named_as_lost(services: tuple[MailService, SlowQueue], tmp_path: Path) -> None:
    """
    With the reason, and at the end of the environment, for until then it could be done.
    """
    mail, _ = services
    refusing = {"JOBS_QUEUE_URL": f"{mail.url}/123456789012/tasks"}
    with Stage(tmp_path, "python", *services, freeze=False, environment=refusing).on() as stage:
        invocation = stage.finish("o-17")
        stage.hand_over_late(invocation)

    told = [line.partition(invocation.request_id)[2] for line in stage.lines if line.startswith("job ")]
    assert [text.partition(":")[0] for text in told] == [" succeeded", " was not taken by the queue", " is lost"]
    assert "403" in told[1]


# ...and what is refused.


@pytest.mark.parametrize(
    ("path", "token", "body", "status", "text"),
    [
        ("/jobs", "", '{"request_id": "1", "job": "send_receipt"}', 401, "has to know the token"),
        ("/done", "wrong", '{"request_id": "1"}', 401, "has to know the token"),
        ("/jobs", None, '{"request_id": "1", "job": "os.system"}', 404, "no job is called 'os.system'"),
        ("/jobs", None, '{"request_id": "1", "job": ["send_receipt"]}', 404, "there are send_receipt"),
        ("/jobs", None, '{"request_id": "1", "job": "send_receipt"}', 400, "missing a required argument: 'order_id'"),
        ("/jobs", None, '{"request_id": "1", "job": "send_receipt", "arguments": [1]}', 400, "are an object"),
        ("/jobs", None, "import os", 400, "is no JSON"),
        ("/jobs", None, "[" * 100_000, 400, "is no JSON"),
        ("/jobs", None, "[]", 400, "with the invocation's request_id"),
        ("/done", None, '{"request_id": "1\\nforged"}', 400, "with the invocation's request_id"),
        ("/else", None, '{"request_id": "1"}', 404, "there are /jobs and /done"),
    ],
)
def test_request_that_is_none_for_a_known_job_is_refused(
    path: str, token: str | None, body: str, status: int, text: str, python_stage: Stage
) -> None:
    """
    With a reason; nothing that was received is more than data.
    """
    answer = python_stage.invoke("", then="ask", requests=[[path, token, body]])
    python_stage.served.finished(answer)

    ((replied, reason),) = json.loads(answer.payload)
    assert replied == status
    assert text in json.loads(reason)["error"]
    assert python_stage.mail.asked == []


def test_extension_that_is_started_by_the_function_says_that_it_is_too_late(
    python_stage: Stage, tmp_path: Path
) -> None:
    """
    It leaves no token, by which the function would take it for one that is there.
    """
    other = {"port": str(free_port()), "token": str(tmp_path / "token"), "file": str(EXTENSION)}
    answer = python_stage.invoke("", then="start another", **other)
    python_stage.served.finished(answer)

    code, said, token_is_left = json.loads(answer.payload)
    assert (code, token_is_left) == (1, False)
    assert said.startswith("jobs.py: the platform refuses the extension: ")


def test_extension_without_a_queue_does_not_start(services: tuple[MailService, SlowQueue], tmp_path: Path) -> None:
    """
    It says what is missing, so that the deployment fails and not the first hand-over.
    """
    with Stage(tmp_path, "python", *services, environment={"JOBS_QUEUE_URL": ""}).on() as stage:
        invocation = stage.finish("o-17")

    assert invocation.status == "error"
    assert any("cannot start with JOBS_QUEUE_URL" in line for line in stage.lines)
