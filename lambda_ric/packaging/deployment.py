"""
A package becomes a function: created or updated, with its variables, its role and its URL, call by call.

Every call that changes something goes through `Calls`, which can show it instead, and which knows what was done when
one of them fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from .errors import PackagingError
from .platforms import MAX_UPLOAD_BYTES

WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
BOOTSTRAP = "/var/task/bootstrap"
_ROLE_SECONDS = 60.0
"""A new role is not known everywhere at once; Lambda refuses it until it is."""

_MAX_NAME = 64

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


@dataclass(frozen=True)
class Wanted:
    """The function that is asked for; what is None stays as it is, or has the value that `create` names."""

    name: str
    zip: Path
    runtime: str
    handler: str
    arch: str
    timeout: int | None = None
    memory: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None
    layers: tuple[str, ...] = ()
    url: str | None = None
    """iam: callers sign their requests; public: anybody; none: there is none."""
    invoke_mode: str | None = None
    """BUFFERED or RESPONSE_STREAM."""
    bucket: str | None = None
    """Where a zip that is too large for the call goes."""


def is_function_name(name: str) -> bool:
    """Say whether Lambda takes *name* for a function; an ARN names one that is there, and makes none."""
    return re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{_MAX_NAME}}}", name) is not None


class Calls:
    """The calls that change something: made, or only told; told in the same words."""

    def __init__(self, say: Callable[[str], None], *, dry: bool) -> None:
        self.dry = dry
        self.say = say
        self.done: list[str] = []
        self.ahead: list[str] = []
        """What is under way, and what would come after it."""

    def account(self) -> str:
        """Return what was done, and what was not."""
        done, ahead = "; ".join(self.done) or "nothing", ", ".join(self.ahead) or "all the rest"
        return f"Done until then: {done}. Not done: {ahead}. The same command goes on from there"

    def change(self, client: Any, operation: str, what: str, **parameters: Any) -> dict[str, Any]:
        """
        Make a call, or say which it would be; return its answer, or an empty one.

        Raises:
            ClientError: AWS refuses it.
        """
        if self.dry:
            service = client.meta.service_model.service_name
            self.say(f"{service} {operation} {json.dumps(_shown(parameters), sort_keys=True)}")
            return {}
        answer: dict[str, Any] = getattr(client, operation)(**parameters)
        self.done.append(what)
        self.say(what)
        return answer


def _shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return *parameters* as they may be shown: without the zip, and without the values of variables."""
    shown = dict(parameters)
    if isinstance(shown.get("Code"), dict) and "ZipFile" in shown["Code"]:
        shown["Code"] = {"ZipFile": f"{len(shown['Code']['ZipFile'])} bytes"}
    for name in ("ZipFile", "Body"):
        if name in shown:
            shown[name] = f"{len(shown[name])} bytes"
    if "Environment" in shown:
        public = (WRAPPER, "LAMBDA_RIC_INVOKE_MODE", "LAMBDA_RIC_EXEC_WRAPPER")
        variables = shown["Environment"]["Variables"]
        shown["Environment"] = {
            "Variables": {name: value if name in public else "..." for name, value in variables.items()}
        }
    return shown


def deploy(wanted: Wanted, calls: Calls, *, region: str | None = None) -> str | None:
    """
    Make the function what is *wanted*, and wait until it is; return the address of its URL, if it has one.

    Raises:
        PackagingError: AWS says no; the text says what was done until then, and what was not.
    """
    try:
        return _Deployment(wanted, calls, _session(region)).run()
    except (BotoCoreError, ClientError) as error:
        raise PackagingError(f"{error}\n{calls.account()} once the reason is gone") from error
    except (KeyboardInterrupt, SystemExit):
        if not calls.dry:
            calls.say(calls.account())
        raise


def invoke(name: str, event: str, *, region: str | None = None) -> tuple[str, bool]:
    """
    Invoke the function once; return its answer, and whether that is an error.

    Raises:
        PackagingError: AWS says no.
    """
    try:
        answer = _session(region).client("lambda").invoke(FunctionName=name, Payload=event.encode())
    except (BotoCoreError, ClientError) as error:
        raise PackagingError(f"{name} could not be invoked: {error}") from error
    return answer["Payload"].read().decode(errors="replace"), "FunctionError" in answer


def _session(region: str | None) -> Any:
    # boto3 reads AWS_DEFAULT_REGION alone; all other SDKs, and Lambda itself, know it by this name.
    return boto3.Session(region_name=region or os.environ.get("AWS_REGION") or None)


class _Deployment:
    def __init__(self, wanted: Wanted, calls: Calls, session: Any) -> None:
        if session.region_name is None:
            raise PackagingError("no region is named: give --region, or set AWS_REGION")
        self._wanted = wanted
        self._calls = calls
        self._session = session
        self._lambda = session.client("lambda")
        self._no_function: type[Exception] = self._lambda.exceptions.ResourceNotFoundException
        self._role = wanted.role or ""
        self._address: str | None = None

    def run(self) -> str | None:
        self._check_size()
        steps = list(self._steps(self._look()))
        for number, (_, step) in enumerate(steps):
            self._calls.ahead = [goal for goal, _ in steps[number:]]
            step()
        return self._address

    def _steps(self, there: dict[str, Any] | None) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield what there is to do, in its order, each with its name for somebody who reads that it was not done."""
        wanted = self._wanted
        if wanted.bucket is not None:
            yield f"the zip in {wanted.bucket}", self._upload
        if there is None:
            if wanted.role is None:
                yield "the function's role", self._own_role
            yield "the function", self._create
            yield "the wait until it is active", partial(self._wait, "function_active_v2")
        else:
            yield "the code", self._update_code
            yield "the configuration", partial(self._update_configuration, there)
            yield "the wait until it is in force", partial(self._wait, "function_updated_v2")
        if wanted.url is not None or wanted.invoke_mode is not None:
            yield "the URL", self._url

    def _look(self) -> dict[str, Any] | None:
        return self._found(self._lambda.get_function_configuration, self._no_function, FunctionName=self._wanted.name)

    def _found(
        self, ask: Callable[..., dict[str, Any]], missing: type[Exception], **names: str
    ) -> dict[str, Any] | None:
        """Return what AWS has of these *names*, or None where that is *missing*, or nobody to ask in a dry run."""
        try:
            return ask(**names)
        except missing:
            return None
        except NoCredentialsError:
            if self._calls.dry:
                return None
            raise

    def _check_size(self) -> None:
        size = self._wanted.zip.stat().st_size
        if size > MAX_UPLOAD_BYTES and self._wanted.bucket is None:
            raise PackagingError(
                f"{self._wanted.zip} has {size} bytes, and Lambda takes {MAX_UPLOAD_BYTES} in a call: name a bucket of "
                "yours with --s3-bucket"
            )

    def _upload(self) -> None:
        bucket, key = self._wanted.bucket, self._key
        self._calls.change(
            self._session.client("s3"), "put_object", f"uploaded the zip to {bucket}/{key}",
            Bucket=bucket, Key=key, Body=self._wanted.zip.read_bytes(),
        )  # fmt: skip

    @property
    def _key(self) -> str:
        return f"{self._wanted.name}/{self._wanted.zip.name}"

    @property
    def _code(self) -> dict[str, Any]:
        if self._wanted.bucket is not None:
            return {"S3Bucket": self._wanted.bucket, "S3Key": self._key}
        return {"ZipFile": self._wanted.zip.read_bytes()}

    def _create(self) -> None:
        wanted = self._wanted
        parameters = {
            "FunctionName": wanted.name,
            "Runtime": wanted.runtime,
            "Handler": wanted.handler,
            "Role": self._role,
            "Code": self._code,
            "Architectures": [wanted.arch],
            "Timeout": wanted.timeout or 30,
            "MemorySize": wanted.memory or 512,
            "Environment": {"Variables": self._variables({})},
            "Layers": list(wanted.layers),
        }
        until = time.monotonic() + _ROLE_SECONDS
        while True:
            try:
                self._calls.change(self._lambda, "create_function", f"created the function {wanted.name}", **parameters)
                break
            except self._lambda.exceptions.InvalidParameterValueException as error:
                of_ours = wanted.role is None and "cannot be assumed" in str(error)
                if not (of_ours and time.monotonic() < until):
                    raise
                time.sleep(2)

    def _update_code(self) -> None:
        """Before the configuration: the wrapper that the variables name is in it."""
        wanted = self._wanted
        self._wait("function_updated_v2")
        self._calls.change(
            self._lambda, "update_function_code", f"updated the code of {wanted.name}",
            FunctionName=wanted.name, Architectures=[wanted.arch], **self._code,
        )  # fmt: skip

    def _update_configuration(self, there: dict[str, Any]) -> None:
        wanted = self._wanted
        self._wait("function_updated_v2")
        changes: dict[str, Any] = {
            "Runtime": wanted.runtime,
            "Handler": wanted.handler,
            "Timeout": wanted.timeout,
            "MemorySize": wanted.memory,
            "Role": wanted.role,
            "Layers": list(wanted.layers) or None,
            "Environment": {"Variables": self._variables(there.get("Environment", {}).get("Variables", {}))},
        }
        self._calls.change(
            self._lambda, "update_function_configuration", f"updated the configuration of {wanted.name}",
            FunctionName=wanted.name, **{name: value for name, value in changes.items() if value is not None},
        )  # fmt: skip

    def _variables(self, there: Mapping[str, str]) -> dict[str, str]:
        """Return the function's variables: those that are there, those that are asked for, and the wrapper."""
        variables = {**there, **self._wanted.environment}
        if not self._wanted.runtime.startswith("provided"):
            # Lambda has one slot for a wrapper: whoever is in it is started by ours.
            other = variables.get(WRAPPER, BOOTSTRAP)
            if other != BOOTSTRAP:
                variables.setdefault("LAMBDA_RIC_EXEC_WRAPPER", other)
            variables[WRAPPER] = BOOTSTRAP
        if self._wanted.invoke_mode is not None:
            variables["LAMBDA_RIC_INVOKE_MODE"] = self._wanted.invoke_mode.lower()
        return variables

    def _own_role(self) -> None:
        """Find the function's own role, or make it: it may write its own log, and nothing else."""
        iam, name = self._session.client("iam"), _role_name(self._wanted.name)
        missing = iam.exceptions.NoSuchEntityException
        there = self._found(iam.get_role, missing, RoleName=name)
        if there is None:
            there = self._calls.change(
                iam, "create_role", f"created the role {name}",
                RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST),
                Description=f"The Lambda function {self._wanted.name}",
            )  # fmt: skip
        self._role = str(there["Role"]["Arn"]) if there else f"the ARN of {name}"
        # A deployment that was interrupted may have left the role without its rights.
        if self._found(iam.get_role_policy, missing, RoleName=name, PolicyName="log") is not None:
            return
        region = self._session.region_name
        partition = self._session.get_partition_for_region(region)
        log = f"arn:{partition}:logs:{region}:*:log-group:/aws/lambda/{self._wanted.name}"
        rights = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "logs:CreateLogGroup", "Resource": log},
                {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": f"{log}:*"},
            ],
        }
        self._calls.change(
            iam, "put_role_policy", f"let {name} write the function's log",
            RoleName=name, PolicyName="log", PolicyDocument=json.dumps(rights),
        )  # fmt: skip

    def _url(self) -> None:
        wanted = self._wanted
        there = self._found(self._lambda.get_function_url_config, self._no_function, FunctionName=wanted.name)
        if wanted.url == "none":
            if there is not None:
                self._calls.change(
                    self._lambda, "delete_function_url_config", "removed the URL", FunctionName=wanted.name
                )
            return
        if wanted.url is None and there is None:
            return
        settings = {"FunctionName": wanted.name}
        if wanted.url is not None:
            settings["AuthType"] = "NONE" if wanted.url == "public" else "AWS_IAM"
        if wanted.invoke_mode is not None:
            settings["InvokeMode"] = wanted.invoke_mode
        verb, what = ("create", "created the URL") if there is None else ("update", "updated the URL")
        made = self._calls.change(self._lambda, f"{verb}_function_url_config", what, **settings)
        if wanted.url == "public":
            self._open_to_everybody()
        self._address = made.get("FunctionUrl")

    def _open_to_everybody(self) -> None:
        """Since October 2025 two rights are needed: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html."""
        rights: dict[str, dict[str, Any]] = {
            "lambda:InvokeFunctionUrl": {"FunctionUrlAuthType": "NONE"},
            "lambda:InvokeFunction": {"InvokedViaFunctionUrl": True},
        }
        for action, condition in rights.items():
            try:
                self._calls.change(
                    self._lambda, "add_permission", f"let everybody call {action}",
                    FunctionName=self._wanted.name, StatementId=f"url-{action.partition(':')[2]}", Action=action,
                    Principal="*", **condition,
                )  # fmt: skip
            except self._lambda.exceptions.ResourceConflictException:
                continue  # it was given before

    def _wait(self, waiter: str) -> None:
        if not self._calls.dry:
            self._lambda.get_waiter(waiter).wait(FunctionName=self._wanted.name)


def _role_name(function: str) -> str:
    """Return the name of the own role of *function*; both may have 64 characters."""
    name = f"{function}-lambda"
    if len(name) <= _MAX_NAME:
        return name
    return f"{function[:48]}-{hashlib.sha256(function.encode()).hexdigest()[:8]}-lambda"
