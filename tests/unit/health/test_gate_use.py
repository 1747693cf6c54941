"""The gate refuses a server that computes elsewhere than planned, or far slower; what is not known passes."""

import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from deployer.errors import StartError
from deployer.health import Evidence, gate
from deployer.health.gpu_use import Verdict
from deployer.types import Gpu, HealthReport, Offloaded, Plan, ServerState

Make = Callable[..., Plan]
UUID = "GPU-1"
LAYERS = Offloaded(pattern=r"offloaded (?P<layers>\d+)/(?P<total>\d+) layers", source="llama.cpp")
SIZES = {"kv_cache_mib": 1, "compute_mib": 1, "overhead_mib": 1, "margin_mib": 1, "available_mib": 24000}
ON_GPU = {
    "devices": [{"index": 0, "uuid": UUID, "vendor": "nvidia"}],
    "memory": {"devices": [{"device": UUID, "weights_mib": 4000, "total_mib": 4003, **SIZES}]},
    "settings": {
        "context": 2048,
        "slots": 1,
        "gpu_layers": 33,
        "tensor_parallel": 1,
        "kv_cache_type": "f16",
        "threads": 1,
    },
}


def gpu(free_mib: int) -> dict[str, Gpu]:
    return {UUID: Gpu(index=0, uuid=UUID, memory_free_mib=free_mib)}


def speed(tokens_per_s: float) -> dict[str, Any]:
    return {
        "speed": {
            "prompt_tokens_per_s": None,
            "decode_tokens_per_s": tokens_per_s,
            "total_tokens_per_s": None,
            "basis": "rough",
        }
    }


def passed(server: Any, make_plan: Make, evidence: Evidence | None = None, **plan: Any) -> HealthReport:
    state = ServerState(name="demo", runtime="compose", status="running", container_id="c1")
    look = None if evidence is None else lambda: evidence
    return gate(make_plan(port=server.port, **plan), server.key, lambda: state, print, 60.0, evidence=look)


def details(report: HealthReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks}


def refused(server: Any, make_plan: Make, evidence: Evidence | None = None, **plan: Any) -> StartError:
    with pytest.raises(StartError) as caught:
        passed(server, make_plan, evidence, **plan)
    return caught.value


def slow(server: Any, *speeds: float) -> None:
    """The server's own decode speed, answer by answer; the last one stays."""
    left = list(speeds)

    def chat(handler: Any) -> None:
        if "Authorization" not in handler.headers:
            handler.reply(401, {})
            return
        answer = server.answer(handler.body)
        if handler.body.get("max_tokens") == 32:
            answer["timings"] = {"predicted_per_second": left.pop(0) if len(left) > 1 else left[0]}
        handler.reply(200, answer)

    server.routes["/v1/chat/completions"] = chat


def test_a_gpu_that_is_used_is_said_with_its_numbers(server: Any, make_plan: Make) -> None:
    seen = Evidence(before=gpu(24000), now=gpu(19000), lines=("offloaded 33/33 layers",), offloaded=LAYERS)
    found = details(passed(server, make_plan, seen, **ON_GPU))
    assert found["gpu memory"] == f"5000 MiB more of {UUID} are used than before the start"
    assert found["layers"] == "the log says that 33 of 33 layers are on GPUs"


def test_a_gpu_that_is_not_used_is_a_failure_with_a_way_out(server: Any, make_plan: Make) -> None:
    error = refused(server, make_plan, Evidence(before=gpu(24000), now=gpu(23900)), **ON_GPU)
    assert error.details["check"] == "gpu memory"
    assert "only 100 MiB more" in error.message
    assert "computes on the CPU" in error.message
    assert "deployer probe" in error.hint
    assert "--gpus none" in error.hint


def test_layers_that_stayed_in_main_memory_are_a_failure(server: Any, make_plan: Make) -> None:
    seen = Evidence(before=gpu(24000), now=gpu(19000), lines=("offloaded 0/33 layers",), offloaded=LAYERS)
    error = refused(server, make_plan, seen, **ON_GPU)
    assert error.details["check"] == "layers"
    assert "0 of 33 layers" in error.message


def test_what_cannot_be_measured_is_said_and_is_no_failure(server: Any, make_plan: Make) -> None:
    for seen in (None, Evidence(offloaded=LAYERS)):
        report = passed(server, make_plan, seen, **ON_GPU)
        assert report.passed
        assert details(report)["gpu memory"].startswith("not measured: ")


def test_far_below_the_prediction_is_a_failure(server: Any, make_plan: Make) -> None:
    slow(server, 1.0)
    error = refused(server, make_plan, **speed(153.0))
    assert error.details["check"] == "speed"
    assert "too slow: 1 tokens/s, the floor is 4.33" in error.message
    assert "153 predicted" in error.message
    assert "deployer probe" in error.hint


def test_a_slow_first_answer_is_asked_for_again(server: Any, make_plan: Make) -> None:
    slow(server, 1.0, 1.0, 100.0)
    report = passed(server, make_plan, **speed(153.0))
    assert details(report)["speed"].startswith("100 tokens/s, the floor is 4.33 (1/20 of the 86.7")
    assert report.tokens_per_s == 100.0


def test_the_floor_is_higher_where_nothing_proves_the_gpu(server: Any, make_plan: Make) -> None:
    slow(server, 6.0)
    proved = Evidence(before=gpu(24000), now=gpu(19000))
    assert passed(server, make_plan, proved, **ON_GPU, **speed(135.0)).passed
    error = refused(server, make_plan, None, **ON_GPU, **speed(135.0))
    assert "the floor is 8.06 (1/10 of" in error.message


def test_without_a_prediction_any_speed_passes(server: Any, make_plan: Make) -> None:
    slow(server, 0.1)
    assert "no floor" in details(passed(server, make_plan))["speed"]


def test_looking_is_part_of_the_hold(
    server: Any, make_plan: Make, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["deployer.health.gate"], "HOLD_S", 0.2)

    def slowly(*_: Any) -> tuple[Verdict, ...]:
        time.sleep(0.25)
        return ()

    monkeypatch.setattr(sys.modules["deployer.health.gate"], "verdicts", slowly)
    passed(server, make_plan, Evidence(before=gpu(24000), now=gpu(19000)), **ON_GPU)
    assert waits[-1] == 0.0
