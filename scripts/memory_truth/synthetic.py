"""A synthetic model as a sparse GGUF file: true header, weights that take no disk."""

import functools
import math
from pathlib import Path

import gguf
import numpy as np

from scripts.memory_truth.model import Model, Value

RESERVED = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Kinds of a token: ggml docs, `tokenizer.ggml.token_type`."""


def write(model: Model, path: Path, *, tokens: bool = True) -> None:
    """Write the file. Without `tokens` it has no vocabulary, so that only a reader of headers takes it."""
    writer = gguf.GGUFWriter(path, model.arch)
    writer.add_name("synthetic")  # the server looks for special tokens of some families by name
    for key, value in model.keys.items():
        _add(writer, f"{model.arch}.{key}", value)
    if tokens:
        _vocabulary(writer, model.vocabulary)
    size = 0
    for name, shape, kind in model.tensors():
        number = gguf.GGMLQuantizationType[kind]
        elements, block_bytes = gguf.GGML_QUANT_SIZES[number]
        count = math.prod(shape) // elements * block_bytes
        writer.add_tensor_info(name, tuple(reversed(shape)), np.dtype(np.float32), count, number)
        size += writer.ggml_pad(count, writer.data_alignment)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = -(-path.stat().st_size // writer.data_alignment) * writer.data_alignment
    with path.open("r+b") as file:
        file.truncate(header + size)


def _add(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))


def _vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*RESERVED, *_made(count - len(RESERVED))])
    writer.add_token_scores([0.0] * count)
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (count - len(RESERVED))]
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


@functools.cache
def _made(count: int) -> tuple[str, ...]:
    return tuple(f"t{number}" for number in range(count))
