"""What is asked of every copy of a model, and what it comes to together."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deployer import ledger
from deployer.paths import Home
from deployer.types import ExactDevice, Live, Plan, ServerState
from deployer.workflow import live, measuring
from deployer.workflow.exact_answer import of_copies, one_copy
from tests.unit.health.conftest import Handler, Scripted
from tests.unit.plans import build_plan
from tests.unit.render import plans

LINES = (
    "load_tensors:        CUDA0 model buffer size =  4000.00 MiB",
    "load_tensors:   CPU_Mapped model buffer size =   300.00 MiB",
)


def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def test_the_first_copy_is_asked_and_all_take_as_much() -> None:
    plan = plans.llama_copies(2)
    one = one_copy(plan)
    assert (one.settings.slots, len(one.devices)) == (8, 1)
    card = ExactDevice(device=plan.devices[0].uuid or "", weights_mib=4000, kv_cache_mib=400, compute_mib=100)
    main = ExactDevice(device="host", weights_mib=300, kv_cache_mib=0, compute_mib=50)
    found = {device.device: device for device in of_copies(plan, (card, main))}
    assert [found[device.uuid or ""].weights_mib for device in plan.devices] == [4000, 4000]
    assert (found["host"].weights_mib, found["host"].compute_mib) == (600, 100)


def test_one_copy_alone_is_left_as_it_is() -> None:
    plan = build_plan()
    main = ExactDevice(device="host", weights_mib=300, kv_cache_mib=0, compute_mib=50)
    assert one_copy(plan) is plan
    assert of_copies(plan, (main,)) == (main,)


def test_each_copy_counts_its_own_gpus_from_zero() -> None:
    plan = plans.llama_copies(2)
    lines = [f"copy {number}: {line}" for number in (1, 2) for line in LINES]
    parts = measuring._parts(plan, lines)
    assert [parts[device.uuid or ""]["weights"] for device in plan.devices] == [4000, 4000]
    assert parts["host"]["weights"] == 600


@pytest.fixture
def server() -> Iterator[Scripted]:
    """What each path of the server says of itself; nothing is at the others."""
    scripted = Scripted()
    yield scripted
    scripted.close()


def page(**values: float) -> Callable[[Handler], None]:
    text = "".join(f"{name.replace('__', ':')} {value}\n" for name, value in values.items())
    return lambda handler: handler.reply(200, text.encode())


def looked(server: Scripted, tmp_path: Path) -> Live:
    where = home(tmp_path)
    ledger.ensure_key(where, "qwen")
    plan: Plan = msgspec.structs.replace(plans.llama_copies(2), port=server.port)
    return live.look(plan, where, ServerState(name="qwen", runtime="compose", status="running"))


def test_numbers_of_all_copies_and_what_waits_before_them_are_added_up(server: Scripted, tmp_path: Path) -> None:
    for number, running in ((1, 2), (2, 1)):
        server.routes[f"/copies/{number}/metrics"] = page(
            llamacpp__requests_processing=running,
            llamacpp__requests_deferred=1,
            llamacpp__tokens_predicted_total=50 * running,
            llamacpp__predicted_tokens_seconds=10 * running,
        )
    server.routes["/metrics"] = page(deployer_requests_waiting=3)
    found = looked(server, tmp_path)
    assert (found.requests_running, found.requests_waiting) == (3, 5)
    assert (found.generated_tokens, found.tokens_per_s) == (150, 30.0)
    assert (found.kv_cache_usage, found.why) == (None, None)


def test_a_silent_copy_is_named_and_the_others_count(server: Scripted, tmp_path: Path) -> None:
    server.routes["/copies/1/metrics"] = page(llamacpp__requests_processing=2, llamacpp__tokens_predicted_total=100)
    found = looked(server, tmp_path)
    assert (found.requests_running, found.requests_waiting, found.generated_tokens) == (2, None, 100)
    assert found.why is not None
    assert found.why.startswith("copy 2: ")
