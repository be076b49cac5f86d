"""
What of other people's packages no function needs.
"""

from __future__ import annotations

from pathspec import GitIgnoreSpec

from .tree import CODE, PYTHON, RUNTIME, Tree

# Tests, caches, stubs, sources of extension modules, and what an installer writes for itself, paths of this machine
# among it. Licences and METADATA stay: the ones are owed, the other is what `importlib.metadata` reads.
NOISE = """\
__pycache__/
*.py[cod]
*.pyi
*.pyx
*.pxd
*.pxi
*.c
*.cc
*.cpp
*.h
*.hpp
*.f90
*.a
*.o
*.la
*.pdb
tests/
test/
**/share/man/
**/share/doc/
/include/
*.dist-info/RECORD
*.dist-info/RECORD.jws
*.dist-info/INSTALLER
*.dist-info/REQUESTED
*.dist-info/WHEEL
*.dist-info/direct_url.json
*.dist-info/uv_*.json
.DS_Store
"""


def prune(tree: Tree, keep: list[str], folder: str = "") -> None:
    """
    Leave the noise of dependencies out of *tree*; patterns in *keep* hold on to what they match.

    So go the programs that an installer writes into ``bin/``: their first line names an interpreter of this machine.
    """
    noise, kept = GitIgnoreSpec.from_lines(NOISE.splitlines()), GitIgnoreSpec.from_lines(keep)
    for path, file in list(tree.sorted()):
        if file.owner in (CODE, RUNTIME, PYTHON):
            continue
        inside = path.removeprefix(folder)
        script = inside.startswith("bin/") and file.read()[:2] == b"#!"
        if (script or noise.match_file(inside)) and not kept.match_file(inside):
            tree.remove(path)
