"""A server that computes elsewhere than planned, or far slower, is a failed start: exit 7 or 8 with the cause.

GPUs are the stand-in library under the real NVML binding (tests/nvml), and the engine is a program that writes
llama-server's log. The floors of the CPU are held by real engines that lose their processor when they are ready.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import NAME_LABEL, Deployer, Outcome, free_port

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"
LAYERS = "load_tensors: offloaded {0}/31 layers to GPU"
NO_CUDA = "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in for NVIDIA's library."""
    folder = tmp_path_factory.mktemp("nvml")
    target, source = folder / "libnvidia-ml.so.1", ROOT / "tests/nvml/nvml.c"
    subprocess.run(("cc", "-shared", "-fPIC", "-o", str(target), str(source)), check=True)
    return folder


@pytest.fixture(scope="module")
def with_cuda_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this program that takes the `llama-server` on PATH for one with code for an RTX 4090."""
    copy = tmp_path_factory.mktemp("program")
    for name in ("deployer", "templates", "profiles"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    profile = copy / "profiles/engines/llama.cpp.yaml"
    text, cpu = profile.read_text(), "  - id: llama-server\n    version: host\n    accelerator: cpu\n"
    assert text.count(cpu) == 1
    cuda = cpu.replace("host", "b11669").replace(
        "cpu", 'cuda\n    cuda: "12.8"\n    sass: ["8.9"]\n    driver_min: "570"'
    )
    profile.write_text(text.replace(cpu, cuda))
    return copy


PROGRAM = """#!/bin/sh
# The stand-in for llama-server, with the log of a real one, and memory of the GPU that is in use while it runs.
before=
for word; do
    if [ "$before" = --parallel ]; then cat "{folder}/$word.log" >&2; fi
    before=$word
done
cp {folder}/loaded.txt {folder}/answers.txt
trap 'kill "$server"; cp {folder}/idle.txt {folder}/answers.txt; exit 0' TERM
{server} "$@" &
server=$!
wait "$server"
"""


class Host:
    """A machine with one RTX 4090 by the stand-in library, and `up` on it."""

    def __init__(self, deployer: Deployer, folder: Path, env: dict[str, str]) -> None:
        self.deployer, self.folder, self.env = deployer, folder, env
        self.port = str(free_port())
        self.idle = (ROOT / "tests/nvml/answers/rtx4090.txt").read_text()

    def up(self, *, log: str, used_mib: int, users: int = 1) -> Outcome:
        """With this log of the engine, and so much more memory of the GPU in use once it has loaded."""
        (self.folder / "loaded.txt").write_text(self.with_used(used_mib))
        (self.folder / f"{users}.log").write_text(f"{log}\n")
        (self.folder / "idle.txt").write_text(self.idle)
        asked = (MODEL, "--runtime", "process", "--image", "llama-server", "--port", self.port, "--users", str(users))
        return self.deployer("up", *asked, "--yes", "--json", env=self.env)

    def with_used(self, mib: int) -> str:
        lines = self.idle.splitlines()
        place = next(place for place, line in enumerate(lines) if line.startswith("0.memory="))
        total, free, reserved = lines[place].removeprefix("0.memory=").split()
        lines[place] = f"0.memory={total} {int(free) - mib * MIB} {reserved}"
        return "\n".join(lines) + "\n"

    def answers_now(self) -> bool:
        (row,) = self.deployer("status", "--json", env=self.env).ok().json()["deployments"]
        return bool(row["answers"])


@pytest.fixture
def host(deployer: Deployer, nvml: Path, with_cuda_program: Path, tmp_path: Path) -> Iterator[Host]:
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    server = ROOT / "tests/integration/engines/fake/llama_server.py"
    program.write_text(PROGRAM.format(folder=tmp_path, server=server))
    program.chmod(0o755)
    env = {
        "PYTHONPATH": str(with_cuda_program),
        "LD_LIBRARY_PATH": str(nvml),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "NVML_ANSWERS": str(tmp_path / "answers.txt"),
    }
    made = Host(deployer, tmp_path, env)
    (tmp_path / "answers.txt").write_text(made.idle)
    yield made
    deployer("down", MODEL, "--yes", env=env)


def checks(outcome: Outcome) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in outcome.json()["health"]["checks"]}


def test_a_gpu_that_is_used_is_proved_by_driver_and_log(host: Host) -> None:
    found = checks(host.up(log=LAYERS.format(31), used_mib=900).ok())
    assert "900 MiB more of GPU-" in found["gpu memory"]
    assert found["layers"] == "the log says that 31 of 31 layers are on GPUs"
    assert "the floor is" in found["speed"]


@pytest.mark.parametrize(
    ("log", "used_mib", "check", "words"),
    [
        (LAYERS.format(31), 10, "gpu memory", "only 10 MiB more"),
        (LAYERS.format(0), 900, "layers", "0 of 31 layers"),
        (NO_CUDA, 900, "log", "failed to initialize CUDA"),
        (f"{NO_CUDA}\n{LAYERS.format(0)}", 0, "gpu memory", "only 0 MiB more"),
    ],
)
def test_a_server_on_the_cpu_where_a_gpu_was_planned_ends_with_8(
    host: Host, log: str, used_mib: int, check: str, words: str
) -> None:
    error = host.up(log=log, used_mib=used_mib).exited(8).json()["error"]
    assert error["kind"] == "not-serving"
    assert error["details"]["check"] == check
    assert words in error["details"]["observed"]
    assert "computes on the CPU" in error["details"]["observed"]
    assert error["hint"]
    if NO_CUDA in log:
        assert "The GPU runtime did not start, and the server went on with the CPU" in error["message"]
        assert "no CUDA-capable device" in error["message"]
    rows = host.deployer("status", "--json", env=host.env).ok().json()["deployments"]
    assert [row["status"] for row in rows] == ["down"]


def test_the_release_that_used_the_gpu_comes_back_with_7(host: Host) -> None:
    assert host.up(log=LAYERS.format(31), used_mib=900).ok().json()["changed"] is True
    error = host.up(log=LAYERS.format(0), used_mib=900, users=2).exited(7).json()["error"]
    assert error["kind"] == "rolled-back"
    assert "0 of 31 layers" in error["message"]
    assert "release 1 serves again" in error["message"]
    assert host.answers_now()


SLOW = {
    "llama.cpp": ("--image", "debian={llama_image}", "--engine-arg=--threads", "--engine-arg=1"),
    "vllm": ("--engine", "vllm", "--image", "cpu={vllm_image}", "--engine-arg=--enforce-eager"),
    "sglang": ("--engine", "sglang", "--image", "xeon={sglang_image}"),
}
# What is left of a processor once it is ready: about half of what the floor asks for, 1/20 of what was predicted.
CPUS = {"llama.cpp": "0.02", "vllm": "0.03", "sglang": "0.05"}


@dataclass(frozen=True)
class Slow:
    """A real engine, and `up` of it with all of the processor or, from when it is ready, with nearly nothing."""

    deployer: Deployer
    asked: tuple[str, ...]
    cpus: str

    def up(self, users: int, *, slowed: bool) -> Outcome:
        words = ("up", *self.asked, "--users", str(users), "--timeout", "600", "--yes", "--json")
        if not slowed:
            return self.deployer(*words, timeout_s=650)
        argv = (sys.executable, "-m", "tests.integration.slowed", self.cpus, "slow", *words)
        env = {**os.environ, "DEPLOYER_HOME": str(self.deployer.home)}
        done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=850, check=False)
        return Outcome(words, done.returncode, done.stdout, done.stderr)


@pytest.fixture(params=SLOW)
def slow(request: pytest.FixtureRequest, deployer: Deployer) -> Iterator[Slow]:
    fixtures = ("llama_image", "vllm_image", "sglang_image")
    images = {name: request.getfixturevalue(name) for name in fixtures if name.startswith(request.param[:4])}
    model = MODEL if request.param == "llama.cpp" else str(request.getfixturevalue("safetensors_model"))
    words = (model, *(word.format(**images) for word in SLOW[request.param]))
    asked = (*words, "--name", "slow", "--runtime", "compose", "--context", "512", "--port", str(free_port()))
    yield Slow(deployer, asked, CPUS[request.param])
    deployer("down", "slow", "--yes")


def is_below_the_floor(error: dict[str, Any]) -> None:
    """The real floor of the real gate, with the cause and the way out in words."""
    observed = error["details"]["observed"]
    assert error["details"]["check"] == "speed", error
    assert "too slow" in observed
    assert "the floor is" in observed
    assert "its limit of processors held it back" in observed
    assert "`cpus`" in error["hint"]


def test_a_real_engine_without_a_processor_fails_the_floor(slow: Slow, docker_engine: "docker.DockerClient") -> None:
    error = slow.up(1, slowed=True).exited(8).json()["error"]
    assert error["kind"] == "not-serving"
    is_below_the_floor(error)
    assert not docker_engine.containers.list(all=True, filters={"label": f"{NAME_LABEL}=slow"})


def test_the_release_that_was_fast_enough_serves_again(slow: Slow) -> None:
    assert slow.up(1, slowed=False).ok().json()["changed"] is True
    shutil.rmtree(slow.deployer.home / "ledger/observations")  # measured beside other work, it would lower the floor
    error = slow.up(2, slowed=True).exited(7).json()["error"]
    assert error["kind"] == "rolled-back"
    is_below_the_floor(error)
    assert "release 1 serves again" in error["message"]
    (row,) = slow.deployer("status", "--json").ok().json()["deployments"]
    assert (row["release"], row["answers"]) == (1, True)
