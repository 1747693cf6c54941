"""Headers without weights: as long as the model, as small as its header, and sound to other readers too."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from deployer.errors import BadInputError, HubError, ModelFileError
from deployer.models.architecture import architecture
from deployer.models.gguf import read_file
from deployer.models.skeleton import write_header, write_narrow, write_skeleton
from deployer.models.source import FileSource
from deployer.types import ModelVariant
from tests.hub.server import HubServer, Repo
from tests.unit.models.gguf_files import write_llama

SMALL = 64 << 10


def variant(source: str, *files: str) -> ModelVariant:
    return ModelVariant(format="gguf", quantization="Q8_0", source=source, files=files)


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "skeletons"
    made.mkdir()
    return made


def test_a_real_model_becomes_a_hole_with_a_header(smollm2: Path, tmp_path: Path) -> None:
    found = write_header(variant(str(smollm2), smollm2.name), tmp_path, folder(tmp_path))
    (path,) = found.paths
    assert path.name == "model.gguf"
    assert path.stat().st_size == smollm2.stat().st_size == 98_362_432
    assert path.stat().st_blocks * 512 < 2 * found.header.data_offset
    assert read_file(path).tensors == read_file(smollm2).tensors
    assert found.vocabulary == 49_152


def test_every_byte_of_the_header_is_there_also_what_its_reader_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_token_list([f"t{number}" for number in range(300_000)])
    writer.add_token_scores([float(number) for number in range(1_500_000)])
    writer.add_token_types([number % 7 for number in range(1_500_000)])
    writer.add_tensor("token_embd.weight", np.ones((4, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    length = read_file(path).data_offset
    assert length > 15 << 20
    (made,) = write_header(variant(str(path), path.name), tmp_path, folder(tmp_path)).paths
    assert made.read_bytes()[:length] == path.read_bytes()[:length]
    with HubServer({"org/m": Repo({"m.gguf": path.read_bytes()})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for place in (tmp_path / "a", tmp_path / "b"):
            place.mkdir()
            (made,) = write_header(variant("hf:org/m", "m.gguf"), tmp_path, place).paths
            assert made.read_bytes()[:length] == path.read_bytes()[:length]
        asked = server.file_requests()
    assert len(asked) == len({seen.range for seen in asked}) < 12


def test_a_split_model_keeps_its_parts_and_their_names(tmp_path: Path) -> None:
    names = [f"m-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        write_llama(tmp_path / name, layers=4, split=(number, 3))
    found = write_header(variant(str(tmp_path / names[0]), *names), tmp_path, folder(tmp_path))
    assert [path.name for path in found.paths] == [f"model-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    assert {tensor.name for tensor in found.header.tensors if "attn_q" in tensor.name} == {
        f"blk.{layer}.attn_q.weight" for layer in range(4)
    }
    assert [path.stat().st_size for path in found.paths] == [(tmp_path / name).stat().st_size for name in names]


def test_a_model_of_the_hub_is_read_by_range(smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer({"org/smol": Repo({smollm2.name: smollm2.read_bytes()})}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        made = write_header(variant("hf:org/smol", smollm2.name), tmp_path, folder(tmp_path))
        assert [seen.range for seen in server.file_requests()] == ["bytes=0-2097151"]
    assert made.paths[0].stat().st_size == 98_362_432
    assert made.header.tensors == read_file(smollm2).tensors


def test_what_names_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        write_header(variant(str(tmp_path / "absent.gguf"), "absent.gguf"), tmp_path, folder(tmp_path))
    with pytest.raises(BadInputError, match="names no file"):
        write_header(variant("some-name", "x.gguf"), tmp_path, tmp_path)
    with pytest.raises(HubError, match="cannot be reached"):
        write_header(variant("hf:org/absent", "x.gguf"), tmp_path, tmp_path)


def test_a_cut_model_is_refused(smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(smollm2.read_bytes()[: 50 << 20])
    with pytest.raises(ModelFileError, match="cut short"):
        write_header(variant(str(tmp_path / "cut.gguf"), "cut.gguf"), tmp_path, folder(tmp_path))


def test_fewer_words_change_only_what_has_a_row_for_each(smollm2: Path, tmp_path: Path) -> None:
    with FileSource(smollm2) as source:
        whole = write_skeleton((source,), (tmp_path / "whole.gguf",))
    write_narrow(whole, 384, tmp_path / "narrow.gguf")
    narrow = read_file(tmp_path / "narrow.gguf")
    before = {tensor.name: tensor for tensor in whole.header.tensors}
    changed = {tensor.name: tensor for tensor in narrow.tensors if tensor.shape != before[tensor.name].shape}
    assert list(before) == [tensor.name for tensor in narrow.tensors]
    assert {name: tensor.shape for name, tensor in changed.items()} == {"token_embd.weight": (576, 384)}
    assert changed["token_embd.weight"].bytes == before["token_embd.weight"].bytes // 128
    assert architecture(narrow).vocabulary == 384
    assert narrow.metadata["tokenizer.ggml.model"] == "no_vocab"
    assert (tmp_path / "narrow.gguf").stat().st_blocks * 512 < SMALL
    kept = {key: value for key, value in whole.header.metadata.items() if not key.startswith("tokenizer.")}
    assert {**kept, "llama.vocab_size": 384} == {
        key: value for key, value in narrow.metadata.items() if not key.startswith("tokenizer.")
    }


def test_another_reader_accepts_what_was_written(tmp_path: Path) -> None:
    names = [f"m-{number:05d}-of-00002.gguf" for number in (1, 2)]
    for number, name in enumerate(names):
        write_llama(tmp_path / name, layers=2, tied=False, split=(number, 2))
    whole = write_header(variant(str(tmp_path / names[0]), *names), tmp_path, folder(tmp_path))
    write_narrow(whole, 10, tmp_path / "narrow.gguf")
    reader = gguf.GGUFReader(tmp_path / "narrow.gguf")
    shapes = {tensor.name: tuple(int(side) for side in tensor.shape) for tensor in reader.tensors}
    assert shapes["token_embd.weight"] == shapes["output.weight"] == (64, 10)
    assert shapes["blk.1.attn_q.weight"] == (64, 64)
    assert not [name for name in reader.fields if name.startswith("split.")]


def test_a_path_that_is_taken_is_not_overwritten(smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("mine")
    with pytest.raises(FileExistsError):
        write_header(variant(str(smollm2), smollm2.name), tmp_path, tmp_path)
    assert (tmp_path / "model.gguf").read_text() == "mine"
