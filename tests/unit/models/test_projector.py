"""The projector beside a model: found by its header, never taken for a model."""

from pathlib import Path

import pytest
from gguf import GGUFReader

from deployer.errors import BadInputError, ModelFileError
from deployer.models.local import from_path
from deployer.models.projector import projector_of
from deployer.types import Projector
from tests.unit.models.gguf_files import write_llama
from tests.unit.models.projector_files import write_projector


def beside(path: Path) -> Projector | None:
    return from_path(path).variants[0].projector


def test_the_numbers_of_a_projector(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "mmproj-F16.gguf", projection=64)
    found = projector_of(path)
    assert (found.kind, found.image_size, found.patch_size) == ("qwen3vl_merger", 64, 16)
    assert (found.layers, found.embedding, found.feed_forward, found.heads) == (2, 32, 128, 4)
    assert (found.projection, found.fused, found.gated, found.deepstack) == (64, True, False, 0)
    assert found.weight_bytes == sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors)


def test_a_gate_and_separate_queries_are_seen(tmp_path: Path) -> None:
    found = projector_of(write_projector(tmp_path / "mmproj.gguf", "gemma4v"))
    assert (found.kind, found.fused, found.gated) == ("gemma4v", False, True)


@pytest.mark.parametrize("named", [True, False])
def test_one_projector_in_the_folder_is_the_model_s(tmp_path: Path, named: bool) -> None:
    model = write_llama(tmp_path / "Tiny-Q8_0.gguf")
    projector = write_projector(tmp_path / "mmproj-F16.gguf")
    found = beside(model if named else tmp_path)
    assert found is not None
    assert found.path == str(projector)


def test_a_projector_beside_a_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "named").mkdir()
    (tmp_path / "named/m.gguf").symlink_to(write_llama(tmp_path / "blobs/1"))
    (tmp_path / "named/mmproj.gguf").symlink_to(write_projector(tmp_path / "blobs/2"))
    found = beside(tmp_path / "named/m.gguf")
    assert found is not None
    assert found.path == str(tmp_path / "blobs/2")


def test_a_projector_of_another_model_is_left(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj-F16.gguf", projection=96)
    assert beside(write_llama(tmp_path / "m.gguf")) is None


def test_of_two_projectors_none_is_chosen(tmp_path: Path) -> None:
    for name in ("mmproj-F16.gguf", "mmproj-F32.gguf"):
        write_projector(tmp_path / name)
    assert beside(write_llama(tmp_path / "m.gguf")) is None


@pytest.mark.parametrize("content", [b"", b"GGUF" + bytes(60), b"x" * 5000])
def test_a_broken_projector_does_not_keep_the_model_from_being_served(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mmproj.gguf").write_bytes(content)
    assert beside(write_llama(tmp_path / "m.gguf")) is None


def test_a_model_is_no_projector(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is no projector"):
        projector_of(write_llama(tmp_path / "m.gguf"))


def test_a_projector_is_no_model(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "vision.gguf")
    with pytest.raises(ModelFileError, match="the projector of one") as caught:
        from_path(path)
    assert caught.value.hint is not None
    assert "name the .gguf file of the model" in caught.value.hint


def test_a_folder_with_nothing_but_a_projector(tmp_path: Path) -> None:
    write_projector(tmp_path / "mmproj-F16.gguf")
    with pytest.raises(BadInputError, match=r"mmproj-F16\.gguf is a projector .*no model is here"):
        from_path(tmp_path)
