"""GGUF files made by code: small sound models through gguf-py, and hostile headers byte by byte."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

STRING, ARRAY = 8, 9


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: bytes) -> bytes:
    return u64(len(value)) + value


def head(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + u32(version) + u64(tensors) + u64(keys)


def string_pair(key: bytes, value: bytes) -> bytes:
    return text(key) + u32(STRING) + text(value)


def u32_pair(key: bytes, value: int) -> bytes:
    return text(key) + u32(4) + u32(value)


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + u32(len(shape)) + b"".join(u64(side) for side in shape) + u32(kind) + u64(offset)


def padded(data: bytes, alignment: int = 32) -> bytes:
    return data + b"\0" * (-len(data) % alignment)


def tiny() -> bytes:
    """A sound file of about 200 bytes with one key of each shape and two tensors."""
    keys = (
        string_pair(b"general.architecture", b"llama")
        + u32_pair(b"general.file_type", 0)
        + text(b"tokenizer.ggml.tokens")
        + u32(ARRAY)
        + u32(STRING)
        + u64(3)
        + text(b"a")
        + text(b"")
        + text(b"long token")
        + text(b"scores")
        + u32(ARRAY)
        + u32(6)
        + u64(2)
        + struct.pack("<ff", 0.5, 1.5)
    )
    infos = tensor(b"token_embd.weight", (4, 3)) + tensor(b"output_norm.weight", (4,), offset=64)
    return padded(head(2, 4) + keys + infos) + b"\0" * (64 + 16)


def llama_pairs(*, layers: int = 2, context: int = 512) -> Mapping[str, int]:
    return {
        "block_count": layers,
        "context_length": context,
        "embedding_length": 64,
        "feed_forward_length": 128,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
    }


def write_llama(
    path: Path,
    *,
    layers: int = 2,
    architecture: str = "llama",
    tied: bool = True,
    without: str = "",
    extra: Mapping[str, int] | None = None,
    split: tuple[int, int] | None = None,
    name: str = "Tiny",
) -> Path:
    """A sound model with the tensors of `layers` layers; `without` leaves out one key."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    pairs = {**llama_pairs(layers=layers), **(extra or {})}
    for key, value in pairs.items():
        if key != without:
            writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_token_list([f"t{number}" for number in range(100)])
    if split is not None:
        writer.add_uint16("split.no", split[0])
        writer.add_uint16("split.count", split[1])
    if split is None or split[0] == 0:
        _add(writer, "token_embd.weight", (100, 64), quantized=True)
    for layer in range(layers):
        if split is None or layer % split[1] == split[0]:
            _add(writer, f"blk.{layer}.attn_q.weight", (64, 64), quantized=True)
            _add(writer, f"blk.{layer}.attn_norm.weight", (64,))
    if split is None or split[0] == 0:
        _add(writer, "output_norm.weight", (64,))
        if not tied:
            _add(writer, "output.weight", (100, 64), quantized=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], *, quantized: bool = False) -> None:
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 100
    if not quantized:
        writer.add_tensor(name, values)
        return
    packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
