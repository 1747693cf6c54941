"""Compute buffers are those that the real llama-server made, to what its log prints."""

from pathlib import Path

from deployer.decide.llama.allocator import Tensor, buffer_bytes
from scripts.memory_truth import observe
from scripts.memory_truth.registry import MODELS
from scripts.memory_truth.score import score

KIB = 1024
LOGGED_MIB = 0.03


def test_every_compute_buffer_of_the_stored_run_is_exact(tmp_path: Path) -> None:
    run = observe.read()
    specs = {name: observe.read_header(MODELS[name], tmp_path) for name in {case.model for case in run.cases}}
    scores = [score(case, specs[case.model], run.build) for case in run.cases]
    assert len(scores) >= 300
    off = {item.id: item.ours["compute"] - item.observed["compute"] for item in scores}
    assert {name: error for name, error in off.items() if abs(error) > LOGGED_MIB} == {}


def test_an_operation_writes_over_its_source_but_never_over_a_view_of_it() -> None:
    def size(*, by_view: bool) -> int:
        first = Tensor(KIB, (256,))
        shown = Tensor(0, (256,), (first,), view_of=first)
        source = shown if by_view else first
        return buffer_bytes([], [first, *([shown] if by_view else []), Tensor(KIB, (256,), (source,), overwrites=True)])

    assert (size(by_view=False), size(by_view=True)) == (KIB, 2 * KIB)
