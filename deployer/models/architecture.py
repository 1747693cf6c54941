"""From a GGUF header to the numbers that memory and speed follow from.

Keys: llama.cpp b11434 gguf-py/gguf/constants.py (`Keys`); which tensor belongs where: src/llama-arch.cpp
(`LLM_TENSOR_INFOS`), tied embeddings: src/llama-model-loader.cpp (an absent `output.weight` reuses `token_embd`).
"""

import re
from collections import Counter

from deployer.errors import ModelFileError
from deployer.models.gguf import GgufHeader
from deployer.models.gguf_types import FILE_TYPES, GUESSED_FILE_TYPES
from deployer.models.layer_kinds import by_layer, experts, heads, recurrent, window
from deployer.models.metadata import broken as _broken
from deployer.models.metadata import number as _number
from deployer.models.metadata import shown as _shown
from deployer.models.names import printable
from deployer.types import Architecture, WeightLayout
from deployer.types.encoder import is_encoder

MAX_LAYERS = 4096
_ONE_DIGIT = 10  # below it, a size is written with one decimal
_GUESSED = 1024  # added to general.file_type by llama.cpp when it guessed
_LAYER = re.compile(r"blk\.(\d{1,5})\.")
_EXPERTS = re.compile(r"_(?:ch|)exps\.")
_INPUT = ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
_SCORE_HEADS = ("cls.output.weight", "cls.weight")
_RANK = 4  # llama.cpp LLAMA_POOLING_TYPE_RANK


def architecture(header: GgufHeader) -> Architecture:
    """Architecture of a model. Raises ModelFileError naming the key that is missing or senseless."""
    name = architecture_name(header)
    embedding = _number(header, f"{name}.embedding_length", low=1, high=1 << 20)
    layers = _number(header, f"{name}.block_count", low=1, high=MAX_LAYERS)
    context = _number(header, f"{name}.context_length", low=1, high=1 << 40)
    expert_numbers = experts(header, name)
    names = {tensor.name for tensor in header.tensors}
    return Architecture(
        name=name,
        layers=layers,
        embedding=embedding,
        feed_forward=_number(
            header,
            f"{name}.feed_forward_length",
            default=expert_numbers.get("expert_feed_forward") or None,
            high=1 << 24,
        ),
        vocabulary=_vocabulary(header, name),
        context_max=context,
        tied_embeddings="output.weight" not in names and not is_encoder(name),
        attention_bias="blk.0.attn_q.bias" in names or "blk.0.attn_qkv.bias" in names,
        **heads(header, name, embedding),
        **expert_numbers,
        **window(header, name, layers, context),
        **by_layer(header, name, layers),
        **recurrent(header, name, layers),
    )


def architecture_name(header: GgufHeader) -> str:
    """`general.architecture`. Raises ModelFileError when it is missing, or when the file is no language model."""
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", name):
        raise _broken(header, f"general.architecture is {_shown(name)}")
    kind = header.metadata.get("general.type", "model")
    if name == "clip":
        raise ModelFileError(
            f"{header.label}: is no language model but 'clip': the projector of one, which reads pictures or sound",
            hint="name the .gguf file of the model; the projector in its folder is found by itself",
        )
    if name == "imatrix" or kind not in {"model", ""}:
        raise ModelFileError(
            f"{header.label}: is no language model but {printable(str(kind if kind != 'model' else name))!r}",
            hint="give the model's own .gguf file",
        )
    return name


def weight_layout(header: GgufHeader, layers: int) -> WeightLayout:
    """Bytes of the tensors by place. What belongs to no layer and is no input counts as output."""
    by_layer, experts, first, last, embedding = [0] * layers, [0] * layers, 0, 0, 0
    for tensor in header.tensors:
        match = _LAYER.match(tensor.name)
        if match and int(match[1]) < layers:
            by_layer[int(match[1])] += tensor.bytes
            experts[int(match[1])] += tensor.bytes if _EXPERTS.search(tensor.name) else 0
        elif tensor.name.startswith(_INPUT):
            first += tensor.bytes
            embedding += tensor.bytes if tensor.name == "token_embd.weight" else 0
        else:
            last += tensor.bytes
    return WeightLayout(
        input_bytes=first,
        layer_bytes=tuple(by_layer),
        output_bytes=last,
        token_embedding_bytes=embedding,
        expert_bytes=tuple(experts) if any(experts) else (),
    )


def parameters(header: GgufHeader) -> int:
    """Number of weights: the elements of all tensors."""
    return sum(tensor.elements for tensor in header.tensors)


def quantization(header: GgufHeader) -> str:
    """Name of the quantization, as llama.cpp names it; without `general.file_type`, from the type most bytes have."""
    declared = header.metadata.get("general.file_type")
    if type(declared) is int and (known := FILE_TYPES.get(declared % _GUESSED)):
        return known
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        sizes[tensor.type] += tensor.bytes
    dominant = sizes.most_common(1)[0][0] if sizes else "unknown"
    return GUESSED_FILE_TYPES.get(dominant, dominant)


def size_label(count: int) -> str:
    """`135M`, `7.6B`: the number of parameters as people say it."""
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            value = count / unit
            return f"{value:.1f}{name}" if round(value, 1) < _ONE_DIGIT else f"{value:.0f}{name}"
    return str(count)


def is_embedding(header: GgufHeader) -> bool:
    """True for a model that answers with vectors: an encoder, or one that declares a pooling other than none."""
    name = architecture_name(header)
    return is_encoder(name) or header.metadata.get(f"{name}.pooling_type", 0) != 0


def is_reranker(header: GgufHeader) -> bool:
    """True for a model that scores a text against a query: it says so, or its head makes one number.

    Source: llama.cpp b11434 src/llama-graph.cpp `build_pooling` (`LLAMA_POOLING_TYPE_RANK`; `cls` and `cls.output`).
    """
    name = architecture_name(header)
    if header.metadata.get(f"{name}.pooling_type") == _RANK:
        return True
    heads = {tensor.name: tensor for tensor in header.tensors if tensor.name in _SCORE_HEADS}
    last = next((heads[head] for head in _SCORE_HEADS if head in heads), None)
    return last is not None and last.elements == _number(header, f"{name}.embedding_length", low=1, high=1 << 20)


def _vocabulary(header: GgufHeader, name: str) -> int:
    tokens = header.arrays.get("tokenizer.ggml.tokens")
    embedding = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    rows = embedding.shape[1] if embedding is not None and len(embedding.shape) > 1 else None
    known = rows or (tokens.length if tokens is not None else None)
    return _number(header, f"{name}.vocab_size", low=1, default=known, high=1 << 28)
