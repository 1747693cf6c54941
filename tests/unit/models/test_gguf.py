"""Sound files: the same answers as gguf-py, in a small part of its time."""

import os
import time
from pathlib import Path

import gguf as reference
import pytest

from deployer.errors import BadInputError, ModelFileError
from deployer.models.gguf import GgufHeader, read_file, read_header
from deployer.models.gguf_types import FILE_TYPES, GGML_TYPES
from deployer.models.source import BytesSource
from tests.unit.models.gguf_files import head, string_pair, write_llama


def assert_same(ours: GgufHeader, path: Path) -> None:
    theirs = reference.GGUFReader(path)
    assert ours.data_offset == theirs.data_offset
    assert ours.alignment == theirs.alignment
    assert [
        (tensor.name, tensor.shape, tensor.type, ours.data_offset + tensor.offset, tensor.bytes, tensor.elements)
        for tensor in ours.tensors
    ] == [
        (
            tensor.name,
            tuple(int(side) for side in tensor.shape),
            tensor.tensor_type.name,
            int(tensor.data_offset),
            int(tensor.n_bytes),
            int(tensor.n_elements),
        )
        for tensor in theirs.tensors
    ]
    fields = {key: field for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert set(fields) == {*ours.metadata, *ours.arrays, *ours.long_strings}
    for key, value in ours.metadata.items():
        assert value == fields[key].contents()
    for key, array in ours.arrays.items():
        assert array.length == len(fields[key].contents())
        if array.values is not None:
            assert list(array.values) == fields[key].contents()
    for key, length in ours.long_strings.items():
        assert length == len(fields[key].contents().encode())


def test_smollm2_is_read_as_gguf_py_reads_it(smollm2: Path) -> None:
    assert_same(read_file(smollm2), smollm2)


@pytest.mark.parametrize("tied", [True, False])
def test_small_models_are_read_as_gguf_py_reads_them(tmp_path: Path, tied: bool) -> None:
    path = write_llama(tmp_path / "m.gguf", tied=tied, layers=3)
    assert_same(read_file(path), path)


def test_values_of_every_type_are_read_as_gguf_py_reads_them(tmp_path: Path) -> None:
    writer = reference.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_uint8("u8", 255)
    writer.add_int8("i8", -128)
    writer.add_uint16("u16", 65535)
    writer.add_int16("i16", -32768)
    writer.add_int32("i32", -(2**31))
    writer.add_uint64("u64", 2**64 - 1)
    writer.add_int64("i64", -(2**63))
    writer.add_float32("f32", 0.25)
    writer.add_float64("f64", 1e300)
    writer.add_bool("yes", True)
    writer.add_string("empty", "")
    writer.add_string("text", "zwölf\n\tüber 日本語\u3000 \U0001f600")
    writer.add_string("tokenizer.chat_template", "x" * 5000)
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("flags", [True, False])
    writer.add_array("many", list(range(2000)))
    writer.add_array("words", ["a", "bc"])
    writer.add_custom_alignment(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_same(read_file(tmp_path / "m.gguf"), tmp_path / "m.gguf")


def test_the_header_of_smollm2_is_read_in_50_ms(smollm2: Path) -> None:
    times = []
    for _ in range(5):
        start = time.thread_time()
        read_file(smollm2)
        times.append(time.thread_time() - start)
    assert min(times) < 0.05


class Counting(BytesSource):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return super().read_at(offset, length)


def test_only_the_header_is_read_and_only_once(smollm2: Path) -> None:
    source = Counting(smollm2.read_bytes())
    header = read_header(source, window=256 << 10)
    assert max(offset + length for offset, length in source.asked) < header.data_offset + (256 << 10)
    assert sum(length for _, length in source.asked) < header.data_offset + (260 << 10)


def test_a_long_value_is_jumped_over(tmp_path: Path) -> None:
    body = b"x" * (3 << 20)
    source = Counting(head(0, 2) + string_pair(b"tokenizer.chat_template", body) + string_pair(b"k", b"v"))
    header = read_header(source, window=4096)
    assert header.metadata == {"k": "v"}
    assert header.long_strings == {"tokenizer.chat_template": 3 << 20}
    assert sum(length for _, length in source.asked) < 20_000


def test_a_header_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    with path.open("wb") as file:
        file.write(head(0, 2) + b"\1\0\0\0\0\0\0\0k" + b"\x08\0\0\0" + (100 << 20).to_bytes(8, "little"))
        file.truncate(200 << 20)
    with pytest.raises(ModelFileError, match="more than 64 MiB"):
        read_file(path)


def test_block_sizes_are_those_of_gguf_py() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in reference.GGML_QUANT_SIZES.items()}
    ours = {number: tuple(kind) for number, kind in GGML_TYPES.items()}
    theirs[9] = ("Q8_1", 32, 36)  # gguf-py 0.19.0 counts 40; no file holds this type
    theirs[42] = ("Q2_0", 64, 18)  # newer than gguf-py 0.19.0
    assert ours == theirs


def test_file_types_are_those_of_gguf_py() -> None:
    for kind in reference.LlamaFileType:
        expected = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
        if kind is not reference.LlamaFileType.GUESSED:
            assert FILE_TYPES[int(kind)] == expected


def test_what_is_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        read_file(tmp_path / "absent.gguf")
    with pytest.raises(BadInputError, match="not a regular file"):
        read_file(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(BadInputError, match="not a regular file"):
        read_file(tmp_path / "pipe.gguf")
