"""The estimate against load logs of strangers' machines (memory_cases.json): every component with its error.

A component is scored where the log prints it and the metadata gives it (compute: where it says the micro-batch). The
counts are asserted, so that a test cannot pass with nothing to score.
"""

import functools
import json
import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.decide.llama import Buffers, LlamaSettings, buffers
from deployer.decide.memory import MARGIN, MIB
from deployer.decide.weights import compute_layout
from deployer.types import Architecture

CASES = json.loads((Path(__file__).parent / "memory_cases.json").read_text())["cases"]
OLD = ("ix-mixtral-8x7b-q5km-metal", "ik-106-qwen3-32b")
"""A build of 2024 with another expert graph, and a fork: weights and KV cache alone are scored."""


@functools.cache
def estimate(number: int) -> tuple[bool, Buffers] | None:
    """Whether the weights are known, and the buffers; None for a log without the numbers of its model."""
    case = CASES[number]
    if case["architecture"] is None:
        return None
    architecture = msgspec.convert(case["architecture"], Architecture)
    layout = compute_layout(architecture, case["quantization"] or "Q4_K_M")
    settings = msgspec.convert(case["settings"], LlamaSettings)
    return case["quantization"] is not None, buffers(architecture, layout, settings)


def printed(case: dict[str, Any]) -> dict[str, float]:
    """What the log says, by component, in MiB."""
    observed = case["observed"]
    work = {name: size for name, size in (observed.get("compute_mib") or {}).items() if size}
    weights = (observed.get("model_buffers_mib") or {}).items()
    return {
        "weights": sum(size for name, size in weights if "REPACK" not in name),
        "kv": observed.get("kv_mib") or 0.0,
        "state": observed.get("recurrent_mib") or 0.0,
        "compute": sum(work.values()) if case["id"] not in OLD and case["params"].get("n_ubatch") else 0.0,
        "output": sum((observed.get("output_mib") or {}).values()) if case["id"] not in OLD else 0.0,
    }


def scores() -> list[tuple[str, str, float, float]]:
    """Case, component, estimate and log, in MiB. The total where every part of it is known."""
    found = []
    for number, case in enumerate(CASES):
        if (made := estimate(number)) is None:
            continue
        known, devices = made[0], (*made[1].gpus, made[1].host)
        said = printed(case)
        mine = {part: sum(getattr(device, part) for device in devices) / MIB for part in said}
        if not known:
            said["weights"] = 0.0
        found += [(case["id"], part, mine[part], value) for part, value in said.items() if value]
        if said["weights"] and said["kv"] and said["compute"]:
            found.append((case["id"], "total", sum(mine.values()), sum(said.values())))
    return found


SCORES = scores()


@pytest.mark.parametrize(
    ("part", "count", "median", "worst"),
    [
        ("weights", 11, 0.01, 0.04),
        ("kv", 32, 0.001, 0.001),
        ("state", 10, 0.001, 0.001),
        ("compute", 25, 0.10, 0.30),
        ("output", 28, 0.01, 0.05),
        ("total", 9, 0.03, 0.08),
    ],
)
def test_errors_stay_within_the_targets(part: str, count: int, median: float, worst: float) -> None:
    errors = [abs(mine / said - 1) for _, name, mine, said in SCORES if name == part]
    assert len(errors) >= count
    assert statistics.median(errors) < median
    assert max(errors) < worst


def test_no_log_had_more_than_the_estimate_and_its_margin() -> None:
    totals = [(name, mine, said) for name, part, mine, said in SCORES if part == "total"]
    fixed, share = MARGIN["computed"]
    assert [name for name, mine, said in totals if mine * (1 + share) + fixed < said] == []
    assert len(totals) >= 9


def test_most_compute_buffers_are_exact() -> None:
    errors = [abs(mine / said - 1) for _, name, mine, said in SCORES if name == "compute"]
    assert sum(error < 0.01 for error in errors) >= 15


def test_every_case_says_where_it_is_from() -> None:
    assert all(case["source"] for case in CASES)
    assert sum(case["source"].startswith("https://") for case in CASES) >= 20
