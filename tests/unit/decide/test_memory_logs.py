"""The estimate against further load logs from public sources (memory_logs.json), device by device."""

import functools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.decide.llama import Buffers, LlamaSettings, buffers
from deployer.decide.memory import MIB
from deployer.decide.weights import compute_layout
from deployer.types import Architecture

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "memory_logs.json").read_text())["cases"]
ROUNDED = 0.55
"""Some logs tell whole MiB."""


@functools.cache
def estimate(number: int) -> Buffers:
    case = CASES[number]
    architecture = msgspec.convert(case["architecture"], Architecture)
    layout = compute_layout(architecture, case["quantization"] or "Q4_K_M")
    return buffers(architecture, layout, msgspec.convert(case["settings"], LlamaSettings))


def sizes(part: str) -> Iterator[tuple[str, float, float]]:
    """Case, estimate and log in MiB, of each device that the log tells."""
    for number, case in enumerate(CASES):
        made = estimate(number)
        mine = [getattr(device, part) / MIB for device in (*made.gpus, made.host)]
        said = case["said"].get(part, [None] * len(mine))
        yield from ((case["id"], one, other) for one, other in zip(mine, said, strict=True) if other is not None)


@pytest.mark.parametrize(("part", "count"), [("weights", 8), ("kv", 30), ("state", 7), ("output", 14)])
def test_what_follows_from_the_numbers_of_a_model_is_exact(part: str, count: int) -> None:
    found = list(sizes(part))
    assert len(found) >= count
    assert [(name, mine, said) for name, mine, said in found if abs(mine - said) > max(ROUNDED, 0.001 * said)] == []


def test_compute_buffers_are_near_and_most_are_exact() -> None:
    errors = [mine / said - 1 for _, mine, said in sizes("compute") if said]
    assert len(errors) >= 26
    assert statistics.median(map(abs, errors)) < 0.001
    assert max(map(abs, errors)) < 0.125


def test_several_gpus_are_met_to_the_mib() -> None:
    near = {"ms-qwen35-35b-a3b-2gpu": 12.5, "tk-235b-np4": ROUNDED, "tk-235b-np1": ROUNDED, "tk-glm46v-np4": ROUNDED}
    found = [item for item in sizes("compute") if item[0] in near]
    assert len(found) >= 16
    assert [(name, mine, said) for name, mine, said in found if abs(mine - said) > near[name]] == []


def test_every_log_has_an_address() -> None:
    assert all(case["source"].startswith("https://") for case in CASES)
