"""Loading a model with the real llama-server, and what its log says of its buffers."""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LOADED = "llama threadpool init"
"""What the server says when model and context have all their buffers."""

LIMIT_S = 60
ALIVE_S = 3600
"""A container that nobody removed ends by itself."""

_BUFFER = re.compile(r"(\S+) +(model|KV|RS|output|compute) buffer size = +([\d.]+) MiB")
_VERSION = re.compile(r"version: (.+)")
_WAIT = 'exec 3<&0; "$@" 2>&1 </dev/null & pid=$!; (read -r _ <&3; kill -9 $pid) & wait $pid; kill $! 2>/dev/null'
"""Runs a command until a line (or the end) comes in, so that the command ends with its client, whatever ends that."""

Start = Callable[[Sequence[str]], "subprocess.Popen[str]"]


class LoadError(Exception):
    """The server did not load the model; the message ends with its last words."""


@dataclass(frozen=True)
class Observed:
    """Buffers in MiB as the log prints them; by buffer type where there may be several."""

    weights_mib: dict[str, float]
    kv_mib: float
    rs_mib: float
    compute_mib: dict[str, float]
    output_mib: float
    nvml_mib: int | None = None

    def document(self) -> dict[str, object]:
        """As it is stored."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def total_mib(self) -> float:
        """All buffers."""
        buffers = sum(self.weights_mib.values()) + sum(self.compute_mib.values())
        return buffers + self.kv_mib + self.rs_mib + self.output_mib


def parse(log: str) -> Observed:
    """Sums of the buffer lines. Raises LoadError when there is none for the weights."""
    found: dict[str, defaultdict[str, float]] = {
        kind: defaultdict(float) for kind in ("model", "KV", "RS", "output", "compute")
    }
    for device, kind, size in _BUFFER.findall(log):
        found[kind][device] += float(size)
    if not found["model"] or not found["compute"]:
        tail = "\n".join(log.splitlines()[-6:])
        raise LoadError(f"the log shows no buffers; it ends with:\n{tail}")
    total = {kind: round(sum(sizes.values()), 2) for kind, sizes in found.items()}
    rounded = {kind: {name: round(size, 2) for name, size in found[kind].items()} for kind in ("model", "compute")}
    return Observed(
        weights_mib=rounded["model"],
        kv_mib=total["KV"],
        rs_mib=total["RS"],
        compute_mib=rounded["compute"],
        output_mib=total["output"],
    )


@contextlib.contextmanager
def in_container(image: str, folder: Path, *, gpu: bool = False) -> Iterator[Start]:
    """llama-server of an image, in one container for all loads, without a network; removed at the end.

    Raises LoadError when it does not start.
    """
    name = f"memory-truth-{secrets.token_hex(4)}"
    argv = [
        "docker",
        "run",
        "--detach",
        "--rm",
        "--pull",
        "never",
        "--init",
        "--name",
        name,
        "--network",
        "none",
        "--read-only",
    ]
    argv += ["--user", f"{os.getuid()}:{os.getgid()}"]  # who can read the folder
    argv += ["--gpus", "all"] if gpu else []
    argv += ["--volume", f"{folder}:{folder}:ro", "--entrypoint", "sleep", image, str(ALIVE_S)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"{image}: {done.stderr.strip()}")
    shell = ("docker", "exec", "--interactive", name, "sh", "-c", _WAIT, "sh", "llama-server")
    try:
        yield lambda words: _popen((*shell, *words))
    finally:
        subprocess.run(("docker", "rm", "--force", name), check=False, capture_output=True)


@contextlib.contextmanager
def on_host(program: Path) -> Iterator[Start]:
    """An llama-server of this machine."""
    yield lambda words: _popen(("sh", "-c", _WAIT, "sh", str(program), *words))


def _popen(argv: Sequence[str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace")


def version(start: Start) -> str:
    """As `llama-server --version` says it. Raises LoadError."""
    with start(("--version",)) as process:
        text = "".join(process.stdout or ())
    match = _VERSION.search(text)
    if match is None:
        raise LoadError(f"llama-server --version says: {text[-300:]}")
    return match[1]


def load(start: Start, path: Path, flags: Sequence[str]) -> Observed:
    """Load a model, read its buffers and end the server. Raises LoadError."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = ["--model", str(path), "--no-warmup", "--fit", "off", "--verbosity", "4", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--cache-ram", "0", "--no-webui", *flags]
    before = device_mib()
    lines: list[str] = []
    after = None
    with start(words) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if LOADED in line:
                    after = device_mib()
                    break
            process.communicate("\n")
        finally:
            limit.cancel()
            process.kill()
    seen = parse("".join(lines))
    if before is None or after is None:
        return seen
    return Observed(**{**asdict(seen), "nvml_mib": after - before})


def device_mib() -> int | None:
    """Memory in use on all NVIDIA GPUs in MiB; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    argv = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return sum(int(line) for line in done.stdout.split()) if done.returncode == 0 else None
