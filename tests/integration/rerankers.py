"""A reranker as small as the engines accept: BERT with a head of one score, as a GGUF file and as a safetensors folder.

Its weights are random, so that its scores are finite and say nothing.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

WIDTH, WIDE, HEADS, LAYERS, POSITIONS = 128, 256, 2, 2, 512
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,?!'")
WORDS = (
    *("paris", "france", "capital", "the", "is", "of", "what", "time", "year", "people", "way", "day", "man", "life"),
    *("child", "world", "school", "state", "family", "group", "hello"),
)
RANK = 4
"""llama.cpp `LLAMA_POOLING_TYPE_RANK`."""

_LAYER = {
    "attention.self.query": ("attn_q", (WIDTH, WIDTH)),
    "attention.self.key": ("attn_k", (WIDTH, WIDTH)),
    "attention.self.value": ("attn_v", (WIDTH, WIDTH)),
    "attention.output.dense": ("attn_output", (WIDTH, WIDTH)),
    "attention.output.LayerNorm": ("attn_output_norm", (WIDTH,)),
    "intermediate.dense": ("ffn_up", (WIDE, WIDTH)),
    "output.dense": ("ffn_down", (WIDTH, WIDE)),
    "output.LayerNorm": ("layer_output_norm", (WIDTH,)),
}
"""Parts of a layer, each with a bias: transformers' name to llama.cpp's name and the shape of the weight."""


def vocabulary() -> tuple[str, ...]:
    """Word pieces: all letters at the start of a word and inside one, and some words."""
    return (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS)


def tensors() -> Iterator[tuple[str, str, np.ndarray]]:
    """Every tensor: its name in transformers, in llama.cpp, and its values, the same at every call."""
    made = np.random.default_rng(7)

    def values(*shape: int) -> np.ndarray:
        return made.normal(0, 0.5, shape).astype(np.float32)

    yield "bert.embeddings.word_embeddings.weight", "token_embd.weight", values(len(vocabulary()), WIDTH)
    yield "bert.embeddings.position_embeddings.weight", "position_embd.weight", values(POSITIONS, WIDTH)
    yield "bert.embeddings.token_type_embeddings.weight", "token_types.weight", values(2, WIDTH)
    yield "bert.embeddings.LayerNorm.weight", "token_embd_norm.weight", np.ones(WIDTH, np.float32)
    yield "bert.embeddings.LayerNorm.bias", "token_embd_norm.bias", np.zeros(WIDTH, np.float32)
    for layer in range(LAYERS):
        for theirs, (ours, shape) in _LAYER.items():
            weight = values(*shape) if len(shape) > 1 else np.ones(shape, np.float32)
            yield f"bert.encoder.layer.{layer}.{theirs}.weight", f"blk.{layer}.{ours}.weight", weight
            yield f"bert.encoder.layer.{layer}.{theirs}.bias", f"blk.{layer}.{ours}.bias", values(shape[0])
    yield "bert.pooler.dense.weight", "cls.weight", values(WIDTH, WIDTH)
    yield "bert.pooler.dense.bias", "cls.bias", values(WIDTH)
    yield "classifier.weight", "cls.output.weight", values(1, WIDTH)
    yield "classifier.bias", "cls.output.bias", values(1)


def write_gguf(path: Path) -> Path:
    """The model as llama.cpp reads it."""
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name("tiny reranker")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDE)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(RANK))
    _vocabulary(writer)
    for _, name, values in tensors():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _vocabulary(writer: gguf.GGUFWriter) -> None:
    """Word pieces as conversion writes them: what begins a word has a mark, what goes on in one has none."""
    pieces = [piece.removeprefix("##") if piece.startswith("##") else f"\u2581{piece}" for piece in vocabulary()]
    pieces[: len(SPECIAL)] = SPECIAL
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list(pieces)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(pieces) - len(SPECIAL)))
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_uint32("tokenizer.ggml.cls_token_id", 2)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_eos_token_id(3)
    writer.add_mask_token_id(4)


def write_safetensors(folder: Path) -> Path:
    """The model as transformers, vLLM and SGLang read it."""
    folder.mkdir(mode=0o755)
    config = {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu",
        "hidden_size": WIDTH, "intermediate_size": WIDE, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "max_position_embeddings": POSITIONS, "vocab_size": len(vocabulary()), "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "dtype": "bfloat16", "position_embedding_type": "absolute",
        "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
    }  # fmt: skip
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    (folder / "model.safetensors").write_bytes(_safetensors())
    return folder


def _tokenizer() -> dict[str, object]:
    """The word pieces in the form of the library `tokenizers`."""
    numbers = {piece: number for number, piece in enumerate(vocabulary())}
    special = {name: {"id": name, "ids": [numbers[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    first = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    first.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    second = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": numbers[name], "content": name, **flags} for name in SPECIAL],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": first, "pair": [*first, *second], "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": numbers,
        },
    }  # fmt: skip


def _safetensors() -> bytes:
    """Length of the header, header, values one after the other (the format's own description)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, _, values in tensors():
        halves = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 is the upper half of a float
        end = len(data) + halves.nbytes
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [len(data), end]}
        data += halves.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data
