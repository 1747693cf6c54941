"""The two kinds of value, and the words that several nouns share."""

from typing import Literal

import msgspec

FORMAT_VERSION = 1

Accelerator = Literal["cuda", "rocm", "vulkan", "sycl", "cpu"]
ModelFormat = Literal["gguf", "awq", "gptq", "fp8", "safetensors"]
RuntimeName = Literal["compose", "process", "kubernetes"]
Workload = Literal["chat", "agents", "batch", "embedding"]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A value that crosses a file; fields that a newer version added are ignored."""


class Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value that a person writes in YAML; an unknown key is an error."""
