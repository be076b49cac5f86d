"""
What a package index shows of this project: the README, with links that work there.

An index has none of the repository's files. `[tool.hatch.metadata.hooks.custom]` in pyproject.toml names the public
address of the repository, whose tags are v and the version; links and pictures lead there. While there is none, links
are their text alone, and pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class IndexPage(MetadataHookInterface):
    """Fills in the fields `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Write both into *metadata*, which has the version."""
        repository, version = str(self.config["repository"]).rstrip("/"), str(metadata["version"])
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": long_description(text, repository, version),
        }
        metadata["urls"] = _urls(repository, version) if repository else {}


def long_description(text: str, repository: str, version: str) -> str:
    """Return *text*, Markdown, with its relative links leading into *repository*; without them where that is empty."""

    def picture(found: re.Match[str]) -> str:
        return f"![{found[1]}]({repository}/raw/v{version}/{found[2]})\n\n" if repository else ""

    def link(found: re.Match[str]) -> str:
        return f"[{found[1]}]({repository}/blob/v{version}/{found[2]})" if repository else found[1]

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    for index in range(0, len(parts), 2):  # every other one is code
        relative = r"\]\((?!https://|#)([^)]+)\)"
        parts[index] = re.sub(rf"^!\[([^\]]*){relative}\n\n", picture, parts[index], flags=re.MULTILINE)
        parts[index] = re.sub(rf"(?<!!)\[([^\]]*){relative}", link, parts[index])
    return "".join(parts)


def _urls(repository: str, version: str) -> dict[str, str]:
    return {
        "Documentation": f"{repository}/tree/v{version}/docs",
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/v{version}/CHANGELOG.md",
    }
