"""
Secrets that were about to be packed: files that hold nothing else, and lines that look like one.

The patterns are those of detect-secrets (Yelp), without its guesses by entropy and names of variables.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from pathspec import GitIgnoreSpec

from .tree import CODE, Tree

_NAMES = """\
.env
.env.*
*.env
.netrc
.npmrc
.pypirc
.git-credentials
.aws/credentials
id_rsa
id_ed25519
id_ecdsa
*.p12
*.pfx
*.jks
*.keystore
*.tfstate
*.tfstate.*
"""
_LARGEST = 5_000_000  # bytes; what people write themselves is smaller
_ALLOWED = re.compile(r"pragma: ?allowlist[ -]secret", re.IGNORECASE)


def find(tree: Tree, allowed: list[str]) -> list[str]:
    """Return what looks like a secret in the user's code, one line each: the place and its kind, never the secret."""
    names = GitIgnoreSpec.from_lines(_NAMES.splitlines())
    exceptions = GitIgnoreSpec.from_lines(allowed)
    found = []
    for path, file in tree.sorted():
        if file.owner != CODE or exceptions.match_file(path):
            continue
        if names.match_file(path):
            found.append(f"{path} (a file for secrets, by its name)")
        elif file.size <= _LARGEST:
            found += [f"{path}:{number} ({kind})" for number, kind in _in_text(file.read())]
    return found


def _in_text(content: bytes) -> list[tuple[int, str]]:
    if b"\0" in content:
        return []
    lines = content.decode(errors="replace").splitlines()
    return [
        (number, kind)
        for number, line in enumerate(lines, 1)
        if len(line) < 4000 and not _ALLOWED.search(line)
        for kind in _kinds(line)
    ]


def _kinds(line: str) -> set[str]:
    return {
        str(detector.secret_type)
        for detector in _detectors()
        for secret in detector.analyze_string(line)
        if "EXAMPLE" not in secret  # AWS's documentation writes its keys so
    }


@cache
def _detectors() -> list[Any]:
    from detect_secrets.plugins import (
        aws,
        azure_storage_key,
        github_token,
        gitlab_token,
        npm,
        openai,
        private_key,
        pypi_token,
        sendgrid,
        slack,
        stripe,
        twilio,
    )  # fmt: skip

    return [
        aws.AWSKeyDetector(), azure_storage_key.AzureStorageKeyDetector(), github_token.GitHubTokenDetector(),
        gitlab_token.GitLabTokenDetector(), npm.NpmDetector(), openai.OpenAIDetector(),
        private_key.PrivateKeyDetector(), pypi_token.PypiTokenDetector(), sendgrid.SendGridDetector(),
        slack.SlackDetector(), stripe.StripeDetector(), twilio.TwilioKeyDetector(),
    ]  # fmt: skip
