"""
What the first hand-over to SQS costs a process: our own client, beside botocore and httpx.

Each starts anew, has the queue's sink or its like made, and sends one message over TLS to a server on loopback, which
trusts nobody more than the certificates of this machine. CPU time and peak memory are those of the first message alone.

    python -m tests.benchmarks.hand_over [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.support.tls import certificate

_MEASURED = """
import json, sys, time

def peak():
    with open("/proc/self/status") as status:  # getrusage knows the parent's memory as well
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024

url = sys.argv[1] + "/123456789012/tasks"
{made}
cpu, memory = time.process_time(), peak()
{first}
print(json.dumps({{"cpu_ms": (time.process_time() - cpu) * 1000, "memory_mb": peak() - memory}}))
"""

OURS = _MEASURED.format(
    made="""
from lambda_ric.overflow import Envelope, sqs
sink = sqs(url, region="eu-west-1")
""",
    first="""
left = sink.send([Envelope("app:task", ["o-17"], {}, "id-1")], 30)
assert left == [], left
""",
)
BOTOCORE_AND_HTTPX = _MEASURED.format(
    made="""
from lambda_ric.overflow import Envelope
endpoint = sys.argv[1]
""",
    first="""
import os, ssl
import botocore.auth, botocore.awsrequest, httpx
from botocore.session import Session
credentials = Session().get_credentials().get_frozen_credentials()
client = httpx.Client(verify=ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]))
envelope = Envelope("app:task", ["o-17"], {}, "id-1")
body = json.dumps({"QueueUrl": url, "Entries": [{"Id": "0", "MessageBody": envelope.encode()}]}).encode()
headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
request = botocore.awsrequest.AWSRequest("POST", endpoint + "/", headers=headers, data=body)
botocore.auth.SigV4Auth(credentials, "sqs", "eu-west-1").add_auth(request)
answer = client.post(endpoint + "/", headers=dict(request.headers.items()), content=body)
assert answer.json()["Successful"], answer
""",
)

_ENVIRON = {
    "PATH": os.environ.get("PATH", ""),
    "AWS_ACCESS_KEY_ID": "AKID",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_REGION": "eu-west-1",
}
_ANSWER = json.dumps({"Successful": [{"Id": "0", "MessageId": "m"}], "Failed": []}).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hand_over", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="processes of each kind, in turns (9)")
    rounds = parser.parse_args(arguments).rounds
    figures: dict[str, list[dict[str, float]]] = {"botocore + httpx": [], "lambda_ric": []}
    with server() as (url, bundle):
        for _ in range(rounds):
            figures["botocore + httpx"].append(measure(BOTOCORE_AND_HTTPX, url, bundle))
            figures["lambda_ric"].append(measure(OURS, url, bundle))
    print(as_markdown(figures))


def as_markdown(figures: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians of *figures* and their ratios to the first kind."""
    medians = {
        kind: [median(figure[unit] for figure in measured) for unit in ("cpu_ms", "memory_mb")]
        for kind, measured in figures.items()
    }
    floor = next(iter(medians.values()))
    lines = [
        f"| {kind} | {cpu:.0f} ms ({cpu / floor[0]:.2f}) | {memory:.1f} MB ({memory / floor[1]:.2f}) |"
        for kind, (cpu, memory) in medians.items()
    ]
    return "\n".join(["| first hand-over | CPU | peak memory |", "|---|--:|--:|", *lines])


def measure(source: str, url: str, bundle: str) -> dict[str, float]:
    """Return what *source* prints of its first message, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", source, url],
        env={**_ENVIRON, "AWS_CA_BUNDLE": bundle},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Accept messages over TLS; yield the server's URL, and the certificates to trust: its own and this machine's."""
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        trusted, context = certificate(Path(directory))
        known = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        bundle = Path(directory) / "bundle.pem"
        bundle.write_bytes(trusted.read_bytes() + Path(known).read_bytes())
        threading.Thread(target=_accept, args=(listener, context), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", str(bundle)


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, context), daemon=True).start()


def _serve(connection: socket.socket, context: ssl.SSLContext) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(_ANSWER)}\r\n\r\n"
    try:
        with context.wrap_socket(connection, server_side=True) as secured, secured.makefile("rb") as stream:
            while stream.readline():
                length = 0
                while line := stream.readline().strip().lower():
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                stream.read(length)
                secured.sendall(head.encode() + _ANSWER)
    except OSError:
        pass  # it has what it wanted


if __name__ == "__main__":
    main()
