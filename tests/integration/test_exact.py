"""Exact memory from the real engine: its own answer from a header, beside its own log and beside our estimate."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import msgspec
import numpy as np
import pytest

from deployer import catalog
from deployer.errors import PreconditionError
from deployer.paths import Home, data_dir, home
from deployer.types import ExactMemory, Plan, Request
from deployer.workflow import acquire, planning
from deployer.workflow.exact import availability, exact
from deployer.workflow.exact_answer import passed
from tests.hub.server import HubServer, Repo

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

MIB = 1 << 20
SMALL = "smollm2-135m-instruct"


class Quiet:
    """A reporter that says nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def done(self, text: str, seconds: float) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@pytest.fixture
def place(deployer_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The folders of an installation of its own."""
    monkeypatch.setenv("DEPLOYER_HOME", str(deployer_home))
    return home()


@pytest.fixture
def image(place: Home, docker_engine: "docker.DockerClient") -> str:
    """The image of the profile `debian` as `up` builds it; instant when it is here."""
    plan = planning.plan(request(), place)
    found = acquire.obtain(plan, place, Quiet(), allow_build=True)
    assert found.image.image_id is not None
    return found.image.image_id


def request(model: str = SMALL, **changes: Any) -> Request:
    wanted = Request(model=model, image="debian", quantization="Q4_1", users=4, context=2048)
    return msgspec.structs.replace(wanted, **changes)


def ask(plan: Plan, place: Home) -> ExactMemory:
    found = exact(plan, place, Quiet())
    assert not list(place.state.glob("exact-*"))
    assert not subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", "name=deployer-ask-"],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    return found


def server_log(image: str, plan: Plan, model_file: Path) -> str:
    """What llama-server with the plan's settings logs until it listens."""
    tool = catalog.load_engine("llama.cpp").exact
    assert tool is not None
    argv = ("--model", "/models/m.gguf", "--fit", "off", "--log-verbosity", "4", *passed(plan.command, tool))
    mount = f"type=bind,source={model_file},target=/models/m.gguf,readonly"
    run = ["docker", "run", "--detach", "--network", "none", "--mount", mount, image, *argv]
    name = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    try:
        for _ in range(480):
            logs = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True, timeout=30)
            if "listening on" in (text := logs.stdout + logs.stderr):
                return text
            time.sleep(0.25)
        pytest.fail(f"llama-server does not listen:\n{text}")
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=True, timeout=60)


def logged(text: str, what: str) -> float:
    return sum(float(size) for size in re.findall(rf"{what} buffer size = +([\d.]+) MiB", text))


@pytest.mark.parametrize(
    "changes", [{}, {"users": 1, "context": 8192}, {"users": 2, "engine_args": ("--ubatch-size", "1024")}]
)
def test_the_engine_says_what_its_server_takes(
    image: str, place: Home, model_file: Path, changes: dict[str, Any]
) -> None:
    plan = planning.plan(request(**changes), place)
    (device,) = ask(plan, place).devices
    log = server_log(image, plan, model_file)
    assert device.device == "host"
    assert device.weights_mib == int(logged(log, "model"))
    assert device.kv_cache_mib == int(logged(log, "KV"))
    assert abs(device.compute_mib - logged(log, "compute")) <= 1


def test_the_estimate_is_near_and_the_difference_is_shown(image: str, place: Home) -> None:
    plan = planning.plan(request(), place)
    assert availability(plan) is None
    found = ask(plan, place)
    assert (found.tool, found.image, found.compute_is_bound) == ("llama-fit-params", image, False)
    assert {item.component: abs(item.difference_mib) <= 3 for item in found.differences} == {
        "weights": True, "kv_cache": True, "compute": True,
    }  # fmt: skip


def test_the_header_is_all_that_comes_from_the_hub(
    image: str, place: Home, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = ask(planning.plan(request(), place), place)
    with HubServer({"org/smol": Repo({model_file.name: model_file.read_bytes()})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        plan = planning.plan(request("hf:org/smol"), place)
        assert ask(plan, place).devices == local.devices
        assert [seen.range for seen in server.file_requests()] == [f"bytes=0-{2 * MIB - 1}"]
        server.seen.clear()
        ask(plan, place)
        assert server.seen == []


def test_a_split_model_is_asked_about_as_a_whole(
    image: str, place: Home, model_file: Path, deployer_home: Path
) -> None:
    folder = deployer_home / "split"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    shutil.copyfile(model_file, folder / "whole.gguf")
    (folder / "whole.gguf").chmod(0o644)
    words = ["--split", "--split-max-tensors", "100", "/w/whole.gguf", "/w/smol-Q4_1"]
    run = ["docker", "run", "--rm", "--volume", f"{folder}:/w", "--entrypoint", "llama-gguf-split", image, *words]
    subprocess.run(run, check=True, capture_output=True, timeout=120)
    (folder / "whole.gguf").unlink()
    parts = sorted(folder.glob("*.gguf"))
    assert len(parts) == 3
    whole, split = (planning.plan(request(name), place) for name in (SMALL, str(parts[0])))
    assert ask(split, place).devices == ask(whole, place).devices


def write_235b(path: Path) -> None:
    """The header of a model shaped like Qwen3-235B-A22B in Q8_0 (94 layers of 128 experts), in 250 GB of nothing."""
    writer = gguf.GGUFWriter(str(path), "qwen3moe")
    numbers = {
        "block_count": 94, "context_length": 40960, "embedding_length": 4096, "feed_forward_length": 12288,
        "attention.head_count": 64, "attention.head_count_kv": 4, "attention.key_length": 128,
        "attention.value_length": 128, "expert_count": 128, "expert_used_count": 8,
        "expert_feed_forward_length": 1536, "vocab_size": 151936,
    }  # fmt: skip
    for key, value in numbers.items():
        writer.add_uint32(f"qwen3moe.{key}", value)
    writer.add_float32("qwen3moe.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    end = 0
    for name, shape in shapes():
        packed = len(shape) > 1 and "gate_inp" not in name
        count = int(np.prod(shape, dtype=np.int64))
        size = count // 32 * 34 if packed else count * 4
        stored = [*reversed(shape[1:]), shape[0] // 32 * 34 if packed else shape[0]]
        kind = gguf.GGMLQuantizationType.Q8_0 if packed else gguf.GGMLQuantizationType.F32
        writer.add_tensor_info(name, stored, np.dtype(np.uint8 if packed else np.float32), size, raw_dtype=kind)
        end = -(-end // 32) * 32 + size
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(-(-path.stat().st_size // 32) * 32 + end)


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner = 4096, 1536
    yield from (("token_embd.weight", (width, 151936)), ("output.weight", (width, 151936)))
    yield "output_norm.weight", (width,)
    for layer in range(94):
        for name, shape in {
            "attn_norm": (width,), "ffn_norm": (width,), "attn_q_norm": (128,), "attn_k_norm": (128,),
            "attn_q": (width, 8192), "attn_k": (width, 512), "attn_v": (width, 512), "attn_output": (8192, width),
            "ffn_gate_inp": (width, 128), "ffn_gate_exps": (width, inner, 128), "ffn_up_exps": (width, inner, 128),
            "ffn_down_exps": (inner, width, 128),
        }.items():  # fmt: skip
            yield f"blk.{layer}.{name}.weight", shape


def test_a_model_of_250_gb_is_measured_from_its_header(
    image: str, place: Home, deployer_home: Path, tmp_path: Path
) -> None:
    path = deployer_home / "big-Q8_0.gguf"
    write_235b(path)
    assert path.stat().st_blocks * 512 < MIB < 249_900_000_000 < path.stat().st_size
    host = json.loads((data_dir("profiles") / "hosts" / "cpu-avx512.json").read_text())
    host["memory"] |= {"total_mib": 600_000, "available_mib": 590_000}
    (tmp_path / "host.json").write_text(json.dumps(host))
    wanted = request(str(path), quantization=None, context=4096)
    plan = planning.plan(wanted, place, host_file=tmp_path / "host.json")
    found = ask(plan, place)
    parts = {item.component: item for item in found.differences}
    assert parts["weights"].exact_mib == 238_355
    assert (
        parts["kv_cache"].exact_mib == 94 * (4 * 4096) * 4 * (128 + 128) * 2 // MIB == 3008
    )  # layers, cells, heads, f16
    assert abs(parts["weights"].difference_mib) <= 238_355 // 100
    assert abs(parts["kv_cache"].difference_mib) <= 4
    assert abs(parts["compute"].difference_mib) <= 100  # of 241,000 in all
    assert not found.compute_is_bound


def test_an_image_without_the_program_says_so(image: str, place: Home, docker_engine: "docker.DockerClient") -> None:
    plan = planning.plan(request(), place)
    bare = docker_engine.images.get("debian:sid-slim").id
    other = msgspec.structs.replace(plan, image=msgspec.structs.replace(plan.image, image_id=bare))
    with pytest.raises(PreconditionError, match="image debian has neither llama-fit-params nor llama"):
        exact(other, place, Quiet())
    absent = msgspec.structs.replace(plan, image=msgspec.structs.replace(plan.image, image_id="sha256:" + "0" * 64))
    assert "is not on this machine, so it cannot be asked" in (availability(absent) or "")
