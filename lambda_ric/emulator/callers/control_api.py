"""
What tools ask about a function before they call it: the operations of the Lambda API that read.

Shapes are those of the service's model, which botocore ships; values are what the emulator knows.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from lambda_ric.emulator.function.function import Function
from lambda_ric.emulator.http.messages import Reply, Request, json_reply

from .function_url import Mode
from .invoke_request import VERSION, APIError, target_of

# When everything here was last changed, as the service writes it; nothing of it is ever changed.
_MODIFIED = "2026-11-30T00:00:00.000+0000"
_STREAMS = {"stream": "RESPONSE_STREAM", "buffered": "BUFFERED", "auto": "BUFFERED"}


class ControlAPI:
    """
    Describes *function*, whose URL has *url_mode*, and *concurrency* environments at most.

    *mappings* returns what its event source mappings are.
    """

    def __init__(
        self, function: Function, url_mode: Mode, concurrency: int, mappings: Callable[[], list[Mapping[str, Any]]]
    ) -> None:
        self._function = function
        self._mappings = mappings
        self._url_mode = url_mode
        self._concurrency = concurrency

    def answer(self, request: Request) -> Reply | None:
        """Answer *request*; None says that it is no operation that reads."""
        if request.method != "GET":
            return None
        try:
            document = self._document(request)
        except APIError as error:
            return error.reply()
        return None if document is None else json_reply(200, document, {"x-amzn-RequestId": str(uuid.uuid4())})

    def _document(self, request: Request) -> Mapping[str, Any] | None:
        segments = list(request.segments)
        if segments[-1:] == [""]:
            segments.pop()
        match segments:
            case ["2015-03-31", "functions"]:
                return {"Functions": [self._configuration("")]}
            case ["2015-03-31", "event-source-mappings"]:
                return {"EventSourceMappings": self._mappings()}
            case ["2015-03-31", "event-source-mappings", wanted]:
                for mapping in self._mappings():
                    if mapping["UUID"] == wanted:
                        return mapping
                text = f"The emulator has no event source mapping {wanted}"
                raise APIError(404, "ResourceNotFoundException", text, Type="User")
            case ["2016-08-19", "account-settings"]:
                return self._account()
            case ["2017-03-31", "tags", _]:
                return {"Tags": {}}
            case [_, "functions", name, *what]:
                qualifier = target_of(self._function, name, request).removeprefix(self._function.arn).lstrip(":")
                return self._of_function(request, what, qualifier)
        return None

    def _of_function(self, request: Request, what: list[str], qualifier: str) -> Mapping[str, Any] | None:
        match request.segments[0], what:
            case "2015-03-31", []:
                code = {"RepositoryType": "Local", "Location": self._function.task_root.resolve().as_uri()}
                return {"Configuration": self._configuration(qualifier), "Code": code, "Tags": {}}
            case "2015-03-31", ["configuration"]:
                return self._configuration(qualifier)
            case "2015-03-31", ["versions"]:
                return {"Versions": [self._configuration("")]}
            case "2015-03-31", ["aliases"]:
                return {"Aliases": []}
            case "2015-03-31", ["aliases", name]:
                return {"AliasArn": f"{self._function.arn}:{name}", "Name": name, "FunctionVersion": VERSION}
            case "2021-10-31", ["url"]:
                return self._url(request)
            case "2021-10-31", ["urls"]:
                return {"FunctionUrlConfigs": [self._url(request)]}
            case (("2019-09-30" | "2017-10-31"), ["concurrency"]):
                return {"ReservedConcurrentExecutions": self._concurrency}
            case _, [("policy" | "event-invoke-config" | "provisioned-concurrency" | "code-signing-config"), *_]:
                text = f"The emulator has no {what[0]} of {self._function.arn}"
                raise APIError(404, "ResourceNotFoundException", text, Type="User")
        return None

    def _configuration(self, qualifier: str) -> dict[str, Any]:
        function = self._function
        suffix = f":{qualifier}" if qualifier else ""
        return {
            "FunctionName": function.name,
            "FunctionArn": function.arn + suffix,
            "Runtime": "provided.al2023" if function.command else "python3.13",
            "Role": f"arn:aws:iam::{function.arn.split(':')[4]}:role/local",
            "Handler": function.handler or "none",
            "CodeSize": 0,
            "Description": "",
            "Timeout": max(1, round(function.timeout)),
            "MemorySize": function.memory,
            "LastModified": _MODIFIED,
            "CodeSha256": hashlib.sha256(function.arn.encode()).hexdigest(),
            "Version": qualifier if qualifier.isdigit() else VERSION,
            "Environment": {"Variables": dict(function.environment)},
            "TracingConfig": {"Mode": "PassThrough"},
            "RevisionId": str(uuid.uuid5(uuid.NAMESPACE_URL, function.arn)),
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": ["x86_64"],
            "EphemeralStorage": {"Size": 512},
            "SnapStart": {"ApplyOn": "PublishedVersions" if function.snapstart else "None"},
            "LoggingConfig": {
                "LogFormat": "JSON" if function.json_logs else "Text",
                "LogGroup": f"/aws/lambda/{function.name}",
            },
        }

    def _url(self, request: Request) -> dict[str, Any]:
        return {
            "FunctionUrl": f"http://{request.headers.get('host', 'localhost')}/lambda-url/{self._function.name}/",
            "FunctionArn": self._function.arn,
            "AuthType": "NONE",
            "CreationTime": _MODIFIED,
            "LastModifiedTime": _MODIFIED,
            "InvokeMode": _STREAMS[self._url_mode],
        }

    def _account(self) -> dict[str, Any]:
        return {
            "AccountLimit": {
                "TotalCodeSize": 80530636800,
                "CodeSizeUnzipped": 262144000,
                "CodeSizeZipped": 52428800,
                "ConcurrentExecutions": self._concurrency,
                "UnreservedConcurrentExecutions": self._concurrency,
            },
            "AccountUsage": {"TotalCodeSize": 0, "FunctionCount": 1},
        }
