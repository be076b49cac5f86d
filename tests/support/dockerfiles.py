"""
A Dockerfile replayed without a container engine: each stage is a folder, each RUN has that folder as its root.

The base images are this machine's own directories and interpreter. What of Docker's language the package does not
write is refused.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.private_mounts import in_stage_root

PREFIX = Path(sys.base_prefix)


@dataclass
class Stage:
    """A root file system, and what the instructions have said of it."""

    root: Path
    wheels: Path
    base: str
    workdir: str = "/"
    user: str = "0:0"
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def arguments(self, *words: str) -> list[str]:
        """Return the command that runs *words* in this stage."""
        return in_stage_root(self.root, self.user, self.workdir, words)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a command in this stage; `python` is the interpreter at hand."""
        return {
            **self.environment,
            "PATH": f"{PREFIX}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PREFIX": str(PREFIX),
            "WHEELS": str(self.wheels),
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.wheels),
        }


def replay(context: Path, work: Path, wheels: Path, uv: Path) -> Stage:
    """Replay the Dockerfile in *context*; return its last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(work, wheels, "")
    text = (context / "Dockerfile").read_text().replace("\\\n", " ")
    for number, line in enumerate(line for line in text.splitlines() if line and not line.startswith("#")):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(work / f"stage-{number}", wheels, base)
            stage.root.mkdir()
            if base.startswith("public.ecr.aws/lambda/"):
                (stage.root / "var/lang/bin").mkdir(parents=True)
                (stage.root / "var/lang/bin/python3").symlink_to(PREFIX / "bin/python3")
        elif instruction == "COPY":
            _copy(rest.split(), context, stages, stage, uv)
        elif instruction == "RUN":
            subprocess.run(stage.arguments("/bin/sh", "-c", rest), env=stage.variables, check=True, timeout=60)
        elif instruction == "ENV":
            name, _, value = rest.partition("=")
            stage.environment[name] = value
        elif instruction == "WORKDIR":
            stage.workdir = rest
        elif instruction == "USER":
            stage.user = rest
        elif instruction == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            stage.command = json.loads(rest)
        else:
            raise AssertionError(f"nobody replays {line!r}")
    return stage


def _copy(words: list[str], context: Path, stages: dict[str, Stage], stage: Stage, uv: Path) -> None:
    origin = context
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        if re.fullmatch(r"ghcr\.io/astral-sh/uv:[\d.]+", name):
            assert words[0] == "/uv"
            words, origin = [uv.name, words[1]], uv.parent
        else:
            origin = stages[name].root
    *sources, target = words
    place = stage.root / target.strip("/")
    for source in sources:
        path = origin / source.strip("/")
        assert path.exists(), f"COPY of {source}, which is not there"
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            place = place / path.name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            os.chmod(place, 0o755 if os.access(path, os.X_OK) else 0o644)
