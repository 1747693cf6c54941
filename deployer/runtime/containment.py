"""What a served process inherits: no new privileges, no core dump, and death together with its supervisor."""

import ctypes
import os
import resource
import signal
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import deployer

# prctl(2), <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")
_INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "ROCR_", "HIP_", "HSA_")
_NOT_STARTED = 127


def confine() -> None:
    """Give up new privileges (setuid programs) and core dumps, which would hold the key, for this process on."""
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def served_environment(extra: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the child's environment: what a server needs of `own`, nothing that could be a secret, and `extra`."""
    kept = {name: value for name, value in own.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}
    return {**kept, **python_path(own), **extra}


def python_path(own: Mapping[str, str]) -> dict[str, str]:
    """Return a PYTHONPATH under which another interpreter finds this package; empty where it is installed."""
    root = str(Path(deployer.__file__).parent.parent)
    if root in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        return {}
    earlier = own.get("PYTHONPATH", "").split(os.pathsep)
    return {"PYTHONPATH": os.pathsep.join([root, *(path for path in earlier if path and path != root)])}


def spawn(argv: tuple[str, ...], environment: Mapping[str, str], output: int) -> int:
    """Fork and exec in an own process group, output to the descriptor; returns the pid.

    For a single-threaded caller. The child gets SIGKILL when the caller dies. Exit status 127: it could not be started.
    """
    libc, parent = _libc(), os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            _become(argv, environment, output)
    finally:
        os._exit(_NOT_STARTED)


def _become(argv: tuple[str, ...], environment: Mapping[str, str], output: int) -> NoReturn:
    os.setpgid(0, 0)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        os.execve(argv[0], argv, environment)  # noqa: S606 - argv, on purpose without a shell
    except OSError as error:
        os.write(2, f"deployer: {argv[0]}: {error.strerror}\n".encode())
        raise


def oom_kills() -> int | None:
    """Count processes of this control group that the kernel killed for memory (cgroup v2 `memory.events`)."""
    try:
        entry = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        events = (Path("/sys/fs/cgroup") / entry[3:].lstrip("/") / "memory.events").read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])
    except (OSError, StopIteration, KeyError, ValueError):
        return None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
