"""What the real llama-server allocates for three small synthetic models is what is stored."""

from pathlib import Path

import pytest

from scripts.memory_truth import load, observe
from scripts.memory_truth.registry import MODELS, QUICK

pytestmark = pytest.mark.integration


def test_buffers_of_three_architectures_are_the_stored_ones(llama_image: str, tmp_path: Path) -> None:
    stored = observe.read()
    known = {case.id: case.observed for case in stored.cases}
    problems: list[str] = []
    cases = []
    with load.in_container(llama_image, tmp_path) as start:
        version = load.version(start)
        for name in QUICK:
            cases += observe.observe(MODELS[name], tmp_path, start, quick=True, gpu_layers=0, say=problems.append)
    assert problems == []
    assert len(cases) == 2 * len(QUICK)
    for case in cases:
        seen, expected = case.observed, known[case.id]
        assert (seen.weights_mib, seen.kv_mib, seen.rs_mib) == (
            expected.weights_mib,
            expected.kv_mib,
            expected.rs_mib,
        ), case.id
        # Another build may need another amount of working memory, but not a very different one.
        tolerance = 0.0 if version == stored.version else 0.1
        assert seen.compute_mib == pytest.approx(expected.compute_mib, rel=tolerance), case.id
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_loaded_is_said_with_the_server_s_words(llama_image: str, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
    with load.in_container(llama_image, tmp_path) as start, pytest.raises(load.LoadError, match="failed to load model"):
        load.load(start, tmp_path / "broken.gguf", ["--ctx-size", "512"])
