"""
Where the credentials come from: the environment, the container endpoint, a profile by way of botocore.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lambda_ric.overflow import sqs
from lambda_ric.overflow.credentials import CredentialChain
from lambda_ric.overflow.failure import ServiceError
from tests.support.aws_service import SECRET, TOKEN, envelopes, set_environment
from tests.support.fakes import FakeRuntimeAPI, Request, reply


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_environment(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for name in ("RELATIVE_URI", "FULL_URI"):
        monkeypatch.delenv(f"AWS_CONTAINER_CREDENTIALS_{name}", raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


def document(key: str = "FROM-ENDPOINT", lasting: float | None = 3600.0) -> dict[str, Any]:
    """Return what an endpoint answers, with credentials that last so many seconds."""
    given = {"AccessKeyId": key, "SecretAccessKey": SECRET, "Token": TOKEN}
    if lasting is not None:
        given["Expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lasting))
    return given


class Endpoint(FakeRuntimeAPI):
    """A container endpoint whose answers are those of *answers*; the last one is repeated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | bytes) -> None:
        self._answers = list(answers)
        super().__init__(intercept=self._answer_with)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{self.address}/2021-04-23/credentials")

    def _answer_with(self, request: Request) -> bytes:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer if isinstance(answer, bytes) else reply(200, json.dumps(answer).encode(), Connection="close")


def reason_of(find: Callable[[], object]) -> str:
    """Return what the ServiceError says that *find* raises."""
    with pytest.raises(ServiceError) as caught:
        find()
    return str(caught.value)


def test_environment_comes_first_and_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes it, a test or a reloading server, is heard."""
    chain = CredentialChain()
    with Endpoint(monkeypatch, document()):
        for key in "FIRST", "SECOND":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            assert (chain.current(5).key_id, chain.current(5).token) == (key, None)


def test_key_without_its_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them is a mistake, and not a reason to look elsewhere."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")

    assert reason_of(lambda: CredentialChain().current(5)) == (
        "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"
    )


def test_endpoint_of_the_container_is_asked_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a function restored from a snapshot has its credentials; never by way of a proxy."""
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the container")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Endpoint(monkeypatch, document()) as endpoint:
        found = CredentialChain().current(5)

    assert (found.key_id, found.secret, found.token) == ("FROM-ENDPOINT", SECRET, TOKEN)
    (request,) = endpoint.requests
    assert (request.method, request.path) == ("GET", "/2021-04-23/credentials")
    assert request.headers["authorization"] == "of the container"


def test_token_in_a_file_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is rotated, and comes before the one of the environment."""
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the environment")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    chain = CredentialChain()
    with Endpoint(monkeypatch, document(lasting=60)) as endpoint:
        for token in "first", "second":
            (tmp_path / "token").write_text(f"{token}\n")
            chain.current(5)

    assert [request.headers["authorization"] for request in endpoint.requests] == ["first", "second"]


def test_credentials_are_kept_until_shortly_before_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then new ones are fetched: a snapshot is restored hours later."""
    chain = CredentialChain()
    with Endpoint(monkeypatch, document("OLD", 200), document("NEW", 3600)) as endpoint:
        found = [chain.current(5).key_id for _ in range(3)]

    assert found == ["OLD", "NEW", "NEW"]
    assert len(endpoint.requests) == 2


def test_credentials_that_are_still_valid_outlive_an_endpoint_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not, do not."""
    chain = CredentialChain()
    with Endpoint(monkeypatch, document("OLD", 200), reply(500, b"", Connection="close")):
        found = [chain.current(5).key_id for _ in range(2)]
    expired = CredentialChain()
    with Endpoint(monkeypatch, document("OLD", -1), reply(500, b"", Connection="close")):
        expired.current(5)
        reason = reason_of(lambda: expired.current(5))

    assert found == ["OLD", "OLD"]
    assert reason == "the endpoint of the container's credentials answered with status 500"


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"AccessKeyId": "A"}', b"[" * 100_000, json.dumps(document() | {"Expiration": 1})],
)
def test_answer_without_credentials_is_the_reason(answer: bytes | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of it is quoted."""
    body = answer.encode() if isinstance(answer, str) else answer
    with Endpoint(monkeypatch, reply(200, body, Connection="close")):
        reason = reason_of(lambda: CredentialChain().current(5))

    assert reason == "the endpoint of the container's credentials answered with no credentials"


@pytest.mark.parametrize(
    "uri",
    ["http://example.com/", "ftp://127.0.0.1/", "http://me@127.0.0.1/", "http://127.0.0.1:port/", "nonsense"],
)
def test_address_that_is_not_the_containers_own_is_not_asked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token would go there: only TLS and a container's own addresses are trusted with it."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)

    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither" in reason_of(lambda: CredentialChain().current(5))


def test_file_of_the_token_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By its variable; what is in the variable is not quoted."""
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "none"))
    with Endpoint(monkeypatch, document()) as endpoint:
        reason = reason_of(lambda: CredentialChain().current(5))

    assert reason == "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: FileNotFoundError"
    assert endpoint.requests == []


def test_profile_is_found_by_botocore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a developer's machine; in Lambda it is never loaded."""
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id = FROM-PROFILE\naws_secret_access_key = secret\n", encoding="utf-8"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "work")

    assert CredentialChain().current(5).key_id == "FROM-PROFILE"


def test_missing_credentials_are_the_reason_and_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With where they come from, in Lambda and on one's own machine."""
    with FakeRuntimeAPI() as service, closing(sqs(f"http://{service.address}/1/tasks")) as sink:
        sink.prepare()
        ((_, reason),) = sink.send(envelopes(), 20)

    assert reason == (
        "there are no AWS credentials: Lambda sets those of the function's role; on this machine, give lambda-ric "
        "some: --env AWS_ACCESS_KEY_ID=test --env AWS_SECRET_ACCESS_KEY=test, or real ones"
    )
    assert service.requests == []


def test_missing_botocore_is_named_where_it_might_find_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no dependency: only profiles of one's own machine need it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "botocore", None)

    assert reason_of(lambda: CredentialChain().current(5)).endswith(
        "for a profile of this machine, pip install botocore"
    )
