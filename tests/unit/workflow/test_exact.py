"""What the engine's measuring program is told, how its answer is read, and why it cannot be asked."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from deployer import catalog
from deployer.errors import PreconditionError
from deployer.execution import Completed
from deployer.paths import Home
from deployer.types import DeviceMemory, ExactDevice, ExactTool, MemoryPlan, Plan, PlanModel, Settings
from deployer.workflow.exact import availability, exact
from deployer.workflow.exact_answer import differences, named, passed, read
from tests.unit.models.gguf_files import write_llama
from tests.unit.render import plans

PROGRAM = """#!{python}
import os, struct, sys
path = sys.argv[sys.argv.index("--model") + 1]
rows = 100
with open(path, "rb") as file:
    text = file.read(4096)
if b"no_vocab" in text:
    if os.environ.get("NEEDS_WORDS"):
        sys.exit("cannot load a model without words")
    at = text.index(b"llama.vocab_size") + len(b"llama.vocab_size") + 4
    rows = struct.unpack_from("<I", text, at)[0]
with open(os.environ["SEEN"], "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
print("warming up")
print(f"Host 92 180 {{rows}} ")
"""


class Silent:
    """A reporter that keeps what was done."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None:
        """Nothing."""

    def done(self, text: str, seconds: float) -> None:
        self.lines.append(text)

    def detail(self, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


def tool() -> ExactTool:
    found = catalog.load_engine("llama.cpp").exact
    assert found is not None
    return found


def memory(device: str, weights: int, kv_cache: int, compute: int) -> DeviceMemory:
    return DeviceMemory(
        device=device, weights_mib=weights, kv_cache_mib=kv_cache, compute_mib=compute, overhead_mib=0, margin_mib=0,
        total_mib=weights + kv_cache + compute, available_mib=None,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


@pytest.fixture
def local(tmp_path: Path) -> Plan:
    """A plan for a program of this host and a small file; 50 of 100 words make 4 slots of 2 logits a token."""
    path = write_llama(tmp_path / "m.gguf", layers=2)
    model = PlanModel(
        ref=str(path), revision=None, format="gguf", quantization="Q8_0", files=("m.gguf",), size_mib=1,
        path=str(path), name="m",
    )  # fmt: skip
    settings = Settings(
        context=512, slots=4, gpu_layers=0, tensor_parallel=1, kv_cache_type="f16", threads=2, micro_batch=8
    )
    return plans.plan(
        image=plans.image("llama-server", reference=None, digest=None, image_id=None, source="none"),
        model=model,
        settings=settings,
        command=("llama-server", "--model", str(path), "--ctx-size", "2048", "--parallel", "4", "--port", "1"),
        memory=MemoryPlan(devices=(memory("host", 90, 180, 60),)),
        runtime="process",
        environment={},
    )


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `llama-fit-params` on PATH, and the file with what it was called with."""
    program = tmp_path / "bin" / "llama-fit-params"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return tmp_path / "seen"


def test_only_flags_that_the_program_has_are_passed() -> None:
    words = plans.plan().command
    assert "--api-key-file" in words
    told = passed((*words, "--swa-full", "--ubatch-size=256", "--metrics"), tool())
    assert "--api-key-file" not in told
    assert "--metrics" not in told
    assert told[-2:] == ("--swa-full", "--ubatch-size=256")
    assert told[told.index("--ctx-size") + 1] == words[words.index("--ctx-size") + 1]


def test_answers_go_to_the_planned_devices_in_their_order() -> None:
    text = "log line\nCUDA0 4403 256 304 \nCUDA1 4200 256 304\nHost 292 0 24 \nHost many 1 2\n"
    answer = read(tool(), Completed(returncode=0, stdout=text, stderr=""))
    plan = plans.plan(devices=plans.P40S)
    devices = named(plan, tool(), answer, {**answer, "CUDA0": msgspec.structs.replace(answer["CUDA0"], compute_mib=9)})
    first, second = (device.uuid for device in plans.P40S)
    assert [(device.device, device.total_mib) for device in devices] == [
        (first, 4403 + 256 + 9), (second, 4200 + 256 + 304), ("host", 316),
    ]  # fmt: skip


def test_a_device_without_uuid_keeps_the_programs_name() -> None:
    answer = read(tool(), Completed(returncode=0, stdout="Vulkan0 1 2 3\nHost 4 5 6\n", stderr=""))
    devices = named(plans.plan(devices=(plans.RX_7900,)), tool(), answer, answer)
    assert [device.device for device in devices] == ["Vulkan0", "host"]


@pytest.mark.parametrize(("status", "text"), [(1, "Host 1 2 3\n"), (0, ""), (0, "Host 1 2\n"), (0, "x Host 1 2 3\n")])
def test_no_answer_is_not_taken_for_one(status: int, text: str) -> None:
    assert read(tool(), Completed(returncode=status, stdout=text, stderr="")) == {}


def test_the_difference_is_shown_for_each_part() -> None:
    plan = plans.plan(memory=MemoryPlan(devices=(memory("host", 93, 180, 18), memory("GPU-x", 1, 1, 1))))
    exact_host = ExactDevice(device="host", weights_mib=92, kv_cache_mib=180, compute_mib=16)
    other = ExactDevice(device="Vulkan0", weights_mib=1, kv_cache_mib=1, compute_mib=1)
    found = tuple(differences(plan, (exact_host, other)))
    assert [item.difference_mib for item in found] == [-1, 0, -2]
    assert found[2].line == "host compute: estimated 18 MiB, exact 16 MiB (-2)"


def test_a_program_of_this_host_is_asked_twice(local: Plan, home: Home, seen: Path) -> None:
    report = Silent()
    assert availability(local) is None
    found = exact(local, home, report)
    assert found.devices == (ExactDevice(device="host", weights_mib=92, kv_cache_mib=180, compute_mib=50),)
    assert (found.tool, found.image, found.compute_is_bound) == ("llama-fit-params", None, False)
    assert [item.difference_mib for item in found.differences] == [2, 0, -10]
    assert report.lines == ["llama-fit-params answered for 1 devices"]
    whole, narrow = (line.split() for line in seen.read_text().splitlines())
    assert whole[:2] == ["--model", narrow[1].replace("narrow", "model")]
    assert whole[2:] == narrow[2:] == ["--ctx-size", "2048", "--parallel", "4", "--fit-print", "on"]
    assert list(home.state.iterdir()) == []


def test_an_embedding_server_reserves_as_much_as_the_program(local: Plan, home: Home, seen: Path) -> None:
    request = msgspec.structs.replace(local.request, workload="embedding")
    found = exact(msgspec.structs.replace(local, request=request), home, Silent())
    assert found.devices[0].compute_mib == 100
    assert len(seen.read_text().splitlines()) == 1


def test_a_model_that_needs_its_words_gives_an_upper_bound(
    local: Plan, home: Home, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDS_WORDS", "1")
    found = exact(local, home, Silent())
    assert (found.devices[0].compute_mib, found.compute_is_bound) == (100, True)


def test_a_program_that_fails_is_quoted(local: Plan, home: Home, seen: Path) -> None:
    (seen.parent / "bin" / "llama-fit-params").write_text("#!/bin/sh\necho 'error: failed to load model' >&2; exit 1\n")
    with pytest.raises(PreconditionError, match="gave no answer: error: failed to load model"):
        exact(local, home, Silent())
    assert list(home.state.iterdir()) == []


def test_nothing_is_left_after_an_interruption(
    local: Plan, home: Home, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        assert [path.name for path in home.state.rglob("*.gguf")] == ["model.gguf"]
        raise KeyboardInterrupt

    monkeypatch.setattr("deployer.workflow.exact.run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        exact(local, home, Silent())
    assert list(home.state.iterdir()) == []


def test_why_nobody_can_be_asked(local: Plan, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = plans.plan(image=plans.image("cuda-source", "cuda"))
    assert availability(source) == "image cuda-source cannot be asked: its Dockerfile builds llama-server only"
    assert "no program that says what it takes" in (availability(plans.plan(engine="vllm")) or "")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(PreconditionError, match="PATH has neither llama-fit-params nor llama"):
        exact(local, home, Silent())


def test_a_file_system_that_cannot_hold_it(
    local: Plan, home: Home, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, length: int) -> None:
        raise OSError(27, f"File too large: {descriptor} {length}")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(PreconditionError, match="a sparse file as long as the model cannot be written: File too large"):
        exact(local, home, Silent())
