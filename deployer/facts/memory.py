"""Main memory: `/proc/meminfo`, tightened by the cgroup's limit."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.facts import cgroup
from deployer.facts.text import colon_pairs, read_text
from deployer.types import MemoryFacts


class Answers(msgspec.Struct, frozen=True):
    """`/proc/meminfo`, and the memory files of each cgroup level."""

    meminfo: str
    levels: tuple[tuple[str, ...], ...] = ()


def probe(root: Path = Path("/")) -> MemoryFacts:
    """Ask this machine."""
    return read(ask(root))


def ask(root: Path = Path("/")) -> Answers:
    """Read the files."""
    return Answers(read_text(root / "proc/meminfo"), cgroup.ask("memory", root))


def read(answers: Answers) -> MemoryFacts:
    """Give total, available and limit in MiB; available = min(MemAvailable, what the cgroup still allows)."""
    pairs = colon_pairs(answers.meminfo)
    total = _kib(pairs.get("MemTotal"))
    if total is None:
        return MemoryFacts()
    available = _available(pairs)
    limit = _limit(answers.levels, total)
    free = [value for value in (available, None if limit is None else limit.free // 1024) if value is not None]
    return MemoryFacts(
        total_mib=total // 1024,
        available_mib=min(free) // 1024 if free else None,
        limit_mib=None if limit is None else limit.limit // cgroup.MIB,
    )


def _available(pairs: dict[str, str]) -> int | None:
    """Give MemAvailable in KiB; kernels before 3.14 lack it, there free + page cache is the usual estimate."""
    available = _kib(pairs.get("MemAvailable"))
    if available is not None:
        return available
    free, cached = _kib(pairs.get("MemFree")), _kib(pairs.get("Cached"))
    return None if free is None else free + (cached or 0)


def _limit(levels: Sequence[Sequence[str]], total_kib: int) -> cgroup.MemoryLimit | None:
    return cgroup.memory_limit(levels, total_kib * 1024)


def _kib(text: str | None) -> int | None:
    number = (text or "").removesuffix("kB").strip()
    return int(number) if number.isdigit() else None
