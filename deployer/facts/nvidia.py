"""NVIDIA driver and GPUs through NVML, in a child process that can be killed."""

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from deployer import execution
from deployer.facts import nvml_lines, nvml_reading
from deployer.facts.pci import PciCard, nvidia_cards
from deployer.types import Gpu, MemoryFacts, NvidiaFacts

LIBRARY = "libnvidia-ml.so.1"
TIMEOUT_S = 10.0
_REAP_S = 0.5
_CHILD = Path(__file__).with_name("nvml_child.py")


class Answers(msgspec.Struct, frozen=True):
    """What was heard: the child's lines, how it ended, why the library did not load, and the cards on the PCI bus.

    `library` is None when NVML's library is absent, "" when it loads, else the loader's complaint.
    """

    library: str | None
    lines: tuple[str, ...] = ()
    status: int = 0
    timeout_s: float | None = None
    cards: tuple[PciCard, ...] = ()


def probe(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    """Ask this machine; returns within about `timeout_s` + 1 s whatever the driver does."""
    return read(ask(timeout_s, root))


def ask(timeout_s: float = TIMEOUT_S, root: Path = Path("/")) -> Answers:
    """Ask NVML in a child process, and the PCI bus. Without the library no child is started."""
    cards = nvidia_cards(root)
    library = _library()
    if library != "":
        return Answers(library, cards=cards)
    text, status = _run_child(timeout_s)
    lines = tuple(line for line in text.decode("utf-8", "replace").split("\n")[:-1] if line)
    return Answers(library, lines, 0 if status is None else status, timeout_s if status is None else None, cards)


def read(answers: Answers) -> tuple[NvidiaFacts | None, tuple[Gpu, ...]]:
    """Give the driver's facts (None without an NVIDIA driver) and a `Gpu` for each card."""
    if answers.library:
        return NvidiaFacts(
            error=f"{LIBRARY} is there but cannot be loaded: {answers.library}. Reinstall the driver."
        ), ()
    if answers.library is None:
        return _without_driver(answers.cards), ()
    lines = nvml_lines.parse(answers.lines)
    return nvml_reading.read(lines, status=answers.status, timeout_s=answers.timeout_s, cards=answers.cards)


def with_host_memory(gpus: tuple[Gpu, ...], memory: MemoryFacts) -> tuple[Gpu, ...]:
    """Give integrated GPUs, whose memory NVML cannot tell, the host's memory: they share it."""
    return tuple(
        msgspec.structs.replace(gpu, memory_total_mib=memory.total_mib, memory_free_mib=memory.available_mib)
        if gpu.unified_memory and gpu.memory_total_mib is None
        else gpu
        for gpu in gpus
    )


def _without_driver(cards: tuple[PciCard, ...]) -> NvidiaFacts | None:
    """Tell a card without a driver from a machine without a card."""
    if not cards:
        return None
    where = ", ".join(f"{card.address} (kernel driver: {card.driver or 'none'})" for card in cards)
    return NvidiaFacts(error=f"NVIDIA card without a driver at {where}: install the NVIDIA driver, then reboot.")


def _library() -> str | None:
    """Load NVML's library as the binding does (LD_LIBRARY_PATH counts); None when absent, else the complaint or ""."""
    try:
        ctypes.CDLL(LIBRARY, mode=os.RTLD_LAZY)
    except OSError as error:
        text = str(error)
        return None if text.startswith(f"{LIBRARY}: cannot open shared object file: No such file") else text
    return ""


def _run_child(timeout_s: float) -> tuple[bytes, int | None]:
    """Run the child; its output, and its exit status or None when it was cut off.

    A process that waits inside the kernel ignores even SIGKILL, so it is given up after half a second instead of
    waited for.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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
