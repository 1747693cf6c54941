"""Hostile GGUF headers, made by code: every one must be refused by name, quickly, and in little memory."""

import struct
from collections.abc import Iterator

from tests.unit.models.gguf_files import (
    ARRAY,
    STRING,
    head,
    padded,
    string_pair,
    tensor,
    text,
    tiny,
    u32,
    u32_pair,
    u64,
)

BIG = 2**64 - 1


def _one_key(kind: int, body: bytes, key: bytes = b"k") -> bytes:
    return head(0, 1) + text(key) + u32(kind) + body


def _array(kind: int, length: int, body: bytes = b"", key: bytes = b"a") -> bytes:
    return _one_key(ARRAY, u32(kind) + u64(length) + body, key)


def _data(header: bytes, count: int = 256) -> bytes:
    return padded(header) + b"\0" * count


# The 23 files of the bad-input corpus (reliability study, section 7).
PUBLISHED: dict[str, bytes] = {
    "empty": b"",
    "magic_only": b"GGUF",
    "bad_magic": b"GGML" + b"\0" * 64,
    "v99": b"GGUF" + u32(99) + b"\0" * 64,
    "kv_count_max": head(0, BIG),
    "kv_count_1e9": head(0, 10**9) + b"\0" * 4096,
    "tensor_count_max": head(BIG, 0),
    "tensor_count_1e9_pad": head(10**9, 0) + b"\0" * 4096,
    "str_len_max": head(0, 1) + u64(BIG) + b"a" * 16,
    "str_len_4g": head(0, 1) + u64(2**32) + b"a" * 16,
    "arr_len_max": _array(STRING, BIG, b"\0" * 64, b"tokenizer.ggml.tokens"),
    "arr_len_1e8_u8": _array(0, 10**8, b"\0" * 64),
    "arr_nested_deep": _one_key(ARRAY, b"".join(u32(ARRAY) + u64(1) for _ in range(5000)) + u32(0) + u64(1) + b"\0"),
    "align_zero": head(0, 1) + u32_pair(b"general.alignment", 0),
    "align_2g": head(0, 1) + u32_pair(b"general.alignment", 2**31),
    "ndims_max": head(1, 0) + text(b"w") + u32(2**32 - 1) + b"\0" * 64,
    "elems_overflow": head(1, 0) + tensor(b"w", (BIG, 2)) + b"\0" * 64,
    "offset_max": head(1, 0) + tensor(b"w", (1,), offset=BIG) + b"\0" * 64,
    "bad_type": head(1, 0) + tensor(b"w", (32,), 9999) + b"\0" * 64,
    "dup_key": head(0, 2) + u32_pair(b"k", 1) * 2,
    "truncated_tensor": head(1, 0) + tensor(b"w", (1 << 20,)) + b"\0" * 64,
    "nonutf8_name": head(0, 1) + u32_pair(b"\xff\xfe\x00bad", 1),
    "ansi_name": head(0, 1) + string_pair(b"general.name", b"\x1b[2J\x1b]0;pwn\x07$(touch x)`id`\nservices:"),
}

OURS: dict[str, bytes] = {
    "v0": head(0, 0, 0) + b"\0" * 64,
    "v1": head(0, 0, 1) + b"\0" * 64,
    "v4": head(0, 0, 4) + b"\0" * 64,
    "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + b"\0" * 64,
    "reversed_magic": b"FUGG" + u32(3) + b"\0" * 64,
    "magic_lower": b"gguf" + u32(3) + b"\0" * 64,
    "elf": b"\x7fELF" + b"\0" * 128,
    "zip": b"PK\x03\x04" + b"\0" * 128,
    "pickle": b"\x80\x04\x95" + b"\0" * 128,
    "html": b"<!DOCTYPE html><html>" + b" " * 128,
    "lfs_pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64,
    "zeros": b"\0" * 4096,
    "ones": b"\xff" * 4096,
    "counts_swapped_sign": head(2**63, 2**63),
    "keys_just_over": head(0, 16_385) + b"\0" * 4096,
    "tensors_just_over": head(65_537, 0) + b"\0" * 4096,
    "keys_promised": head(0, 16_384) + u32_pair(b"k", 1),
    "tensors_promised": head(65_536, 0) + tensor(b"w", (1,)) + b"\0" * 64,
    "key_empty": head(0, 1) + text(b"") + u32(4) + u32(1),
    "key_long": head(0, 1) + text(b"k" * 513) + u32(4) + u32(1),
    "key_nul": head(0, 1) + u32_pair(b"a\0b", 1),
    "key_ansi": head(0, 1) + u32_pair(b"\x1b[31mred", 1),
    "key_newline": head(0, 1) + u32_pair(b"a\nservices:", 1),
    "key_rtl": head(0, 1) + u32_pair("a\u202eb".encode(), 1),
    "key_surrogate": head(0, 1) + u32_pair(b"\xed\xa0\x80", 1),
    "key_overlong_utf8": head(0, 1) + u32_pair(b"\xc0\xaf", 1),
    "value_type_13": _one_key(13, b"\0" * 64),
    "value_type_max": _one_key(2**32 - 1, b"\0" * 64),
    "bool_2": _one_key(7, b"\x02"),
    "bool_array_ff": _array(7, 4, b"\x00\x01\xff\x00"),
    "value_cut": _one_key(10, b"\0" * 7),
    "string_value_max": _one_key(STRING, u64(BIG)),
    "string_value_1g": _one_key(STRING, u64(2**30) + b"x" * 64),
    "string_value_not_utf8": _one_key(STRING, text(b"\xff\xff\xff")),
    "name_c1_control": head(0, 1) + string_pair(b"general.name", "a\u009b31m".encode()),
    "name_delete": head(0, 1) + string_pair(b"general.license", b"mit\x7f"),
    "array_of_arrays": _array(ARRAY, 1, u32(0) + u64(1) + b"\0"),
    "array_type_max": _array(2**32 - 1, 1, b"\0" * 16),
    "array_type_unknown_long": _array(77, 10**6, b"\0" * 16),
    "array_strings_over_limit": _array(STRING, 4_000_001, b"\0" * 64),
    "array_strings_one_short": _array(STRING, 3, text(b"a") + text(b"b")),
    "array_strings_inner_max": _array(STRING, 3, text(b"a") + u64(BIG) + b"b" * 16),
    "array_strings_inner_2_63": _array(STRING, 3, text(b"a") + u64(2**63) + b"b" * 16),
    "array_strings_inner_past_end": _array(STRING, 2, u64(10**6) + b"b" * 64),
    "array_u64_max": _array(10, BIG, b"\0" * 64),
    "array_u64_wraps": _array(10, 2**61, b"\0" * 64),
    "array_duplicate": head(0, 2) + (text(b"a") + u32(ARRAY) + u32(0) + u64(1) + b"\0") * 2,
    "array_and_value_same_key": head(0, 2) + text(b"a") + u32(ARRAY) + u32(0) + u64(1) + b"\0" + u32_pair(b"a", 1),
    "align_3": head(0, 1) + u32_pair(b"general.alignment", 3),
    "align_2m": _data(head(1, 1) + u32_pair(b"general.alignment", 2**21) + tensor(b"w", (1,))),
    "align_negative": head(0, 1) + text(b"general.alignment") + u32(5) + struct.pack("<i", -32),
    "align_float": head(0, 1) + text(b"general.alignment") + u32(6) + struct.pack("<f", 32.0),
    "align_bool": head(0, 1) + text(b"general.alignment") + u32(7) + b"\x01",
    "align_string": head(0, 1) + string_pair(b"general.alignment", b"32"),
    "align_past_end": padded(head(1, 1) + u32_pair(b"general.alignment", 2**20) + tensor(b"w", (1,))) + b"\0" * 64,
    "tensor_name_empty": _data(head(1, 0) + tensor(b"", (1,))),
    "tensor_name_long": _data(head(1, 0) + tensor(b"n" * 128, (1,))),
    "tensor_name_ansi": _data(head(1, 0) + tensor(b"\x1b[2J", (1,))),
    "tensor_name_not_utf8": _data(head(1, 0) + tensor(b"\xff\xfe", (1,))),
    "tensor_5_dimensions": _data(head(1, 0) + tensor(b"w", (1, 1, 1, 1, 1))),
    "tensor_zero_side": _data(head(1, 0) + tensor(b"w", (0, 4))),
    "tensor_negative_side": _data(head(1, 0) + tensor(b"w", (2**63, 1))),
    "tensor_product_wraps": _data(head(1, 0) + tensor(b"w", (2**32, 2**32, 2**32, 2**32))),
    "tensor_removed_type": _data(head(1, 0) + tensor(b"w", (32,), 4)),
    "tensor_type_31": _data(head(1, 0) + tensor(b"w", (32,), 31)),
    "tensor_rows_no_block": _data(head(1, 0) + tensor(b"w", (33,), 8)),
    "tensor_scalar_no_block": _data(head(1, 0) + tensor(b"w", (), 12)),
    "tensor_k_quant_64": _data(head(1, 0) + tensor(b"w", (64, 4), 12)),
    "tensor_offset_unaligned": _data(head(1, 0) + tensor(b"w", (1,), offset=1)),
    "tensor_offset_gap": _data(head(2, 0) + tensor(b"a", (1,)) + tensor(b"b", (1,), offset=64)),
    "tensors_overlap": _data(head(2, 0) + tensor(b"a", (8,)) + tensor(b"b", (8,))),
    "tensors_backwards": _data(head(2, 0) + tensor(b"a", (8,), offset=32) + tensor(b"b", (8,))),
    "tensors_same_name": _data(head(2, 0) + tensor(b"a", (8,)) + tensor(b"a", (8,), offset=32)),
    "tensor_one_byte_missing": padded(head(1, 0) + tensor(b"w", (8,))) + b"\0" * 31,
    "tensor_no_data": head(1, 0) + tensor(b"w", (8,)),
    "many_keys": head(0, 16_384) + b"".join(u32_pair(b"key%d" % number, 1) for number in range(16_383)),
    "many_kept_strings": head(0, 16_384)
    + b"".join(string_pair(b"key%d" % number, b"\xf0\x9f\x98\x80" * 1000) for number in range(2_000)),
    "many_kept_arrays": head(0, 16_384)
    + b"".join(text(b"key%d" % n) + u32(ARRAY) + u32(4) + u64(1000) + b"\1\0\0\0" * 1000 for n in range(1_000)),
    "many_tensors": head(65_536, 0)
    + b"".join(tensor(b"t%d" % number, (1,), offset=32 * number) for number in range(65_535)),
    "many_strings": head(0, 2) + text(b"a") + u32(ARRAY) + u32(STRING) + u64(4_000_000) + u64(0) * 4_000_000,
    "long_strings": _array(STRING, 300, (text(b"x" * 100_000)) * 299),
}


def cuts() -> Iterator[tuple[str, bytes]]:
    """The small sound file, cut after each byte."""
    sound = tiny()
    for length in range(len(sound)):
        yield f"cut_{length:03d}", sound[:length]


def corpus() -> dict[str, bytes]:
    """All of it, by name."""
    return {**PUBLISHED, **OURS, **dict(cuts())}
