#!/usr/bin/env python3
"""
An external extension that does a function's background work, whatever runtime the function has.

The function hands jobs over as JSON, on loopback. They are done when the runtime is done with the invocation, and the
next event is asked for when they are done. What time does not suffice for goes to an SQS queue. See
docs/external-extension.md.
"""

from __future__ import annotations

import hmac
import http.client
import inspect
import json
import os
import re
import secrets
import signal
import socket
import socketserver
import sys
import threading
import time
import traceback
import urllib.request
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path.append("/opt/python")  # where a layer has packages, also on a runtime that is none of Python's

from lambda_ric.overflow import Envelope, sqs
from lambda_ric.settings import Settings

# The jobs: put yours here. An argument is what JSON can carry; a job may be done twice.


def send_receipt(order_id: str) -> None:
    """Have the mail service send the receipt of an order."""
    request = urllib.request.Request(os.environ["RECEIPTS_URL"], order_id.encode())
    with urllib.request.urlopen(request, timeout=30):
        pass


JOBS = {function.__name__: function for function in (send_receipt,)}

# The extension.

NAME = Path(sys.argv[0]).name
PORT = int(os.environ.get("JOBS_PORT", "8127"))
TOKEN_FILE = Path(os.environ.get("JOBS_TOKEN_FILE", "/tmp/jobs.token"))
TOKEN_HEADER = "X-Jobs-Token"

HANDING_OVER = 1.0
"""Seconds before the deadline of an invocation at which a job is interrupted, and what is left goes to the queue."""

MOST_JOBS = 1000
MOST_BYTES = 1024 * 1024

# How far an invocation is. The platform tells of its end; a function, that it has nothing more to do, which is all that
# is known where the platform has no telemetry.
DONE, OVER, RESET = "done", "over", "reset"
# With these the platform ends the environment.
RESETS = ("Runtime.ExitError", "Runtime.OutOfMemory", "Sandbox.", "Extension.")


class InterruptedJob(BaseException):
    """There is no time left for a job; no `except Exception` of its own is to keep it from ending."""


class Work:
    """The jobs that were accepted and are not done, and what is known of the invocations."""

    def __init__(self, queue):
        self.platform_tells = False
        self._queue = queue
        self._jobs = deque()
        self._states = {}
        self._current = None
        self._in_job = False
        self._changed = threading.Condition()
        signal.signal(signal.SIGALRM, self._interrupt)

    # Of the threads that listen...

    def accept(self, job):
        """
        Take a job on; return whether there is room for it.

        Raises:
            TypeError: An argument has no JSON form.
            ValueError: The queue could not take it, for its size say.
        """
        self._queue.check(job)
        with self._changed:
            if len(self._jobs) >= MOST_JOBS:
                return False
            self._jobs.append(job)
            self._changed.notify_all()
        return True

    def note(self, request_id, state):
        """Note how far an invocation is; it may be one that this extension has not been told of yet."""
        with self._changed:
            if state != DONE or request_id not in self._states:
                self._states[request_id] = state
            self._changed.notify_all()
            if state == RESET and request_id == self._current:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    # ...and of the main thread, which signals can interrupt.

    def follow(self, request_id, deadline):
        """Do the jobs when the invocation is done; return when it is over and none is left, or time is up."""
        with self._changed:
            self._current = request_id
            self._changed.wait_for(lambda: request_id in self._states, deadline - time.time())
        end = deadline - HANDING_OVER
        while (job := self._next(request_id, end, deadline)) is not None:
            self._do(job, end)
        with self._changed:
            ends_well = self._states.get(request_id) in (DONE, OVER)
            self._current = None
            # What comes late says nothing about the invocation after this one. It has another id; if it is repeated
            # under the same one, the jobs only begin early.
            self._states.clear()
        if ends_well and time.time() >= end:
            self.hand_over(deadline)

    def hand_over(self, until):
        """Send what is left to the queue; what that does not take stays."""
        with self._changed:
            jobs = list(self._jobs)
            self._jobs.clear()
        if not jobs:
            return
        refused = self._queue.send(jobs, max(0.0, until - time.time() - 0.1))
        reasons = {job.id: reason for job, reason in refused}
        for job in jobs:
            say(job, f"was not taken by the queue: {reasons[job.id]}" if job.id in reasons else "was handed over")
        with self._changed:
            self._jobs.extendleft(job for job, _ in reversed(refused))

    def tell_losses(self):
        """Name what ends with the environment."""
        for job in self._jobs:
            say(job, "is lost")

    def _next(self, request_id, end, deadline):
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_over(request_id), deadline - time.time())
            state = self._states.get(request_id)
            if self._jobs and state in (DONE, OVER) and time.time() < end:
                return self._jobs.popleft()
        return None

    def _is_over(self, request_id):
        state = self._states.get(request_id)
        return state in (OVER, RESET) or (state == DONE and not self.platform_tells)

    def _do(self, job, end):
        signal.setitimer(signal.ITIMER_REAL, max(0.001, end - time.time()))
        try:
            self._in_job = True
            if self._states.get(self._current) == RESET:
                raise InterruptedJob
            JOBS[job.task.partition(":")[2]](**job.kwargs)
            self._in_job = False
            say(job, "succeeded")
        except InterruptedJob:
            say(job, "was interrupted")
            job.attempt += 1
            with self._changed:
                self._jobs.appendleft(job)
        except BaseException:
            say(job, f"failed\n{traceback.format_exc()}".replace("\n", "\r"))
        finally:
            self._in_job = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _interrupt(self, number, frame):
        if self._in_job:
            self._in_job = False
            raise InterruptedJob


def say(job, outcome):
    """Write to the log what became of a job, without its arguments."""
    print(f"job {job.task.partition(':')[2]} {job.id} of {job.origin['request_id']} {outcome}", flush=True)


# Who asks, and for what.


class RefusedError(Exception):
    """A request cannot be served; the text is the reply."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Server(socketserver.ThreadingTCPServer):
    """Serves requests for *work*, each in a thread; only those that know the *secret*."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address, handler, work, secret):
        super().__init__(address, handler)
        self.work = work
        self.secret = secret.encode()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Do nothing: whoever asked has gone."""


class Handler(BaseHTTPRequestHandler):
    """Replies with JSON."""

    timeout = 5

    def do_POST(self):
        """Serve one request."""
        try:
            if not hmac.compare_digest(self.secret_given().encode(), self.server.secret):
                raise RefusedError(401, "whoever asks has to know the token")
            status, reply = self.serve(self._document())
        except RefusedError as refused:
            status, reply = refused.status, {"error": str(refused)}
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _document(self):
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise RefusedError(411, "a request needs a Content-Length")
        if int(length) > MOST_BYTES:
            raise RefusedError(413, f"a request has at most {MOST_BYTES} bytes")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "the body is no JSON") from error

    def log_message(self, *arguments):
        """Write nothing."""


class FromFunction(Handler):
    """What the function asks for: a job, or that its invocation is taken as done."""

    def secret_given(self):
        """Return the token of the request."""
        return self.headers.get(TOKEN_HEADER, "")

    def serve(self, document):
        """Return the status and the reply."""
        request_id = document.get("request_id") if isinstance(document, dict) else None
        if not isinstance(request_id, str) or not re.fullmatch(r"[\w-]{1,100}", request_id, re.ASCII):
            raise RefusedError(400, "a request is an object, with the invocation's request_id")
        if self.path == "/done":
            self.server.work.note(request_id, DONE)
            return 202, {}
        if self.path == "/jobs":
            return 202, {"id": self._accept(document.get("job"), document.get("arguments", {}), request_id)}
        raise RefusedError(404, "there are /jobs and /done")

    def _accept(self, name, arguments, request_id):
        if not isinstance(name, str) or name not in JOBS:
            raise RefusedError(404, f"no job is called {name!r}; there are {', '.join(JOBS)}")
        if not isinstance(arguments, dict):
            raise RefusedError(400, "the arguments are an object")
        try:
            inspect.signature(JOBS[name]).bind(**arguments)
        except TypeError as error:
            raise RefusedError(400, f"{name} cannot be called so: {error}") from error
        keys = Settings(os.environ).task_keys
        origin = {"request_id": request_id}
        job = Envelope(f"jobs:{name}", [], arguments, str(uuid.uuid4()), origin=origin, key=next(iter(keys), None))
        try:
            accepted = self.server.work.accept(job)
        except (TypeError, ValueError) as error:
            raise RefusedError(400, str(error)) from error
        if not accepted:
            raise RefusedError(503, f"{MOST_JOBS} jobs wait already")
        return job.id


class FromPlatform(Handler):
    """What the Telemetry API delivers, to a path that nobody else knows."""

    def secret_given(self):
        """Return the path, without its slash."""
        return self.path[1:]

    def serve(self, document):
        """Note which invocations the runtime is done with, in whatever way."""
        for event in document:
            if event["type"] == "platform.runtimeDone":
                record = event["record"]
                ends = record.get("status") in ("timeout", "failure") or record.get("errorType", "").startswith(RESETS)
                self.server.work.note(record["requestId"], RESET if ends else OVER)
        return 200, {}


# The Extensions API.


class Extension:
    """This extension, as the platform knows it."""

    def __init__(self):
        self._api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        self._identity = {}

    def register(self):
        """
        Have the platform tell of invocations and of the end.

        Exits if it does not, which the log says: the function is one of a managed instance, or has begun already.
        """
        events = {"events": ["INVOKE", "SHUTDOWN"]}
        status, headers, body = self._call("POST", "register", events, {"Lambda-Extension-Name": NAME})
        if status != 200:
            sys.exit(f"{NAME}: the platform refuses the extension: {body.decode(errors='replace').strip()}")
        self._identity = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}

    def subscribe(self, url):
        """Have the platform tell when the runtime is done; return whether it will."""
        subscription = {
            "schemaVersion": "2022-12-13",
            "types": ["platform"],
            "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": url},
        }
        status, _, body = self._call("PUT", "/2022-07-01/telemetry", subscription, {})
        if status != 200:
            print(f"{NAME}: there is no telemetry, only what the function says counts: {body.decode()}", flush=True)
        return status == 200

    def next_event(self):
        """Say that everything is done, and wait."""
        return json.loads(self._call("GET", "event/next", None, {})[2])

    def _call(self, method, path, document, headers):
        if not path.startswith("/"):
            path = f"/2020-01-01/extension/{path}"
        body = None if document is None else json.dumps(document)
        self._api.request(method, path, body, {"Content-Type": "application/json", **self._identity, **headers})
        reply = self._api.getresponse()
        return reply.status, reply.headers, reply.read()


def write_token(token):
    """Put the token into its file, which only this user may read."""
    new = f"{TOKEN_FILE}.{secrets.token_hex(8)}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    os.replace(new, TOKEN_FILE)


def inside_address():
    """Return where the platform reaches a process of this environment; on Lambda it is not loopback."""
    try:
        return socket.gethostbyname("sandbox.localdomain")
    except OSError:
        return "127.0.0.1"


def main():
    """Serve one environment to its end."""
    try:
        work = Work(sqs(os.environ.get("JOBS_QUEUE_URL", "")))
        token, secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        telemetry = Server((inside_address(), 0), FromPlatform, work, secret)
        # Before it registers: the runtime is started after that, and may ask at once.
        Server(("127.0.0.1", PORT), FromFunction, work, token)
        write_token(token)
    except Exception as error:
        sys.exit(f"{NAME}: cannot start with JOBS_QUEUE_URL, JOBS_PORT and JOBS_TOKEN_FILE as they are: {error}")
    try:
        extension = Extension()
        extension.register()
        url = f"http://sandbox.localdomain:{telemetry.server_address[1]}/{secret}"
        work.platform_tells = extension.subscribe(url)
        while (event := extension.next_event())["eventType"] != "SHUTDOWN":
            work.follow(event["requestId"], event["deadlineMs"] / 1000)
        work.hand_over(event["deadlineMs"] / 1000)
        work.tell_losses()
    finally:
        TOKEN_FILE.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
