"""Numbers of a model from its header."""

from pathlib import Path

import gguf as reference
import msgspec
import pytest

from deployer.errors import ModelFileError
from deployer.models import architecture
from deployer.models.gguf import GgufTensor, read_file
from deployer.types import Architecture
from tests.unit.models.gguf_files import write_llama


def test_smollm2(smollm2: Path) -> None:
    header = read_file(smollm2)
    assert architecture.architecture(header) == Architecture(
        name="llama",
        layers=30,
        embedding=576,
        feed_forward=1536,
        heads=9,
        kv_heads=3,
        head_dim=64,
        vocabulary=49152,
        context_max=8192,
        tied_embeddings=True,
    )
    assert architecture.parameters(header) == 134_515_008
    assert architecture.size_label(134_515_008) == "135M"
    assert architecture.quantization(header) == "Q4_1"
    assert not architecture.is_embedding(header)


def test_the_layout_of_smollm2_adds_up_to_its_tensors(smollm2: Path) -> None:
    header = read_file(smollm2)
    layout = architecture.weight_layout(header, 30)
    tensors = {tensor.name: tensor.bytes for tensor in header.tensors}
    assert layout.total_bytes == sum(tensors.values())
    assert layout.input_bytes == tensors["token_embd.weight"]
    assert layout.output_bytes == tensors["output_norm.weight"]
    assert len(layout.layer_bytes) == 30
    assert layout.layer_bytes[7] == sum(size for name, size in tensors.items() if name.startswith("blk.7."))


def test_untied_output_counts_as_output(tmp_path: Path) -> None:
    header = read_file(write_llama(tmp_path / "m.gguf", tied=False))
    assert not architecture.architecture(header).tied_embeddings
    assert architecture.weight_layout(header, 2).output_bytes == 100 * 68 + 256


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "context_length", "feed_forward_length"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    header = read_file(write_llama(tmp_path / "m.gguf", without=key))
    with pytest.raises(ModelFileError, match=f"llama.{key} is missing"):
        architecture.architecture(header)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 5000),
        ("embedding_length", 0),
        ("context_length", 0),
        ("expert_count", 2**20),
    ],
)
def test_a_senseless_value_is_named(tmp_path: Path, key: str, value: int) -> None:
    header = read_file(write_llama(tmp_path / "m.gguf", extra={key: value}))
    with pytest.raises(ModelFileError, match=rf"llama\.{key} is {value}"):
        architecture.architecture(header)


def test_defaults_and_explicit_head_sizes(tmp_path: Path) -> None:
    plain = architecture.architecture(read_file(write_llama(tmp_path / "a.gguf", without="attention.head_count_kv")))
    assert (plain.kv_heads, plain.head_dim) == (4, 16)
    sized = read_file(
        write_llama(tmp_path / "b.gguf", extra={"attention.key_length": 128, "attention.value_length": 128})
    )
    assert architecture.architecture(sized).head_dim == 128


def test_zero_heads_do_not_divide(tmp_path: Path) -> None:
    numbers = architecture.architecture(read_file(write_llama(tmp_path / "m.gguf", extra={"attention.head_count": 0})))
    assert numbers.head_dim == 0


def test_one_number_a_layer_counts_with_the_largest(tmp_path: Path) -> None:
    writer = reference.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    for key, value in (("block_count", 2), ("context_length", 8), ("embedding_length", 64)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_array("llama.feed_forward_length", [100, 300])
    writer.add_array("llama.attention.head_count", [4, 4])
    writer.add_array("llama.attention.head_count_kv", [0, 2])
    writer.add_token_list(["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    numbers = architecture.architecture(read_file(tmp_path / "m.gguf"))
    assert (numbers.feed_forward, numbers.heads, numbers.kv_heads, numbers.vocabulary) == (300, 4, 2, 2)


@pytest.mark.parametrize(
    ("name", "pooling", "expected"), [("bert", None, True), ("qwen3", 3, True), ("qwen3", 0, False)]
)
def test_embedding_models(tmp_path: Path, name: str, pooling: int | None, expected: bool) -> None:
    extra = {} if pooling is None else {"pooling_type": pooling}
    header = read_file(write_llama(tmp_path / "m.gguf", architecture=name, extra=extra))
    assert architecture.is_embedding(header) is expected
    assert architecture.architecture(header).tied_embeddings is (name != "bert")


@pytest.mark.parametrize(
    ("name", "pooling", "head", "expected"),
    [
        ("bert", None, None, False),
        ("bert", 4, None, True),
        ("bert", None, (1, 64), True),
        ("bert", 2, (1, 64), True),
        ("bert", None, (3, 64), False),
        ("qwen3", 4, (2, 64), True),
        ("qwen3", 3, None, False),
    ],
)
def test_rerankers(
    tmp_path: Path, name: str, pooling: int | None, head: tuple[int, int] | None, expected: bool
) -> None:
    extra = {} if pooling is None else {"pooling_type": pooling}
    header = read_file(write_llama(tmp_path / "m.gguf", architecture=name, extra=extra))
    made = () if head is None else (GgufTensor("cls.output.weight", head[::-1], "F32", 0, 4 * head[0] * head[1]),)
    assert architecture.is_reranker(msgspec.structs.replace(header, tensors=(*header.tensors, *made))) is expected


def test_without_a_file_type_the_largest_type_decides(smollm2: Path) -> None:
    header = read_file(smollm2)
    metadata = {key: value for key, value in header.metadata.items() if key != "general.file_type"}
    tensors = (GgufTensor("blk.0.w", (256,), "Q4_K", 0, 144), GgufTensor("blk.0.n", (4,), "F32", 160, 16))
    bare = msgspec.structs.replace(header, metadata=metadata, tensors=tensors)
    assert architecture.quantization(bare) == "Q4_K_M"
    guessed = msgspec.structs.replace(header, metadata={**metadata, "general.file_type": 1024 + 18})
    assert architecture.quantization(guessed) == "Q6_K"


def test_a_vision_projector_is_no_model(tmp_path: Path) -> None:
    header = read_file(write_llama(tmp_path / "mmproj.gguf", architecture="clip"))
    with pytest.raises(ModelFileError, match="no language model but 'clip'"):
        architecture.architecture(header)


@pytest.mark.parametrize(
    ("count", "expected"), [(134_515_008, "135M"), (7_615_616_512, "7.6B"), (9_970_000_000, "10B"), (12, "12")]
)
def test_size_label(count: int, expected: str) -> None:
    assert architecture.size_label(count) == expected
