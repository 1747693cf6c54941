"""Reading `config.json` of a safetensors model: bounded, never trusted, no code of the model is run.

Names of the keys: transformers configuration classes; quantization methods as vLLM 0.33 reads `quantization_config`.
"""

import re
from typing import Any

import msgspec

from deployer.errors import ModelFileError
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.models.names import printable
from deployer.types import Architecture, ModelFormat

MAX_CONFIG_BYTES = 4 << 20
_USUAL_BITS = 4


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a config.json says: the architecture, the format of its weights, and bits a packed weight."""

    architecture: Architecture
    format: ModelFormat
    quantization: str
    bits: int
    embedding: bool
    names_code: bool = False
    reranker: bool = False


NATIVE = frozenset({
    *("bert", "cohere", "cohere2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "ernie4_5", "ernie4_5_moe", "exaone4"),
    *("falcon", "falcon_h1", "gemma", "gemma2", "gemma3", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt_oss"),
    *("granite", "granitemoe", "granitemoehybrid", "hunyuan_v1_dense", "hunyuan_v1_moe", "jamba", "kimi_k2", "lfm2"),
    *("llama", "llama4", "llama4_text", "mistral", "mistral3", "mixtral", "modernbert", "nomic_bert", "olmo2", "olmoe"),
    *("phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3", "qwen3_moe", "qwen3_next"),
    *("qwen3_vl", "qwen3_vl_moe", "roberta", "seed_oss", "smollm3", "stablelm", "starcoder2", "xlm-roberta"),
})  # fmt: skip
"""`model_type`s that need no code of a repository: classes of transformers 5 (models/auto/configuration_auto.py) or of
vLLM (transformers_utils/config.py `_CONFIG_REGISTRY`: deepseek_v32, kimi_k2). Their older repositories still name code
in `auto_map`; it is never downloaded, and no engine is started with leave to run it. EXAONE 3.5 (`exaone`), chatglm
and internlm2 are not among them."""


def parse_config(data: bytes, label: str) -> Config:
    """Read config.json. Raises ModelFileError naming the key; a model that needs its own Python code is refused."""
    document = decode_object(data, f"{label}: config.json", MAX_CONFIG_BYTES)
    _refuse_remote_code(document, f"{label}: config.json")
    body = text_body(document)
    model_format, quantization, bits = _quantization(document, body, label)
    kind = str(body.get("model_type", ""))
    declared = " ".join(str(name) for name in document.get("architectures") or ())
    return Config(
        architecture=architecture_of(body, label),
        format=model_format,
        quantization=quantization,
        bits=bits,
        embedding="bert" in kind or bool(re.search(r"Embedding|SentenceTransformer", declared)),
        names_code=bool(document.get("auto_map")),
        reranker=_ranks(document, declared),
    )


def _ranks(document: dict[str, Any], declared: str) -> bool:
    """True for an encoder with one label, which is a score (transformers `id2label`, `num_labels`; two if unsaid)."""
    labels = document.get("id2label")
    count = len(labels) if isinstance(labels, dict) else document.get("num_labels", 2)
    return count == 1 and bool(re.search(r"bert\w*ForSequenceClassification", declared, re.IGNORECASE))


def decode_object(data: bytes, label: str, limit: int) -> dict[str, Any]:
    """A JSON object of at most `limit` bytes. Raises ModelFileError."""
    if len(data) > limit:
        raise _broken(f"{label} is larger than {limit >> 20} MiB")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(f"{label} is not valid JSON: {printable(str(error))}") from None
    if not isinstance(found, dict):
        raise _broken(f"{label} is not a JSON object")
    return found


def refuse_tokenizer_code(data: bytes, label: str) -> None:
    """Raise ModelFileError when a tokenizer_config.json asks for code: engines have no tokenizer of their own then."""
    if decode_object(data, label, MAX_CONFIG_BYTES).get("auto_map"):
        raise _needs_code(label)


def _refuse_remote_code(document: dict[str, Any], label: str) -> None:
    """`auto_map` names Python code of the repository; engines go without where they have the model type themselves."""
    if document.get("auto_map") and document.get("model_type") not in NATIVE:
        raise _needs_code(label)


def _needs_code(label: str) -> ModelFileError:
    return ModelFileError(
        f"{label}: `auto_map` asks the engine to run Python code that came with the model",
        hint="use a GGUF file of this model, or one whose architecture the engine knows by itself",
    )


def _quantization(document: dict[str, Any], body: dict[str, Any], label: str) -> tuple[ModelFormat, str, int]:
    """Format, name and bits: `AWQ`, `GPTQ-INT8`, `FP8`, or the type of plain weights."""
    settings = document.get("quantization_config") or body.get("quantization_config")
    if settings is None:
        return "safetensors", _plain_type(body), 16
    method = str(settings.get("quant_method", "")).lower() if isinstance(settings, dict) else ""
    bits = settings.get("bits", settings.get("w_bit", 4)) if isinstance(settings, dict) else 4
    if type(bits) is not int or bits not in {2, 3, 4, 8}:
        raise _broken(f"{label}: config.json: quantization_config.bits is {printable(repr(bits))}")
    match method:
        case "awq":
            return "awq", _packed("AWQ", bits), bits
        case "gptq":
            return "gptq", _packed("GPTQ", bits), bits
        case "fp8" | "fbgemm_fp8":
            return "fp8", "FP8", 8
        case "compressed-tensors" if _compressed_is_fp8(settings):
            return "fp8", "FP8", 8
        case "mxfp4" | "modelopt" | "modelopt_fp4" | "compressed-tensors" if name := _four_bit_floats(method, settings):
            return "safetensors", name, 4
        case _:
            raise _broken(f"{label}: config.json: quantization method {printable(method)!r} is not known here")


def _packed(method: str, bits: int) -> str:
    return method if bits == _USUAL_BITS else f"{method}-INT{bits}"


def _four_bit_floats(method: str, settings: dict[str, Any]) -> str | None:
    """MXFP4 by its method, NVFP4 by `quant_algo` of NVIDIA's Model Optimizer or `format` of compressed-tensors."""
    if method == "mxfp4":
        return "MXFP4"
    told = settings.get("quant_algo"), settings.get("format")
    return "NVFP4" if told[0] == "NVFP4" or told[1] == "nvfp4-pack-quantized" else None


def _compressed_is_fp8(settings: dict[str, Any]) -> bool:
    groups = settings.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return isinstance(weights, dict) and (weights.get("type"), weights.get("num_bits")) == ("float", 8)


def _plain_type(body: dict[str, Any]) -> str:
    declared = body.get("dtype", body.get("torch_dtype"))
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(str(declared), "BF16")


def _broken(reason: str) -> ModelFileError:
    return ModelFileError(reason, hint="give a folder with a complete transformers model, or a .gguf file")
