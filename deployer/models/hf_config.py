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


def parse_config(data: bytes, label: str) -> Config:
    """Read config.json. Raises ModelFileError naming the key; a model that needs its own Python code is refused."""
    document = decode_object(data, f"{label}: config.json", MAX_CONFIG_BYTES)
    refuse_remote_code(document, f"{label}: config.json")
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
    )


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


def refuse_remote_code(document: dict[str, Any], label: str) -> None:
    """Raise ModelFileError when the model asks for Python code from its own repository (`auto_map`)."""
    if document.get("auto_map"):
        raise ModelFileError(
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
        case "mxfp4":
            return "safetensors", "MXFP4", bits
        case "compressed-tensors" if _compressed_is_fp8(settings):
            return "fp8", "FP8", 8
        case _:
            raise _broken(f"{label}: config.json: quantization method {printable(method)!r} is not known here")


def _packed(method: str, bits: int) -> str:
    return method if bits == _USUAL_BITS else f"{method}-INT{bits}"


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
