"""
Container images: a folder with a Dockerfile and all that it takes, for one function or for an organisation's runtime.

Building them needs a container engine, and is left to it: `docker build` of the folder.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from lambda_ric.version import __version__

from .errors import PackagingError
from .platforms import Platform

# The stage that installs is the image that runs: the same interpreter makes the bytecode.
_BASES = {
    "slim": ("public.ecr.aws/docker/library/python:{python}-slim", "python", "/usr/local/lib/python{python}"),
    "aws": ("public.ecr.aws/lambda/python:{python}", "/var/lang/bin/python3", "/var/lang/lib/python{python}"),
}

_FUNCTION = """\
# A function in an image, made by lambda-ric {version}. On a machine with a container engine:
#
#   docker build --platform {docker} --provenance=false -t {name} .
#
# Lambda takes images without attestations only, hence --provenance=false.

FROM {base} AS build
COPY --from=ghcr.io/astral-sh/uv:{uv} /uv /uv
COPY requirements.txt /requirements.txt
RUN /uv pip install --target /var/task --python {python} --only-binary :all: --require-hashes --no-cache \\
    --link-mode copy -r /requirements.txt
COPY runtime/ code/ /var/task/
# Nothing can be written in Lambda: without this every cold start would compile. What is no Python, such as a template
# that ends in .py, is passed over.
RUN {python} -m compileall -q --invalidation-mode unchecked-hash /var/task || true

FROM {base}
ENV LAMBDA_TASK_ROOT=/var/task
WORKDIR /var/task
COPY --from=build /var/task /var/task
USER 1000:1000
ENTRYPOINT ["{python}", "-m", "lambda_ric"]
CMD ["{handler}"]
"""

_RUNTIME = """\
# An organisation's own runtime (Lambda's customer-managed runtimes), made by lambda-ric {version}: the functions stay
# zips without a runtime or a wrapper of their own. On a machine with a container engine:
#
#   docker build --platform {docker} --provenance=false -t {name} .
#
# and, when it is in a repository of ECR, ./publish.py.

FROM {base} AS build
COPY runtime/ {library}/site-packages/
RUN {python} -m compileall -q --invalidation-mode unchecked-hash {library}/site-packages/lambda_ric

FROM {base}
ENV LAMBDA_TASK_ROOT=/var/task
WORKDIR /var/task
COPY --from=build {library}/site-packages/lambda_ric {library}/site-packages/lambda_ric
USER 1000:1000
# -P: a lambda_ric in a function's zip does not take this one's place.
ENTRYPOINT ["{python}", "-P", "-m", "lambda_ric"]
"""

_PUBLISH = """\
#!/usr/bin/env python3
\"\"\"
Publishes the image as a customer-managed runtime, made by lambda-ric {version}; boto3 is needed, 1.44 or later:

    ./publish.py 123456789012.dkr.ecr.eu-west-1.amazonaws.com/python-answers-first:1 [RUNTIME [VERSION [ALIAS]]]

Four calls: the runtime, a version of it as a dry run, the version, and the alias that functions name, with
Runtime=custom and RuntimeConfig={{"RuntimeArn": ..., "RuntimeAlias": ...}}. For another version of a runtime that is
there already, begin at the second and end with update_runtime_alias.
\"\"\"

import sys

import boto3

image, runtime, version, alias = [*sys.argv[1:], *["{name}", "1", "live"][len(sys.argv) - 2 :]]
core = boto3.client("lambda-core")
made = core.create_runtime(
    Name=runtime, Description="lambda_ric {version}, Python {python_version}: answers first, finishes afterwards"
)
print("runtime", made["Arn"])
core.create_runtime_version(RuntimeName=runtime, Name=version, ImageUri=image, DryRun=True)
core.create_runtime_version(RuntimeName=runtime, Name=version, ImageUri=image)
core.get_waiter("runtime_version_active").wait(RuntimeName=runtime, Name=version)
print("version", version, "is active")
core.create_runtime_alias(RuntimeName=runtime, RuntimeVersion=version, Name=alias)
print("alias", alias)
"""


class Image(NamedTuple):
    """What an image is made of."""

    base: str
    platform: Platform
    name: str
    handler: str

    def dockerfile(self) -> str:
        """
        Return the Dockerfile of a function.

        Raises:
            PackagingError: The image has no handler to start.
        """
        if not self.handler:
            raise PackagingError(
                "an image names the handler that it starts: give --handler app.handler, or handler in [tool.lambda-ric]"
            )
        return self._filled(_FUNCTION)

    def runtime_dockerfile(self) -> str:
        """Return the Dockerfile of a runtime."""
        return self._filled(_RUNTIME)

    def publish_script(self) -> str:
        """Return the script that publishes a runtime."""
        return self._filled(_PUBLISH)

    def _filled(self, text: str) -> str:
        base, python, library = (part.format(python=self.platform.python) for part in _BASES[self.base])
        return text.format(
            version=__version__,
            base=base,
            python=python,
            library=library,
            python_version=self.platform.python,
            docker="linux/arm64" if self.platform.arch == "arm64" else "linux/amd64",
            name=re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "function",
            handler=self.handler,
            uv=_uv_version(),
        )


def _uv_version() -> str:
    try:
        return version("uv")
    except PackageNotFoundError:
        return "latest"
