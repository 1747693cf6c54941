"""The floor lies far below what is predicted, and above what a CPU reaches where nothing else proves the GPU."""

from typing import Any

import pytest

from deployer.health.speed_floor import speed_floor
from deployer.types import Plan
from tests.unit.plans import build_plan

GPU = [{"index": 0, "uuid": "GPU-1", "vendor": "nvidia"}]


def predicted(tokens_per_s: float | None, devices: Any = ()) -> Plan:
    speed = {"prompt_tokens_per_s": None, "decode_tokens_per_s": tokens_per_s, "total_tokens_per_s": None, "basis": ""}
    return build_plan(speed=speed, devices=list(devices))


@pytest.mark.parametrize("tokens_per_s", [None, 0.0])
def test_without_a_prediction_there_is_no_floor(tokens_per_s: float | None) -> None:
    assert speed_floor(predicted(tokens_per_s), proved=False) is None


@pytest.mark.parametrize(
    ("tokens_per_s", "devices", "proved", "floor"),
    [
        (153.0, (), True, 4.33),  # SmolLM2 on two cores: 150 measured
        (34.0, (), True, 1.45),  # the same by PyTorch
        (135.0, GPU, False, 8.06),  # 7B in 4 bits on RTX 3090; a desktop's main memory gives 4 to 8
        (135.0, GPU, True, 4.03),
        (20000.0, GPU, False, 19.8),  # a very small model: nobody reaches 20000
        (0.5, (), True, 0.0249),
    ],
)
def test_floors(tokens_per_s: float, devices: Any, proved: bool, floor: float) -> None:
    found = speed_floor(predicted(tokens_per_s, devices), proved=proved)
    assert found is not None
    assert found.tokens_per_s == pytest.approx(floor, rel=0.01)
    assert f"{tokens_per_s:g} predicted" in found.basis
