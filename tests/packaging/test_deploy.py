"""
`lambda-ric deploy`, against moto's server.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_ric.packaging.deployment import Calls, Wanted
from lambda_ric.packaging.deployment import deploy as deploy_function
from tests.packaging.conftest import Ran, Run
from tests.support.callers import sqs_server
from tests.support.projects import PYTHON, write_project


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """moto, whose functions answer without a container."""
    with sqs_server() as url:
        settings = json.dumps({"lambda": {"use_docker": False}}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/config", settings, method="POST")).close()
        yield url


@pytest.fixture
def deploy(run: Run, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Deploy the project in the current folder to an account that has nothing yet."""
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("REGION", "eu-west-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.chdir(
        write_project(
            tmp_path / "shop",
            {
                "app.py": "def handler(event, context): ...",
                "pyproject.toml": '[tool.lambda-ric]\nhandler = "app.handler"\n',
            },
        )
    )

    def deploy(*options: str) -> Ran:
        return run("deploy", *options)

    return deploy


def function(server: str, name: str = "shop") -> dict[str, Any]:
    """Return the configuration of the function as it is there."""
    client = boto3.client("lambda", endpoint_url=server)
    configuration: dict[str, Any] = client.get_function_configuration(FunctionName=name)
    client.close()
    return configuration


def test_new_function_has_what_it_needs(deploy: Run, server: str) -> None:
    """The runtime, the handler, the wrapper, a timeout that leaves time for background work, and a role."""
    ended = deploy("--arch", "arm64", "--env", "TABLE=orders")

    made = function(server)
    assert ended.exit_code == 0, ended
    assert (made["Runtime"], made["Handler"], made["Architectures"]) == (f"python{PYTHON}", "app.handler", ["arm64"])
    assert (made["Timeout"], made["MemorySize"], made["Role"].rpartition("/")[2]) == (30, 512, "shop-lambda")
    assert made["Environment"]["Variables"] == {
        "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap", "TABLE": "orders",
    }  # fmt: skip


def test_role_may_write_the_log_of_its_function_only(deploy: Run, server: str) -> None:
    """The least rights."""
    deploy()

    iam = boto3.client("iam", endpoint_url=server)
    policy = iam.get_role_policy(RoleName="shop-lambda", PolicyName="log")["PolicyDocument"]
    attached = iam.list_attached_role_policies(RoleName="shop-lambda")["AttachedPolicies"]
    iam.close()

    assert attached == []
    assert {statement["Resource"].rstrip(":*").rpartition(":")[2] for statement in policy["Statement"]} == {
        "/aws/lambda/shop"
    }


def test_function_that_is_there_keeps_what_nobody_asks_for(deploy: Run, server: str) -> None:
    """Its timeout, its memory and its variables; the code is new."""
    deploy("--timeout", "60", "--memory", "1024", "--env", "TABLE=orders")
    before = function(server)
    Path("app.py").write_text("def handler(event, context): return 17")

    ended = deploy("--env", "QUEUE=tasks")

    after = function(server)
    assert ended.exit_code == 0, ended
    assert "updated the code of shop" in ended.stdout
    assert (after["Timeout"], after["MemorySize"], after["Role"]) == (60, 1024, before["Role"])
    assert {"TABLE": "orders", "QUEUE": "tasks"}.items() <= after["Environment"]["Variables"].items()
    assert after["CodeSha256"] != before["CodeSha256"]


def test_wrapper_of_somebody_else_is_started_by_ours(deploy: Run, server: str) -> None:
    """Lambda has one slot."""
    deploy("--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/otel-instrument")

    variables = function(server)["Environment"]["Variables"]

    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/bootstrap"
    assert variables["LAMBDA_RIC_EXEC_WRAPPER"] == "/opt/otel-instrument"


def test_url_streams_when_the_function_does(deploy: Run, server: str) -> None:
    """The two sides have to agree: the URL's invoke mode, and the runtime's."""
    ended = deploy("--url", "iam", "--invoke-mode", "response_stream")

    assert ended.exit_code == 0, ended
    client = boto3.client("lambda", endpoint_url=server)
    url = client.get_function_url_config(FunctionName="shop")
    client.close()
    assert (url["AuthType"], url["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")
    assert function(server)["Environment"]["Variables"]["LAMBDA_RIC_INVOKE_MODE"] == "response_stream"
    assert url["FunctionUrl"] in ended.stdout


def test_public_url_has_both_rights_and_can_go_again(deploy: Run, server: str) -> None:
    """One alone is refused since October 2025."""
    opened = deploy("--url", "public")
    again = deploy("--url", "public")
    closed = deploy("--url", "none")

    assert (opened.exit_code, again.exit_code, closed.exit_code) == (0, 0, 0), (opened, again, closed)
    assert "let everybody call lambda:InvokeFunctionUrl" in opened.stdout
    assert "let everybody call lambda:InvokeFunction\n" in opened.stdout
    assert "removed the URL" in closed.stdout


def test_function_is_invoked_once_on_request(deploy: Run) -> None:
    """So that one sees that it runs."""
    ended = deploy("--invoke", '{"id": "o-17"}')

    assert ended.exit_code == 0, ended
    assert ended.stdout.endswith('{"id": "o-17"}\n')  # moto answers with the event


def test_dry_run_shows_the_calls_and_changes_nothing(deploy: Run, server: str) -> None:
    """Neither the zip nor the values of variables are shown."""
    ended = deploy("--dry-run", "--url", "iam", "--env", "TOKEN=s3cret")

    calls = [line.split(" ", 2)[:2] for line in ended.stdout.splitlines()[1:]]
    assert calls == [
        ["iam", "create_role"],
        ["iam", "put_role_policy"],
        ["lambda", "create_function"],
        ["lambda", "create_function_url_config"],
    ]
    assert "s3cret" not in ended.stdout
    assert '"TOKEN": "..."' in ended.stdout
    with pytest.raises(Exception, match="ResourceNotFound"):
        function(server)


def test_failure_says_what_was_done_until_then_and_what_was_not(deploy: Run) -> None:
    """Here the role; the function is refused."""
    ended = deploy("--layer", "arn:aws:lambda:eu-west-1:123456789012:layer:none:1", "--url", "iam")

    assert ended.exit_code == 1
    assert "Done until then: created the role shop-lambda; let shop-lambda write the function's log." in ended.stderr
    assert "Not done: the function, the wait until it is active, the URL." in ended.stderr


def test_failure_of_an_update_says_what_was_not_done(deploy: Run) -> None:
    """Nothing of a function changes when its zip cannot be put into the bucket."""
    deploy()

    ended = deploy("--s3-bucket", "no-such-bucket")

    assert ended.exit_code == 1
    assert "Done until then: nothing. Not done: the zip in no-such-bucket, the code, the configuration," in ended.stderr


def test_deployment_that_is_stopped_says_the_same(deploy: Run, server: str) -> None:
    """Ctrl-C is no reason to leave it unsaid."""
    run = deploy("--dry-run")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if text.startswith("created the role"):
            raise KeyboardInterrupt

    wanted = Wanted("shop", Path("dist/function.zip"), f"python{PYTHON}", "app.handler", "x86_64")
    with pytest.raises(KeyboardInterrupt):
        deploy_function(wanted, Calls(say, dry=False))

    assert run.exit_code == 0
    assert said[-1].startswith(
        "Done until then: created the role shop-lambda. Not done: the function's role, the function, the wait"
    )


def test_role_that_was_left_half_done_gets_its_rights(deploy: Run, server: str) -> None:
    """The same command goes on from where it was interrupted."""
    iam = boto3.client("iam", endpoint_url=server)
    iam.create_role(RoleName="shop-lambda", AssumeRolePolicyDocument="{}")

    ended = deploy()

    assert ended.exit_code == 0, ended
    assert iam.list_role_policies(RoleName="shop-lambda")["PolicyNames"] == ["log"]
    iam.close()


def test_zip_goes_through_a_bucket_on_request(deploy: Run, server: str) -> None:
    """As one above 50 MB has to."""
    s3 = boto3.client("s3", endpoint_url=server)
    s3.create_bucket(Bucket="packages", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    ended = deploy("--s3-bucket", "packages")

    packed = s3.get_object(Bucket="packages", Key="shop/function.zip")["Body"].read()
    s3.close()
    assert ended.exit_code == 0, ended
    assert packed == Path("dist/function.zip").read_bytes()
    assert function(server)["CodeSize"] == len(packed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeout", "0"], "--timeout 0: Lambda takes 1 to 1800 seconds"),
        (["--timeout", "1801"], "--timeout 1801: Lambda takes 1 to 1800 seconds"),
        (["--memory", "127"], "--memory 127: Lambda takes 128 to 10240 MB"),
        (["--memory", "10241"], "--memory 10241: Lambda takes 128 to 10240 MB"),
        (["--env", "AWS_REGION=eu-west-1"], "--env AWS_REGION: Lambda sets it itself"),
        (["--env", "AWS_SECRET_ACCESS_KEY=secret"], "--env AWS_SECRET_ACCESS_KEY: Lambda sets it itself"),
        (["--target", "layer"], "deploy makes a function of a zip, and --target layer is none"),
        (["--invoke", "{"], "--invoke is not JSON"),
    ],
)
def test_options_that_make_no_function_are_refused(deploy: Run, options: list[str], said: str) -> None:
    """Before anything is built."""
    ended = deploy(*options)

    assert ended.exit_code == 2
    assert said in ended.stderr
    assert not Path("dist").exists()


@pytest.mark.parametrize("name", ["my shop", "my.shop", "shop:live", "s" * 65, "schöp"])
def test_name_that_lambda_does_not_take_is_refused_before_anything_is_made(deploy: Run, name: str) -> None:
    """A folder's or a project's name may have what a function's may not; also where the calls are only shown."""
    ended = deploy(name, "--dry-run")

    assert ended.exit_code == 2
    assert f"{name!r} cannot be the name of a function" in ended.stderr
    assert ended.stdout == ""


def test_long_name_of_a_function_has_a_role_that_iam_takes(deploy: Run, server: str) -> None:
    """Both may have 64 characters, and a role's is made of the function's: two that begin alike have two roles."""
    names = ["s" * 63 + letter for letter in "ab"]
    ended = [deploy(name) for name in names]

    roles = {function(server, name)["Role"].rpartition("/")[2] for name in names}
    assert [each.exit_code for each in ended] == [0, 0], ended
    assert len(roles) == 2
    assert {len(role) for role in roles} == {64}


def test_region_has_to_be_known(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 guesses none."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    ended = deploy()

    assert ended.exit_code == 1
    assert "no region is named" in ended.stderr


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_is_known_by_either_variable(deploy: Run, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """boto3 alone does not know the first, which the other SDKs read."""
    for name in {"AWS_REGION", "AWS_DEFAULT_REGION"} - {variable}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    assert deploy("--invoke", "{}").exit_code == 0
