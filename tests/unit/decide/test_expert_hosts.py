"""Hosts that nobody reported, and what somebody who knows the hardware would choose on them.

Each row of `expert_hosts.json` follows from what drivers, images and engines are documented to do (`source`). Cards are
`[name, compute capability or gfx target, total MiB, further facts]`, `count` times; a host is an x86-64 machine with
AVX2, 64 GiB and Docker that can hand out GPUs, but for what `host` says.
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.types import HostFacts
from tests.unit.decide.cases.shape import Ask, Expect, merged
from tests.unit.decide.test_real_hosts import decide, disagreements, picture, refusal_line, rejections, says

ROWS: dict[str, dict[str, Any]] = {
    row["id"]: row for row in json.loads((Path(__file__).parent / "expert_hosts.json").read_text())
}
USUAL: dict[str, object] = {
    "cpu": {"architecture": "x86_64", "cores": 16, "available_cores": 16, "flags": ["avx", "avx2", "f16c", "fma"]},
    "memory": {"total_mib": 65536, "available_mib": 60000},
    "container": {"engine": "docker", "version": "28.5.1", "nvidia_toolkit": "1.18.0", "nvidia_runtime": True},
    "programs": {},
}
REFUSALS = [(name, key) for name, row in ROWS.items() for key in row["expect"].get("refused", {})]


def card(index: int, name: str, target: str | None, total: int | None, more: dict[str, object]) -> dict[str, object]:
    """A GPU of a row; what is free is a little less than all."""
    facts: dict[str, object] = {"index": index, "name": name, "vendor": "nvidia", "compute_capability": target}
    if target is None or target.startswith("gfx"):
        facts |= {"vendor": "amd" if target else "intel", "gfx": target, "compute_capability": None}
    if total is not None:
        facts |= {"memory_total_mib": total, "memory_free_mib": total - 200}
    return facts | {"uuid": f"GPU-{index:08d}-0000-4000-8000-000000000000"} | more


def asked(name: str) -> Ask:
    row = ROWS[name]
    cards = row["gpus"] * row.get("count", 1)
    gpus = [card(index, *one[:3], *(one[3:] or ({},))) for index, one in enumerate(cards)]
    driver = {"nvidia": {"driver": row["driver"]}} if "driver" in row else {}
    facts = merged({**USUAL, "gpus": gpus, **driver}, row.get("host", {}))
    expect = msgspec.convert(row["expect"], Expect)
    return Ask(msgspec.convert(facts, HostFacts), row["request"], None, expect)


@pytest.mark.parametrize("name", ROWS)
def test_the_decision_is_that_of_somebody_who_knows(name: str) -> None:
    ask = asked(name)
    found = decide(ask)
    wrong = disagreements(found, ask.expect)
    assert not wrong, f"{name} ({ROWS[name]['why']}): {'; '.join(wrong)}{picture(found)}"


@pytest.mark.parametrize(("name", "key"), REFUSALS)
def test_what_cannot_run_says_why(name: str, key: str) -> None:
    ask, (engine, _, image) = asked(name), key.partition("/")
    found = decide(ask) if image else decide(ask, engine=engine, quantization=None)
    refused = [item for item in rejections(found) if item.engine == engine and image in ("", item.image)]
    said = [f"{item.rule}: {item.reason}" for item in refused]
    assert says(said, ask.expect.refused[key]), f"{name}: {key}: {[refusal_line(item) for item in refused]}"


def test_every_row_says_where_it_is_from() -> None:
    assert 40 <= len(ROWS) <= 110
    assert all(row["why"] and re.search(r"\w{4}", row["source"]) for row in ROWS.values())
