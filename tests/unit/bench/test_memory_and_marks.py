import itertools
import threading
import time

import msgspec
import pytest

from deployer.bench.marks import busy, marks, strangers
from deployer.bench.memory import IDLE, WARM, Reading, Sampler, result
from deployer.types import DeviceMemory
from deployer.types.benchmark import BenchRun, Tally
from tests.unit.bench.runs import load, run

PREDICTED = DeviceMemory(
    device="host",
    weights_mib=80,
    kv_cache_mib=100,
    compute_mib=60,
    overhead_mib=60,
    total_mib=300,
    margin_mib=50,
    available_mib=None,
)


def test_idle_warm_and_peak_beside_the_estimate() -> None:
    seen = [
        (IDLE, Reading({"host": 310})),
        (WARM, Reading({"host": 330})),
        ("latency", Reading({"host": 340, "GPU-1": 5})),
        ("users", Reading({"host": 400}, 0.25)),
        ("users", Reading({"host": 390}, 0.5)),
    ]
    found = result(seen, [PREDICTED], 1.0)
    host, gpu = found.devices
    assert (host.idle_mib, host.warm_mib, host.peak_mib, host.peak_during) == (310, 330, 400, "users")
    assert (host.predicted_mib, host.margin_mib, host.error_percent) == (300, 50, 25.0)
    assert (gpu.device, gpu.idle_mib, gpu.warm_mib, gpu.predicted_mib) == ("GPU-1", 5, None, None)
    assert (found.samples, found.kv_cache_usage_peak, found.why) == (5, 0.5, None)


def test_prompts_that_are_kept_are_no_error_of_the_estimate() -> None:
    seen = [(WARM, Reading({"host": 330})), ("users", Reading({"host": 400}))]
    (within,), (beyond,) = (result(seen, [PREDICTED], 1.0, kept).devices for kept in (200, 60))
    assert (within.error_percent, beyond.error_percent) == (0.0, 10.0)
    assert beyond.estimate == "300 + 50, prompts to 60"
    below = result([(WARM, Reading({"host": 240}))], [PREDICTED], 1.0, 200).devices
    assert below[0].error_percent == -25.0


def test_what_is_not_seen_is_said() -> None:
    found = result([(IDLE, Reading())], [PREDICTED], 1.0)
    assert (found.devices, found.why) == ((), "its processes cannot be seen from here")


def test_the_sampler_looks_by_itself_and_ends() -> None:
    sizes, before = itertools.count(), {*threading.enumerate()}
    with Sampler(lambda: Reading({"host": next(sizes)}), every_s=0.01) as sampler:
        sampler.phase = "latency"
        until = time.monotonic() + 60
        while len(sampler.seen) < 6 and time.monotonic() < until:
            time.sleep(0.01)
    assert not {*threading.enumerate()} - before
    assert len(sampler.seen) >= 6
    assert sampler.seen[0] == (IDLE, Reading({"host": 0}))
    assert sampler.seen[-1][0] == "latency"


def test_a_clean_run_has_no_mark() -> None:
    assert marks(load(), run().results) == ()


def test_errors_are_marked_with_the_first_of_them() -> None:
    results = run().results
    assert results.latency is not None
    tally = Tally(asked=30, answered=28, failed=2, errors={"HTTP 500": 2})
    dirty = msgspec.structs.replace(results, latency=msgspec.structs.replace(results.latency, tally=tally))
    texts = {mark.text for mark in marks(load(), dirty) if mark.suite == "latency"}
    assert "2 of 30 requests failed; the first: HTTP 500" in texts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_tokens_min": 12}, "answers had 12 to 64 tokens, where 64 were asked for"),
        ({"pieces_per_token": 1.5}, "1.50 chunks with text for each token of `usage`: it counts too few"),
        ({"tally": Tally(asked=3, answered=3)}, "only 3 requests were answered within 20 s: --seconds allows more"),
    ],
)
def test_what_makes_latency_doubtful_is_marked(changes: dict[str, object], said: str) -> None:
    results = run().results
    assert results.latency is not None
    doubtful = msgspec.structs.replace(results, latency=msgspec.structs.replace(results.latency, **changes))
    assert [mark.text for mark in marks(load(), doubtful)] == [said]


def test_prompts_of_another_length_are_marked() -> None:
    assert [mark.text for mark in marks(load(input_tokens=512), run().results)] == [
        "prompts had 128 tokens, where 512 were aimed at"
    ]


def test_chunks_of_several_tokens_are_nothing_bad() -> None:
    results = run().results
    assert results.latency is not None
    several = msgspec.structs.replace(results.latency, pieces_per_token=0.4)
    assert marks(load(), msgspec.structs.replace(results, latency=several)) == ()


def test_who_else_computes_is_marked() -> None:
    assert busy("batch", 0.1, 0.3) == ()
    assert [mark.text for mark in busy("batch", 0.4, 0.95)] == [
        "other programs used 40% of the processors",
        "this program used 95% of a processor: it may be what limits the figures",
    ]
    assert [mark.text for mark in strangers({"GPU-1": 2, "GPU-2": 0})] == ["2 other process(es) hold memory of GPU-1"]


def test_a_run_survives_its_own_file() -> None:
    assert msgspec.json.decode(msgspec.json.encode(run()), type=BenchRun) == run()
