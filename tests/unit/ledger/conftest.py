import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployer.paths import Home
from deployer.types import (
    Check,
    DeviceMemory,
    Health,
    HealthReport,
    Limits,
    MemoryPlan,
    Plan,
    PlanImage,
    PlanModel,
    PlanRequest,
    Settings,
    SpeedEstimate,
    VerifiedImage,
)

ROOT = Path(__file__).parents[3]
DROP_PRIVILEGES = """
import os, secrets as _
from deployer.ledger import audit_log, files, host_lock, pointer, releases, secrets, verified
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""

Script = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter, unlike tmp_path."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def script() -> Iterator[Script]:
    """Start Python code in its own process, as nobody where asked; ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, unprivileged: bool = False, umask: int = 0o022) -> subprocess.Popen[str]:
        if unprivileged and os.geteuid() == 0:
            code = DROP_PRIVILEGES + code
        argv: Sequence[str] = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def plan() -> Plan:
    image = PlanImage(
        profile="server-cpu",
        reference="ghcr.io/ggml-org/llama.cpp:server",
        digest="sha256:" + "a" * 64,
        source="pull",
        cuda=None,
        accelerator="cpu",
        recipe="ghcr.io/ggml-org/llama.cpp:server",
    )
    model = PlanModel(
        ref="hf:org/model",
        revision="abc",
        format="gguf",
        quantization="Q4_K_M",
        files=("m.gguf",),
        size_mib=100,
        path="/models/m.gguf",
        name="model",
    )
    memory = DeviceMemory(
        device="host",
        weights_mib=100,
        kv_cache_mib=10,
        compute_mib=10,
        overhead_mib=10,
        total_mib=130,
        margin_mib=20,
        available_mib=1000,
    )
    return Plan(
        name="chat",
        plan_hash="c" * 64,
        host_fingerprint="0123456789ab",
        request=PlanRequest(model="model", users=1, context=2048, workload="chat"),
        engine="llama.cpp",
        engine_version="b1",
        image=image,
        model=model,
        devices=(),
        settings=Settings(context=2048, slots=1, gpu_layers=0, tensor_parallel=1, kv_cache_type="f16", threads=2),
        command=("llama-server",),
        environment={},
        memory=MemoryPlan(devices=(memory,)),
        speed=SpeedEstimate(prompt_tokens_per_s=1.0, decode_tokens_per_s=1.0, total_tokens_per_s=1.0, basis="test"),
        score=(),
        rejected=(),
        warnings=(),
        health=Health(path="/health"),
        limits=Limits(memory_mib=512, pids=100, cpus=None),
        start_period_s=10,
    )


@pytest.fixture
def report() -> HealthReport:
    return HealthReport(ready_after_s=1.0, checks=(Check(name="answer", passed=True, detail="Paris", seconds=0.1),))


@pytest.fixture
def verified(report: HealthReport) -> VerifiedImage:
    return VerifiedImage(
        engine="llama.cpp",
        engine_version="b1",
        profile="server-cpu",
        recipe="dockerfile:1",
        reference="deployer/llama:1",
        image_id="sha256:" + "1" * 64,
        digest=None,
        fingerprint="0123456789ab",
        model="hf:org/model",
        quantization="Q4_K_M",
        deployment="chat",
        release=1,
        verified_at="2026-11-20T05:00:00Z",
        evidence=report,
    )
