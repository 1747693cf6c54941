"""Exact weights of safetensors models by place: from names, from folders, and from the hub without the weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import DeployerError, ModelFileError
from deployer.models import resolve
from deployer.models.local import from_path
from deployer.models.safetensors import FIRST_BYTES, Tensor, read_tensors
from deployer.models.safetensors_weights import place_of, weights_of
from deployer.models.source import BytesSource
from tests.hub.server import COMMIT, HubServer, Repo
from tests.unit.models.test_local import CONFIG, safetensors

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.embed_tokens.weight", ("input", 0)),
        ("model.layers.3.self_attn.q_proj.qweight", ("layer", 3)),
        ("model.norm.weight", ("output", 0)),
        ("lm_head.weight", ("output", 0)),
        ("language_model.model.layers.7.mlp.up_proj.weight", ("layer", 7)),
        ("model.language_model.layers.7.mlp.up_proj.weight", ("layer", 7)),
        ("language_model.model.embed_tokens.weight", ("input", 0)),
        ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", ("tower", 0)),
        ("model.visual.blocks.3.attn.qkv.weight", ("tower", 0)),
        ("multi_modal_projector.mm_input_projection_weight", ("tower", 0)),
        ("model.audio_tower.conformer.0.norm.weight", ("tower", 0)),
        ("model.layers.61.eh_proj.weight", ("unloaded", 0)),
        ("mtp.layers.0.mlp.gate.weight", ("unloaded", 0)),
        ("encoder.layer.11.output.dense.weight", ("layer", 11)),
        ("embeddings.word_embeddings.weight", ("input", 0)),
        ("transformer.h.5.mlp.c_proj.weight", ("layer", 5)),
        ("transformer.wte.weight", ("input", 0)),
        ("model.layers.99999.self_attn.q_proj.weight", ("unloaded", 0)),
        ("model.layers.123456.self_attn.q_proj.weight", ("output", 0)),
    ],
)
def test_names_say_where_a_tensor_belongs(name: str, place: tuple[str, int]) -> None:
    assert place_of(name, 61) == place


def tensor(*shape: int, dtype: str = "BF16", size: int = 2) -> Tensor:
    count = size
    for side in shape:
        count *= side
    return Tensor(dtype, shape, (0, count))


def test_experts_and_what_every_gpu_holds_whole() -> None:
    table = {
        "model.embed_tokens.weight": tensor(100, 8),
        "model.layers.0.input_layernorm.weight": tensor(8),
        "model.layers.0.self_attn.q_a_proj.weight": tensor(4, 8),
        "model.layers.0.self_attn.q_b_proj.weight": tensor(16, 4),
        "model.layers.0.mlp.down_proj.weight": tensor(8, 16),
        "model.layers.1.mlp.gate.weight": tensor(2, 8),
        "model.layers.1.mlp.gate.e_score_correction_bias": tensor(2, dtype="F32", size=4),
        "model.layers.1.mlp.experts.0.down_proj.weight": tensor(8, 4),
        "model.layers.1.mlp.experts.1.down_proj.weight": tensor(8, 4),
        "model.layers.1.mlp.shared_experts.down_proj.weight": tensor(8, 4),
        "model.layers.2.eh_proj.weight": tensor(8, 16),
        "model.norm.weight": tensor(8),
        "lm_head.weight": tensor(100, 8),
    }
    layout = weights_of([("m", table)], layers=2, bits=16).layout
    assert layout.input_bytes == 100 * 8 * 2
    assert layout.layer_bytes == ((8 + 32 + 64 + 128) * 2, (16 + 32 + 32 + 32) * 2 + 2 * 4)
    assert layout.expert_bytes == (0, (32 + 32) * 2)
    assert layout.replicated_bytes == (8 + 32 + 16 + 8) * 2 + 2 * 4
    assert layout.output_bytes == (8 + 800) * 2
    assert layout.unloaded_bytes == 8 * 16 * 2
    assert layout.total_bytes == layout.input_bytes + sum(layout.layer_bytes) + layout.output_bytes


def test_a_dense_model_lists_no_experts_and_a_tower_is_part_of_the_output() -> None:
    table = {"vision_tower.blocks.0.w.weight": tensor(7), "model.layers.0.mlp.up_proj.weight": tensor(4, 4)}
    layout = weights_of([("m", table)], layers=1, bits=16).layout
    assert (layout.expert_bytes, layout.tower_bytes, layout.output_bytes, layout.layer_bytes) == ((), 14, 14, (32,))


def test_packed_weights_are_counted_as_weights() -> None:
    table = {
        "model.layers.0.mlp.up_proj.qweight": tensor(8, 4, dtype="I32", size=4),  # GPTQ and AWQ: 8 of 4 bits in one
        "model.layers.0.mlp.up_proj.scales": tensor(2, 4),
        "model.layers.0.mlp.up_proj.qzeros": tensor(2, 4, dtype="I32", size=4),
        "model.layers.0.mlp.down_proj.weight_packed": tensor(8, 2, dtype="U8", size=1),
        "model.layers.0.mlp.down_proj.weight_scale": tensor(8, 1),
    }
    found = weights_of([("m", table)], layers=1, bits=4)
    assert found.parameters == 8 * 4 * 8 + 8 * 2 * 2
    assert found.layout.layer_bytes == (128 + 16 + 32 + 16 + 16,)


def test_a_header_is_read_at_once_or_in_two() -> None:
    class Counted(BytesSource):
        reads: list[tuple[int, int]]

        def read_at(self, offset: int, length: int) -> bytes:
            self.reads.append((offset, length))
            return super().read_at(offset, length)

    small, large = ({f"model.layers.{number}.w": [1] for number in range(count)} for count in (3, 3000))
    for shapes, reads in ((small, 1), (large, 2)):
        source = Counted(safetensors(shapes))
        source.reads = []
        assert len(read_tensors(source)) == len(shapes)
        assert len(source.reads) == reads
        assert source.reads[0] == (0, FIRST_BYTES)


def outcome(data: bytes) -> str:
    try:
        read_tensors(BytesSource(data))
    except ModelFileError as error:
        return error.message
    return "sound"


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_header_is_read_or_refused_with_a_reason(text: bytes) -> None:
    assert outcome(len(text).to_bytes(8, "little") + text).isprintable()


@given(st.integers(0, 300), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_byte_that_flipped_is_noticed_or_harmless(place: int, value: int) -> None:
    data = bytearray(safetensors({"model.layers.0.w.weight": [8, 8], "lm_head.weight": [4, 8]}))
    data[place] = value
    assert outcome(bytes(data)).isprintable()


def shards(layers: int = 2, **extra: list[int]) -> dict[str, bytes]:
    first = {"model.embed_tokens.weight": [10, 8], "model.layers.0.self_attn.q_proj.weight": [8, 8]}
    second = {f"model.layers.{number}.mlp.up_proj.weight": [16, 8] for number in range(1, layers)}
    second |= {"model.norm.weight": [8], "lm_head.weight": [10, 8], **extra}
    files = {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": second}
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    return {INDEX: json.dumps(index).encode(), **{name: safetensors(shapes) for name, shapes in files.items()}}


def repo(files: dict[str, bytes], config: dict[str, Any] | None = None) -> Repo:
    return Repo({"config.json": json.dumps({**CONFIG, **(config or {})}).encode(), **files})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer({"org/m": repo(shards())}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_a_repository_is_known_exactly_before_any_download(server: HubServer, tmp_path: Path) -> None:
    files = shards()
    spec = resolve("hf:org/m", (), tmp_path / "store")
    (variant,) = spec.variants
    local = tmp_path / "local"
    local.mkdir()
    for name, data in {**files, "config.json": json.dumps(CONFIG).encode()}.items():
        (local / name).write_bytes(data)
    assert variant.weights == from_path(local).variants[0].weights
    assert spec.parameters == from_path(local).parameters == 80 + 64 + 128 + 8 + 80
    asked = [seen.path.rpartition("/")[2] for seen in server.file_requests()]
    assert sorted(asked) == sorted(["config.json", *files])
    assert variant.size_bytes == sum(len(data) for name, data in files.items() if name.endswith(".safetensors"))


def test_a_second_plan_asks_nothing(server: HubServer, tmp_path: Path) -> None:
    first = resolve("hf:org/m", (), tmp_path)
    server.seen.clear()
    assert resolve("hf:org/m", (), tmp_path) == first
    assert resolve(f"hf:org/m@{COMMIT}", (), tmp_path).variants == first.variants
    assert [seen.path for seen in server.seen] == [f"/api/models/org/m/revision/{COMMIT}"]


def test_many_files_are_read_several_at_a_time(server: HubServer, tmp_path: Path) -> None:
    files = {
        f"model-{number:05d}-of-00032.safetensors": safetensors({f"model.layers.{number}.w.weight": [8, 8]})
        for number in range(32)
    }
    server.state.repos["org/wide"] = repo(files, {"num_hidden_layers": 32})
    server.state.faults.pause_s = 0.1
    (variant,) = resolve("hf:org/wide", (), tmp_path).variants
    assert variant.weights is not None
    assert variant.weights.layer_bytes == (128,) * 32
    assert len(server.file_requests()) == 1 + 32


def test_files_that_the_index_does_not_name_do_not_count(server: HubServer, tmp_path: Path) -> None:
    adapter = safetensors({"model.layers.0.self_attn.q_proj.weight": [8, 8]})
    server.state.repos["org/m"] = repo({**shards(), "adapter_model.safetensors": adapter})
    assert resolve("hf:org/m", (), tmp_path).parameters == 80 + 64 + 128 + 8 + 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({INDEX: b"[]"}, "cannot be read"),
        ({INDEX: b'{"weight_map": {"a": 1}}'}, "cannot be read"),
        ({INDEX: b'{"weight_map": {}}'}, "names no files"),
        ({INDEX: b'{"weight_map": {"a": "../../etc/passwd"}}'}, "names files that are not there"),
        ({"model-00002-of-00002.safetensors": b"x" * 100}, "a header of"),
        ({"model-00002-of-00002.safetensors": safetensors({"model.embed_tokens.weight": [1]})}, "is in two files"),
        ({"tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": "x"}}'}, "tokenizer_config.json: `auto_map`"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_download(
    server: HubServer, tmp_path: Path, change: dict[str, bytes], message: str
) -> None:
    server.state.repos["org/m"] = repo({**shards(), **change})
    with pytest.raises(ModelFileError, match=message.replace("[", r"\[")):
        resolve("hf:org/m", (), tmp_path)


def test_a_hub_without_ranges_is_told(server: HubServer, tmp_path: Path) -> None:
    server.state.faults.no_ranges = True
    assert resolve("hf:org/m", (), tmp_path).parameters == 80 + 64 + 128 + 8 + 80  # small enough to be one answer
    wide = {f"model.layers.0.w{number}.weight": [8] for number in range(2000)}
    server.state.repos["org/long"] = repo({"model.safetensors": safetensors(wide)})
    with pytest.raises(DeployerError, match="ignores byte ranges"):
        resolve("hf:org/long", (), tmp_path)


def test_old_repositories_that_name_code_are_opened_where_the_engine_has_the_model(
    server: HubServer, tmp_path: Path
) -> None:
    named = {"auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}}
    server.state.repos["org/code"] = repo({**shards(), "configuration_deepseek.py": b"raise SystemExit"}, named)
    (variant,) = resolve("hf:org/code", (), tmp_path).variants
    assert variant.weights is not None
    assert not [name for name in variant.files if name.endswith(".py")]
    assert not [seen for seen in server.seen if seen.path.endswith(".py")]
