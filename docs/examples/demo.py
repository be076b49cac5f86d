"""
What `make demo` runs: the webhook of docs/examples/webhook on the embedded emulator.

A slow mail service, a real HTTP server of this process, takes a second for each
receipt. The webhook's caller does not wait for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

WEBHOOK = Path(__file__).parent / "webhook"


class MailService(BaseHTTPRequestHandler):
    """Takes a second to accept a receipt, and keeps what it accepted."""

    accepted: list[object] = []  # noqa: RUF012

    def do_POST(self) -> None:
        receipt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(1)
        self.accepted.append(receipt)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> int:
    with HTTPServer(("127.0.0.1", 0), MailService) as mail_service:
        threading.Thread(target=mail_service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{mail_service.server_port}/receipts"
        command = ["invoke", "app.handler", "--data-file", "event.json", "--env", f"RECEIPTS_URL={url}"]
        print("$ lambda-ric", *command, flush=True)
        done = subprocess.run([sys.executable, "-m", "lambda_ric.cli", *command], cwd=WEBHOOK, check=False)
        mail_service.shutdown()
    print("the mail service has accepted:", json.dumps(MailService.accepted))
    return done.returncode or len(MailService.accepted) != 1


if __name__ == "__main__":
    sys.exit(main())
