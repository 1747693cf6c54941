"""Load logs of other people's machines, scored as the loads here are: tests/unit/decide/memory_cases.json."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from deployer.decide.llama import LlamaSettings, buffers
from deployer.decide.memory import margin_mib
from deployer.decide.weights import compute_layout
from deployer.types import Architecture
from scripts.memory_truth.observe import STORED
from scripts.memory_truth.score import Score, of_peers, parts

CASES = STORED.with_name("memory_cases.json")
GROUP = "public load logs"
UNLIKE = ("ix-mixtral-8x7b-q5km-metal", "ik-106-qwen3-32b")
"""A build of 2024 with another graph, and a fork: their working memory follows other rules."""


def read() -> list[Score]:
    """Every log that says of which model it is."""
    found = json.loads(CASES.read_text())["cases"]
    return [_score(case) for case in found if case["architecture"] is not None]


def _score(case: Mapping[str, Any]) -> Score:
    architecture = msgspec.convert(case["architecture"], Architecture)
    settings = msgspec.convert(case["settings"], LlamaSettings)
    layout = compute_layout(architecture, case["quantization"] or "Q4_K_M")
    made = parts(buffers(architecture, layout, settings))
    return Score(
        id=case["id"],
        model=GROUP,
        ours=made,
        observed=_printed(case),
        peers=of_peers(layout.total_bytes, architecture, settings.context_total),
        margin=margin_mib(round(made["total"]), "computed"),
    )


def _printed(case: Mapping[str, Any]) -> dict[str, float]:
    """MiB by part, 0 where it is not known; a total where all large parts are."""
    seen, alike = case["observed"], case["id"] not in UNLIKE
    weights = seen.get("model_buffers_mib") or {}
    compute = seen.get("compute_mib") or {}
    found = {
        "weights": sum(size for name, size in weights.items() if "REPACK" not in name) if case["quantization"] else 0.0,
        "kv": seen.get("kv_mib") or 0.0,
        "state": seen.get("recurrent_mib") or 0.0,
        "compute": sum(filter(None, compute.values())) if alike and case["params"].get("n_ubatch") else 0.0,
        "output": sum((seen.get("output_mib") or {}).values()) if alike else 0.0,
    }
    whole = found["weights"] and found["kv"] and found["compute"]
    return {**found, "total": sum(found.values()) if whole else 0.0}
