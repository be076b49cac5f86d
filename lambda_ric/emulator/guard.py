"""
The last resort: a process that ends the process groups of an emulator that was itself killed.

Its only link to the emulator is a pipe, which the kernel closes whatever
became of the emulator. It is a shell, for its megabyte and its millisecond.
"""

from __future__ import annotations

import subprocess
from contextlib import suppress

_SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r verb group; do
    case $verb in
    watch) groups="$groups$group " ;;
    forget) case $groups in *" $group "*) groups=${groups%%" $group "*}" "${groups#*" $group "} ;; esac ;;
    esac
done
for group in $groups; do kill -KILL "-$group"; done 2>/dev/null
"""


class Guard:
    """Watches over process groups until it is closed."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A session of its own: what ends the emulator's terminal or group must not end it as well.
            start_new_session=True,
        )

    def watch(self, group: int) -> None:
        """End *group* when the emulator is gone."""
        self._tell(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """Leave *group* alone: it has ended, and its number may be given to others."""
        self._tell(f"forget {group}\n")

    def close(self) -> None:
        """End the guard, and what it still watches over."""
        assert self._shell.stdin is not None
        with suppress(OSError):
            self._shell.stdin.close()
        self._shell.wait()

    def _tell(self, line: str) -> None:
        assert self._shell.stdin is not None
        with suppress(OSError):  # killed by somebody: there is no more to be had from it
            self._shell.stdin.write(line.encode())
            self._shell.stdin.flush()
