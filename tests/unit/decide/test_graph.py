"""Compute buffers: a few layers of each kind stand for all, and what the graphs of single families come to."""

from pathlib import Path

import pytest

from deployer.decide.llama import LlamaSettings
from deployer.decide.llama.compute import Part, graph_bytes, representatives
from deployer.types import Architecture
from scripts.memory_truth import observe
from scripts.memory_truth.registry import MODELS
from scripts.memory_truth.score import score

RUN = observe.read()
TOLD = (
    LlamaSettings(context_total=8192),
    LlamaSettings(context_total=131072, slots=8, kv_type_k="q8_0", kv_type_v="q8_0"),
    LlamaSettings(context_total=4096, flash_attention=False),
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Architecture]:
    folder = tmp_path_factory.mktemp("models")
    return {name: observe.read_header(MODELS[name], folder).architecture for name in {case.model for case in RUN.cases}}


def sizes(shape: Architecture, told: LlamaSettings, layers: tuple[int, ...]) -> list[int]:
    """Buffers of a CPU, of one GPU, of the last of several, and of one that computes for main memory too."""
    return [
        graph_bytes(shape, told, part)
        for part in (
            Part(layers, on_gpu=False),
            Part(layers, half_copies=True),
            Part(layers, first=False, copies=4),
            Part(layers, guests=layers, weight_bytes=0.6, expert_bytes=0.6),
        )
    ]


IRREGULAR = {"lfm2-1.2b": 0.001, "nemotron-h-8b": 0.05}
"""Layers of three kinds in no regular order: by how much a few of them may be off."""


def test_a_few_layers_need_as_much_as_all_one_after_another(shapes: dict[str, Architecture]) -> None:
    assert len(shapes) >= 30
    for name, shape in shapes.items():
        few, every = representatives(shape, 0, shape.layers), tuple(range(shape.layers))
        for told in TOLD:
            whole = sizes(shape, told, every)
            if name in IRREGULAR:
                assert sizes(shape, told, few) == pytest.approx(whole, rel=IRREGULAR[name]), name
            else:
                assert sizes(shape, told, few) == whole, name


def test_the_part_of_a_gpu_is_found_by_its_kinds_of_layers(shapes: dict[str, Architecture]) -> None:
    shape = shapes["llama-3.1-8b"]
    assert representatives(shape, 0, 4) == representatives(shape, 4, 8) == (0, 0, 0)
    assert representatives(shape, 3, 3) == ()


@pytest.mark.parametrize(
    ("model", "worst"),
    [("rwkv7-1.5b", 0.001), ("gemma-3n-e2b", 0.02), ("gemma-4-e2b", 0.04), ("jamba-v0.1", 0.005), ("qwen3-8b", 0.005)],
)
def test_graphs_of_single_families_with_flash_attention(model: str, worst: float, tmp_path: Path) -> None:
    spec = observe.read_header(MODELS[model], tmp_path)
    cases = [case for case in RUN.cases if case.model == model and case.setting.flash_attention]
    errors = [score(case, spec, RUN.build).error("compute") for case in cases]
    assert len(errors) >= 7
    assert max(abs(error or 0.0) for error in errors) < worst
