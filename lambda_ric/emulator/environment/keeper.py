"""
The process above those of an environment: it starts them, and sees to it that nothing of them is left.

What a function starts belongs to its environment, also when it has left its process group or its session, or when its
parent has ended. The keeper is the nearest parent that such orphans are given to (PR_SET_CHILD_SUBREAPER), so that all
descendants of one keeper are one environment, and no process of anybody else is among them. They end with it, and it
ends with the emulator: its only link is a socket, which the kernel closes whatever became of the other side.

This file is a program that imports nothing of the package. It waits for requests for a keeper, ``k`` or, with a network
of its own, ``n``, each of which comes with a socket, and forks one: a start of Python for all environments together.
There is one for each environment, and each page of memory that it writes to is its own. So it does with little: modules
such as `subprocess`, which brings `threading`, and `json` would cost twice as much (`tests.benchmarks.idle`).

On its socket a keeper gets dictionaries in the format of `marshal`, each after its length in four bytes, and answers in
the same way:

    {"launch": arguments, "directory": ..., "variables": ..., "spans": True, "input": True}   with the descriptor of its
                                   output, that of the side channel and that of its input, of which the latter two may
                                   be False: answered by {"pid": ...} or {"errno": ...}
    {"freeze": True}, {"freeze": False}   stop or continue all that is in no process group of a launched process: those
                                          the emulator signals itself, without a detour
    {"socket": port}               answered by {"socket": True} or {"errno": ...}, and the descriptor of a socket in the
                                   environment's network: one that listens on that port of its loopback interface, 0 for
                                   any, or for None one to connect with
    {"end": True}                  kill everything, answered by {"exited": ...} for each, and the end of the socket

Whenever a launched process has ended, {"exited": pid, "status": ...} says how, after its process group was killed.

One with a network of its own begins by saying whether it has it: {"network": True} or {"errno": ...}.

Where there is no /proc, as on macOS, only the process groups are ended.
"""

from __future__ import annotations

import _ctypes
import _signal  # type: ignore[import-not-found]
import ctypes
import errno
import gc
import marshal
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_SA_NOCLDSTOP = 1
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
# Seconds between two looks for what is not gone yet.
_MOMENT = 0.02


class Keeper:
    """Keeps the processes of one environment, as *requests* asks for."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._buffer = b""
        self._descriptors: list[int] = []
        self._launched: set[int] = set()
        self._stopped: set[int] = set()
        self._wakes, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        # Without the ways in of `signal` and `ctypes`, which would write to 0.3 MB in each keeper.
        _signal.signal(signal.SIGCHLD, _do_nothing)
        if _PRCTL:
            _ctypes.call_function(_PRCTL, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
            _hear_of_ends_only()

    def run(self) -> None:
        """Serve until the emulator says that it is the end, or has gone."""
        while self._serve_requests():
            requests = self._requests.fileno()
            ready, _, _ = select.select([requests, self._wakes], [], [])
            if self._wakes in ready:
                self._reap()
            if requests in ready and not self._receive():
                break
        self._end()

    # What is asked for...

    def _receive(self) -> bool:
        """Read what has come; return whether the emulator is there still."""
        try:
            data, descriptors = received(self._requests, 65536)
        except OSError:
            return False
        self._buffer += data
        self._descriptors += descriptors
        return bool(data)

    def _serve_requests(self) -> bool:
        """Do what was asked for as a whole; return whether the end was not."""
        requests, self._buffer = messages(self._buffer)
        for request in requests:
            if "launch" in request:
                self._launch(request)
            elif "socket" in request:
                self._give_socket(request["socket"])
            elif "freeze" in request:
                self._freeze() if request["freeze"] else self._thaw()
            else:
                return False
        return True

    def _launch(self, request: dict[str, Any]) -> None:
        output = self._descriptors.pop(0)
        spans = [self._descriptors.pop(0)] if request["spans"] else []
        terminal = [self._descriptors.pop(0)] if request["input"] else []
        variables = request["variables"]
        if spans:
            variables["LAMBDA_RIC_SPANS_FD"] = str(spans[0])
            os.set_inheritable(spans[0], True)
        null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        actions = [
            (os.POSIX_SPAWN_DUP2, terminal[0], 0) if terminal else null,
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),  # one stream on Lambda too, so the order is kept
        ]
        try:
            os.chdir(request["directory"])
            pid = _spawn(request["launch"], variables, actions)
        except OSError as exc:
            self._tell({"errno": exc.errno})
        else:
            self._launched.add(pid)
            self._tell({"pid": pid})
        finally:
            for descriptor in (output, *spans, *terminal):
                os.close(descriptor)

    def _give_socket(self, port: int | None) -> None:
        made = socket.socket()
        try:
            if port is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(("127.0.0.1", port))
                made.listen(1024)
        except OSError as exc:
            self._tell({"errno": exc.errno})
        else:
            with suppress(OSError):
                socket.send_fds(self._requests, [encoded({"socket": True})], [made.fileno()])
        finally:
            made.close()

    def enter_own_network(self) -> None:
        """Leave the machine's network for one that has only a loopback interface."""
        try:
            _unshare_network()
            _bring_loopback_up()
        except OSError as exc:
            self._tell({"errno": exc.errno})
        else:
            self._tell({"network": True})

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # gone, which the next look shows
            self._requests.sendall(encoded(message))

    # ...and what becomes of the processes.

    def _freeze(self) -> None:
        """Stop all strays; what they start meanwhile is stopped in the next round."""
        while strays := self._strays() - self._stopped:
            for pid in strays:
                _send(pid, signal.SIGSTOP)
            self._stopped |= strays

    def _thaw(self) -> None:
        for pid in self._stopped & descendants(os.getpid()):
            _send(pid, signal.SIGCONT)
        self._stopped.clear()

    def _strays(self) -> set[int]:
        found = set()
        for pid in descendants(os.getpid()):
            with suppress(OSError):
                if os.getpgid(pid) not in self._launched:
                    found.add(pid)
        return found

    def _reap(self) -> None:
        """Bury the children that have ended: launched ones, and orphans."""
        with suppress(BlockingIOError):
            os.read(self._wakes, 4096)
        with suppress(ChildProcessError):
            # Looked at first, and buried then: the number of a process belongs to it, and to its group, until it is.
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                pid = ended.si_pid
                if pid in self._launched:
                    with suppress(ProcessLookupError, PermissionError):  # the latter is macOS' word for a zombie
                        os.killpg(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                self._stopped.discard(pid)
                if pid in self._launched:
                    self._launched.remove(pid)
                    self._tell({"exited": pid, "status": os.waitstatus_to_exitcode(status)})

    def _end(self) -> None:
        """Kill everything, stopped or not, until nothing is left."""
        while True:
            for group in self._launched:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            rest = descendants(os.getpid())
            for pid in rest:
                _send(pid, signal.SIGKILL)
            self._reap()
            if not self._launched and not rest:
                return
            select.select([self._wakes], [], [], _MOMENT)


def _spawn(arguments: list[str], variables: dict[str, str], actions: list[tuple[Any, ...]]) -> int:
    """Start a program, which is looked for where its own PATH says, in a process group of its own."""
    program = arguments[0]
    folders = [""] if "/" in program else variables.get("PATH", os.defpath).split(":")
    problem = OSError(errno.ENOENT, "not found")
    for folder in folders:
        try:
            return os.posix_spawn(
                os.path.join(folder, program),
                arguments,
                variables,
                file_actions=actions,
                setpgroup=0,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            problem = exc
    raise problem


def encoded(message: dict[str, Any]) -> bytes:
    """Return *message* as it is sent, on either side."""
    content = marshal.dumps(message)
    return struct.pack("!I", len(content)) + content


def messages(data: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """Return the messages that are whole in *data*, and the rest."""
    found = []
    while len(data) >= 4:
        end = 4 + struct.unpack_from("!I", data)[0]
        if len(data) < end:
            break
        found.append(marshal.loads(data[4:end]))
        data = data[end:]
    return found, data


def received(connection: socket.socket, most: int) -> tuple[bytes, list[int]]:
    """Return what has come over *connection*, and the descriptors with it, which no other program gets by accident."""
    data, ancillary, _, _ = connection.recvmsg(most, socket.CMSG_SPACE(32), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    descriptors: list[int] = []
    for _, _, content in ancillary:
        descriptors += struct.unpack(f"{len(content) // 4}i", content)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return data, descriptors


def _unshare_network() -> None:
    uid, gid = os.getuid(), os.getgid()
    if _unshare(_CLONE_NEWNET) == 0:
        return
    # Others than root have to be root of something first; to themselves they stay who they are.
    if _unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _unshare(flags: int) -> int:
    try:
        return int(ctypes.CDLL(None, use_errno=True).unshare(flags))
    except AttributeError:  # not on macOS
        ctypes.set_errno(errno.ENOSYS)
        return -1


def _bring_loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def descendants(pid: int) -> set[int]:
    """Return the processes below *pid*; a child is listed with the thread that has started it."""
    found: set[int] = set()
    parents = [pid]
    while parents:
        parent = parents.pop()
        for thread in _listed(f"/proc/{parent}/task"):
            new = set(map(int, _content(f"/proc/{parent}/task/{thread}/children").split())) - found
            found |= new
            parents += new
    return found


def _content(file: str) -> bytes:
    # Not as text: what decodes that would be loaded by each keeper.
    content = b""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := os.read(descriptor, 65536):
                content += piece
        finally:
            os.close(descriptor)
    except OSError:  # ended meanwhile
        pass
    return content


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _do_nothing(number: int, frame: object) -> None:
    pass


def _function(name: str) -> int:
    """Return where the function *name* of the C library is, or zero."""
    try:
        here = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        return int(_ctypes.dlsym(here, name))
    except OSError:  # not on macOS
        return 0


def _hear_of_ends_only() -> None:
    """
    Let SIGCHLD come when a child has ended, and not whenever the environment is frozen or thawed.

    That would wake the keeper twice for each invocation, for 75 µs of a processor: `tests.benchmarks.emulators`.
    """
    _ctypes.call_function(_SIGACTION, (signal.SIGCHLD, 0, _ACTION))
    (flags,) = struct.unpack_from("i", _ACTION, _ACTION_FLAGS)
    struct.pack_into("i", _ACTION, _ACTION_FLAGS, flags | _SA_NOCLDSTOP)
    _ctypes.call_function(_SIGACTION, (signal.SIGCHLD, _ACTION, 0))


_PRCTL, _SIGACTION = _function("prctl"), _function("sigaction")
# A struct sigaction, with room to spare, and where its flags are: after a pointer and a set of 1024 signals.
_ACTION = ctypes.create_string_buffer(256)
_ACTION_FLAGS = ctypes.sizeof(ctypes.c_void_p) + 128


def main(descriptor: int) -> None:
    """Fork a keeper for each request on the socket *descriptor*, until the emulator has gone."""
    # What ends the emulator's terminal or group must not end those who clean up after it. It is handled by nothing, and
    # not ignored: what is ignored, the runtimes would ignore as well.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _do_nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.disable()
    gc.freeze()  # so that less of the memory has to be copied by the forks
    os.set_inheritable(descriptor, False)
    requests = socket.socket(fileno=descriptor)
    requests.sendall(b".")
    while True:
        data, descriptors = received(requests, 1)
        if not data:
            return
        if os.fork() == 0:
            requests.close()
            keeper = Keeper(socket.socket(fileno=descriptors[0]))
            if data == b"n":
                keeper.enter_own_network()
            keeper.run()
            os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
