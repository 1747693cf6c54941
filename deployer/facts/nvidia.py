"""NVIDIA driver and GPUs through NVML, in a child process that can be killed."""

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from deployer import execution
from deployer.facts import nvml_lines, nvml_reading, pci, tegra, wsl
from deployer.facts.pci import PciCard
from deployer.types import Gpu, NvidiaFacts

LIBRARY = "libnvidia-ml.so.1"
TIMEOUT_S = 20.0  # eight GPUs without persistence mode are slow to wake
_REAP_S = 0.5
_CHILD = Path(__file__).with_name("nvml_child.py")


class Answers(msgspec.Struct, frozen=True):
    """What was heard: the child's lines, how it ended, why the library did not load, and the cards on the PCI bus.

    `library` is None when NVML's library is absent, "" when it loads, else the loader's complaint. `jetson` has empty
    texts on any other machine.
    """

    library: str | None
    lines: tuple[str, ...] = ()
    status: int = 0
    timeout_s: float | None = None
    cards: tuple[PciCard, ...] = ()
    jetson: tegra.Answers = tegra.Answers()


def probe(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    """Ask this machine; returns within about `timeout_s` + 1 s whatever the driver does."""
    return read(ask(timeout_s, root))


def ask(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> Answers:
    """Ask NVML in a child process, and the PCI bus. Without the library no child is started."""
    cards, jetson = pci.cards(pci.NVIDIA, root), tegra.ask(root)
    library, folder = _library(root)
    if library != "":
        return Answers(library, cards=cards, jetson=jetson)
    text, status = _run_child(timeout_s, folder)
    lines = tuple(line for line in text.decode("utf-8", "replace").split("\n")[:-1] if line)
    cut_off = timeout_s if status is None else None
    return Answers(library, lines, 0 if status is None else status, cut_off, cards, jetson)


def read(answers: Answers) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    """Give the driver's facts (None without an NVIDIA driver) and a `Gpu` for each card."""
    jetson = tegra.read(answers.jetson)
    return _heard(answers) if jetson is None else tegra.complete(jetson, *_heard(answers))


def _heard(answers: Answers) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    if answers.library:
        complaint = f"{LIBRARY} is there but cannot be loaded: {answers.library}. Reinstall the driver."
        return NvidiaFacts(error=complaint), nvml_reading.unanswered(answers.cards)
    if answers.library is None:
        return nvml_reading.without_driver(answers.cards)
    lines = nvml_lines.parse(answers.lines)
    return nvml_reading.read(lines, status=answers.status, timeout_s=answers.timeout_s, cards=answers.cards)


def _library(root: Path) -> tuple[str | None, Path | None]:
    """Load NVML's library as the binding does (LD_LIBRARY_PATH counts), else from WSL's folder, which is then named.

    Gives None when it is absent, else the loader's complaint or "".
    """
    found = _load(LIBRARY)
    folder = root / wsl.LIBRARIES
    if found is not None or not (folder / LIBRARY).exists():
        return found, None
    return _load(str(folder / LIBRARY)), folder


def _ahead(folder: Path) -> str:
    """Put a folder before those of LD_LIBRARY_PATH."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH"))))


def _load(name: str) -> str | None:
    try:
        ctypes.CDLL(name, mode=os.RTLD_LAZY)
    except OSError as error:
        text = str(error)
        return None if text.startswith(f"{name}: cannot open shared object file: No such file") else text
    return ""


def _run_child(timeout_s: float, folder: Path | None) -> tuple[bytes, int | None]:
    """Run the child, where `folder` has the library for it; its output, and its exit status or None when cut off.

    A process that waits inside the kernel ignores even SIGKILL, so it is given up after half a second instead of
    waited for.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=None if folder is None else {**os.environ, "LD_LIBRARY_PATH": _ahead(folder)},
            start_new_session=True,
        )
    except OSError:
        return b"", 127
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        execution.kill_group(process.pid)
        said = late.output or b""
        with contextlib.suppress(subprocess.TimeoutExpired):
            said, _ = process.communicate(timeout=_REAP_S)
        return said, None
    return out, process.returncode
