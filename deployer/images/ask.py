"""Run one program of an image that is here, shut in: to ask it something, not to serve.

The container has no network, no capability, nothing it can write to but a scratch folder in memory, and sees the named
files only; it is gone when the answer is there, also after a time-out or an interruption.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from deployer.errors import PreconditionError
from deployer.execution import Completed, run

MEMORY_LIMIT = "4g"
PIDS_LIMIT = 512
_REMOVE_TIMEOUT_S = 30.0
_ENGINE_FAILED, _NOT_RUNNABLE, _NOT_FOUND = 125, 126, 127
_SCRATCH = "/tmp"  # noqa: S108 - the container's own tmpfs


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`files` maps a path in the container to a file of this host; the GPUs are named as Docker wants them."""

    image: str
    argv: tuple[str, ...]
    files: Mapping[str, Path]
    user: str
    environment: Mapping[str, str] = {}
    nvidia_ids: tuple[str, ...] = ()
    device_paths: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class NoSuchProgramError(PreconditionError):
    """The image does not have the program that was asked for."""


def ask_image(question: Question, *, timeout_s: float) -> Completed:
    """What the program printed, whatever its exit status.

    NoSuchProgramError when the image lacks it, PreconditionError when Docker cannot start the container.
    """
    name = f"deployer-ask-{secrets.token_hex(8)}"
    argv = _docker_argv(question, name)
    try:
        found = run(argv, timeout_s=timeout_s)
    except BaseException:
        _remove(name)
        raise
    if found.timed_out:
        _remove(name)
        return found
    if found.returncode in {_NOT_RUNNABLE, _NOT_FOUND} and "OCI runtime" in found.stderr:
        raise NoSuchProgramError(
            f"the image {question.image[:19]} has no {question.argv[0]}", hint="use an image that has it"
        )
    if found.returncode in {_ENGINE_FAILED, _NOT_FOUND} and not found.stdout:
        reason = " ".join(found.stderr.split())[-300:]
        raise PreconditionError(f"Docker cannot run {question.argv[0]}: {reason}", hint="docker info")
    return found


def _remove(name: str) -> None:
    """The docker command line is gone already; what it started may not be."""
    run(("docker", "rm", "--force", name), timeout_s=_REMOVE_TIMEOUT_S)


def _docker_argv(question: Question, name: str) -> tuple[str, ...]:
    return (
        *("docker", "run", "--rm", "--pull", "never", "--name", name),
        *("--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--tmpfs", f"{_SCRATCH}:rw,noexec,nosuid,nodev,size=256m,mode=1777", "--user", question.user),
        *("--memory", MEMORY_LIMIT, "--memory-swap", MEMORY_LIMIT, "--pids-limit", str(PIDS_LIMIT)),
        *_each("--mount", (_mount(path, at) for at, path in question.files.items())),
        *_each("--env", (f"{key}={value}" for key, value in {"HOME": _SCRATCH, **question.environment}.items())),
        *_each("--device", question.device_paths),
        *_each("--group-add", question.groups),
        *(("--gpus", f'"device={",".join(question.nvidia_ids)}"') if question.nvidia_ids else ()),
        *("--entrypoint", question.argv[0], question.image, *question.argv[1:]),
    )


def _each(flag: str, values: Sequence[str] | Iterator[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (flag, value))


def _mount(path: Path, at: str) -> str:
    """Docker reads this as a line of CSV."""
    fields = ("type=bind", f"source={path}", f"target={at}", "readonly")
    return ",".join('"' + field.replace('"', '""') + '"' if {",", '"'} & {*field} else field for field in fields)
