"""Speed from two looks at a counter, and GPUs as the driver tells them, through the real NVML binding."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deployer.types import Gpu, Live
from deployer.workflow import gpu_use, live
from tests.unit.plans import build_plan

NVML = Path(__file__).parents[2] / "nvml"


@pytest.mark.parametrize(
    ("before", "now", "seconds", "speed", "over"),
    [
        (100.0, 150.0, 2.0, 25.0, 2.0),
        (100.0, 100.0, 2.0, 0.0, 2.0),
        (None, 150.0, 2.0, 9.0, None),
        (100.0, None, 2.0, 9.0, None),
        (100.0, 20.0, 2.0, 9.0, None),  # started again meanwhile
        (100.0, 150.0, 0.0, 9.0, None),
    ],
)
def test_tokens_per_second(
    before: float | None, now: float | None, seconds: float, speed: float, over: float | None
) -> None:
    first = Live(generated_tokens=before, at_s=7.0)
    found = live.since(first, Live(generated_tokens=now, tokens_per_s=9.0, at_s=7.0 + seconds))
    assert (found.tokens_per_s, found.over_s) == (speed, over)
    assert live.since(None, found) is found


CODE = """
import sys
import msgspec
from deployer.workflow import gpu_use
from tests.unit.plans import build_plan
plan = build_plan(devices=[{"index": 0, "uuid": "GPU-x", "vendor": "nvidia"}])
sys.stdout.buffer.write(msgspec.json.encode(gpu_use.gpus(plan)))
"""


def gpus(answers: str, folder: Path) -> dict[str, Gpu]:
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        subprocess.run(("cc", "-shared", "-fPIC", "-o", str(library), str(NVML / "nvml.c")), check=True)
    answered = str(NVML / "answers" / f"{answers}.txt")
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "NVML_ANSWERS": answered}
    root = Path(__file__).parents[3]
    done = subprocess.run((sys.executable, "-c", CODE), env=env, cwd=root, capture_output=True, check=True, timeout=120)
    return msgspec.json.decode(done.stdout, type=dict[str, Gpu])


def test_gpus_and_slices_are_by_uuid_with_processes_and_memory(tmp_path: Path) -> None:
    found = gpus("p40x2-580", tmp_path)
    first = found["GPU-6b1f9c1e-0f3d-4c52-9a51-3d7f0d1c2a10"]
    assert first.memory_free_mib == 23683137536 >> 20
    assert [(process.pid, process.memory_mib) for process in first.processes or ()] == [(4242, 300)]
    slices = {name: gpu for name, gpu in gpus("a100-mig", tmp_path).items() if name.startswith("MIG-")}
    assert slices
    assert all(gpu.memory_free_mib is not None and gpu.processes is None for gpu in slices.values())


def test_a_plan_for_the_cpu_asks_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.facts.nvidia_gpus", lambda _: pytest.fail("asked"))
    assert gpu_use.gpus(build_plan()) == {}
