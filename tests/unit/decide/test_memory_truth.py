"""The estimate against what the real llama-server allocated for synthetic models of real architectures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deployer.types import Architecture, ModelSpec
from scripts.memory_truth import document, load, logs, observe, peers, report
from scripts.memory_truth.matrix import FULL, WINDOWED, settings
from scripts.memory_truth.registry import MODELS, QUICK
from scripts.memory_truth.score import Score, Spread, score, spread

RUN = observe.read()
MIB = 1 << 20

LOG = """
0.00.469.500 I load_tensors:   CPU_Mapped model buffer size =   492.70 MiB
0.00.469.501 I load_tensors:   CPU_REPACK model buffer size =  1555.31 MiB
0.00.479.470 I llama_context:        CPU  output buffer size =     3.91 MiB
0.00.480.030 I llama_kv_cache:        CPU KV buffer size =    32.00 MiB
0.00.493.335 I llama_kv_cache:        CPU KV buffer size =    55.00 MiB
0.00.493.400 I llama_memory_recurrent:        CPU RS buffer size =     2.25 MiB
0.00.518.383 I sched_reserve:        CPU compute buffer size =    62.28 MiB
"""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSpec]:
    folder = tmp_path_factory.mktemp("models")
    return {name: observe.read_header(MODELS[name], folder) for name in {case.model for case in RUN.cases}}


@pytest.fixture(scope="module")
def scores(specs: dict[str, ModelSpec]) -> list[Score]:
    return [score(case, specs[case.model], RUN.build) for case in RUN.cases]


def errors(scores: Sequence[Score], part: str) -> Spread:
    found = spread(item.error(part) for item in scores)
    assert found is not None
    return found


def test_every_model_was_loaded_with_every_setting() -> None:
    seen = {(case.model, case.setting.label) for case in RUN.cases}
    wanted = {(name, setting.label) for name, model in MODELS.items() for setting in settings(model)}
    assert len(RUN.cases) == len(seen)
    assert sorted(wanted ^ seen) == []
    assert len({MODELS[name].arch for name, _ in seen}) >= 24


@pytest.mark.parametrize(
    ("part", "count", "median"),
    [("weights", 300, 0.01), ("kv", 270, 0.01), ("state", 80, 0.01), ("compute", 300, 0.10), ("total", 300, 0.03)],
)
def test_median_errors_stay_within_the_targets(scores: list[Score], part: str, count: int, median: float) -> None:
    found = errors(scores, part)
    assert found.count >= count
    assert found.median < median


def test_no_error_is_large(scores: list[Score]) -> None:
    assert errors(scores, "weights").worst < 0.01
    assert errors(scores, "kv").worst < 0.01
    assert errors(scores, "state").worst < 0.01
    assert errors(scores, "total").worst < 0.08


def test_no_host_with_what_we_ask_for_runs_out(scores: list[Score]) -> None:
    assert [item.id for item in scores if item.false_fit] == []


def test_every_peer_is_further_from_the_truth(scores: list[Score]) -> None:
    ours = errors(scores, "total").median
    theirs = {name: spread(item.peer_error(name) for item in scores) for name in peers.PEERS}
    assert all(found is not None and found.median > 2 * ours for found in theirs.values())


def test_models_are_the_ones_that_were_loaded(specs: dict[str, ModelSpec]) -> None:
    # With --no-repack, all weights are in one buffer, and what is tied is there once.
    for case in RUN.cases:
        layout = specs[case.model].variants[0].weights
        assert layout is not None
        if not case.setting.repack:
            held = sum(case.observed.weights_mib.values())
            assert held == pytest.approx(layout.total_bytes / MIB, rel=1e-3), case.id


def test_a_file_takes_no_disk(tmp_path: Path) -> None:
    spec = observe.read_header(MODELS["qwen3-30b-a3b"], tmp_path)
    assert spec.architecture.experts == 128
    assert (spec.variants[0].size_bytes or 0) > 1 << 30
    assert list(tmp_path.iterdir()) == []


def test_buffers_of_one_kind_are_added_up() -> None:
    seen = load.parse(LOG)
    assert seen.weights_mib == {"CPU_Mapped": 492.7, "CPU_REPACK": 1555.31}
    assert (seen.kv_mib, seen.rs_mib, seen.output_mib) == (87.0, 2.25, 3.91)
    assert seen.compute_mib == {"CPU": 62.28}
    assert seen.total_mib == pytest.approx(2203.45)


def test_a_log_without_buffers_is_an_error_with_its_last_words() -> None:
    with pytest.raises(load.LoadError, match="failed to load model"):
        load.parse("I llama_model_loader: loaded meta data\nE srv    load_model: failed to load model\n")


def test_settings_are_said_in_the_server_s_words() -> None:
    unified = FULL[2].flags()
    assert "--parallel" not in unified
    assert unified[:4] == ["--ctx-size", "8192", "--ubatch-size", "512"]
    assert WINDOWED.flags()[-1] == "--swa-full"
    assert WINDOWED.label == "c16384-np1-u512-q4_0-fa-full"


def test_small_models_are_enough_for_a_quick_run() -> None:
    counts = [len(list(settings(MODELS[name], quick=True))) for name in QUICK]
    assert counts == [2, 2, 2]


@pytest.mark.parametrize(
    ("formula", "mib"),
    [
        # 1000 MiB of weights; 16 layers x 8192 tokens x 8 heads x (64 + 64) elements x 2 bytes = 256 MiB.
        (peers.file_times, 1000 * 1.2 + 2048),
        (peers.weights_plus, 1000 + 256 + 500_000_000 / MIB),
        (peers.file_plus_f16, 1000 + 256),
        (peers.utilisation, (1000 * 1.02 + 2.3 * 1024 + 256) / 0.84),
    ],
)
def test_formulas_of_other_programs(
    formula: Callable[[int, Architecture, int], int], mib: float, tmp_path: Path
) -> None:
    shape = observe.read_header(MODELS["llama-3.2-1b"], tmp_path).architecture
    assert formula(1000 * MIB, shape, 8192) / MIB == pytest.approx(mib, abs=0.01)


def test_the_table_shows_the_error_that_is_furthest_from_zero() -> None:
    assert report.shown(Spread(count=3, median=0.01, low=-0.08, high=0.02)) == "-8.0%"
    assert report.shown(Spread(count=3, median=0.01, low=-0.0001, high=0.0002)) == "0.0%"
    assert report.shown(None) == "-"


def test_the_page_is_filled_between_its_markers_only(scores: list[Score]) -> None:
    page = "before\n<!-- measured: run -->\nold\n<!-- end -->\nafter\n"
    text = document.filled(page, scores, logs.read(), RUN)
    assert text.startswith("before\n<!-- measured: run -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert f"{len(scores)} loads of {len(MODELS)} models" in text


def test_the_documented_numbers_are_those_of_the_stored_run(scores: list[Score]) -> None:
    page = (observe.STORED.parents[3] / "docs/memory.md").read_text()
    assert document.filled(page, scores, logs.read(), RUN) == page, "run scripts/memory-truth --docs"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A server that says what it allocates and then serves until it is ended."""
    path = tmp_path / "llama-server"
    lines = "\n".join(
        f"echo '{line}'" for line in (*LOG.strip().splitlines(), f"cmn init: {load.LOADED}, n_threads = 2")
    )
    path.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{lines}\nexec sleep 600\n")
    path.chmod(0o755)
    return path


def test_a_server_of_this_machine_is_ended_when_it_has_its_buffers(program: Path, tmp_path: Path) -> None:
    with load.on_host(program) as start:
        seen = load.load(start, tmp_path / "model.gguf", FULL[0].flags())
    assert seen.kv_mib == 87.0
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_ends_by_itself_is_an_error(program: Path, tmp_path: Path) -> None:
    program.write_text("#!/bin/sh\necho 'error: invalid argument: --model'\nexit 1\n")
    with load.on_host(program) as start, pytest.raises(load.LoadError, match="invalid argument"):
        load.load(start, tmp_path / "model.gguf", FULL[0].flags())
