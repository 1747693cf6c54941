"""Models with latent attention, layers of several kinds, or a recurrent state."""

from collections.abc import Callable

from scripts.memory_truth.dense import PAIR, of_experts
from scripts.memory_truth.model import (
    CONV,
    Model,
    Tensors,
    Value,
    attention,
    delta_net,
    ends,
    experts,
    feed_forward,
    mamba,
    mamba2,
    norms,
    numbers,
    weights,
)


def ssm(inner: int, state: int, rank: int, groups: int = 0) -> dict[str, Value]:
    """Keys of a recurrent part."""
    found: dict[str, Value] = {
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.conv_kernel": CONV,
        "ssm.time_step_rank": rank,
    }
    return found | ({"ssm.group_count": groups} if groups else {})


def latent(name: str, *, layers: int, e: int, ff: int, heads: int, query_rank: int, count: int, used: int,
           shared: int, width: int, vocabulary: int, mla: bool, reduced: str,
           expert_type: str = "") -> Model:  # fmt: skip
    """DeepSeek 2 and 3: heads of 128 + 64 elements, a latent of 512; `mla` False: a file without the newer keys."""
    rank, rope, head = 512, 64, 128
    if query_rank:
        queries = weights(attn_q_a=(e, query_rank), attn_q_b=(query_rank, heads * (head + rope)))
        queries |= norms(query_rank, "attn_q_a_norm")
    else:
        queries = weights(attn_q=(e, heads * (head + rope)))
    if mla:
        decompress = weights(attn_k_b=(head, rank, heads), attn_v_b=(rank, head, heads))
        keys: dict[str, Value] = {"attention.key_length": rank + rope, "attention.value_length": rank}
        keys |= {"attention.key_length_mla": head + rope, "attention.value_length_mla": head}
    else:
        decompress = weights(attn_kv_b=(rank, heads * 2 * head))
        keys = {"attention.key_length": head + rope, "attention.value_length": head}
    same: Tensors = {
        **norms(e, *PAIR),
        **norms(rank, "attn_kv_a_norm"),
        **queries,
        **decompress,
        **weights(attn_kv_a_mqa=(e, rank + rope), attn_output=(heads * head, e)),
    }
    keys |= {"attention.kv_lora_rank": rank, "rope.dimension_count": rope, "leading_dense_block_count": 1}
    keys |= {"attention.q_lora_rank": query_rank} if query_rank else {}
    keys |= {**of_experts(count, used, width), "expert_shared_count": shared}
    return Model(
        id=name,
        arch="deepseek2",
        layers=layers,
        vocabulary=vocabulary,
        keys={**numbers(layers, e, ff, 163840, (heads, 1 if mla else heads, 0)), **keys},
        layer=lambda i: same | (feed_forward(e, ff) if i == 0 else experts(e, width, count, shared=shared * width)),
        type="Q4_K",
        outside=ends(e, vocabulary, tied=False),
        reduced=reduced,
        expert_type=expert_type,
    )


def recurrent(name: str, arch: str, *, layers: int, e: int, vocabulary: int, keys: dict[str, Value], mixer: Tensors,
              kind: str, reduced: str = "") -> Model:  # fmt: skip
    """Mamba: nothing but a recurrent state."""
    layer = {**norms(e, "attn_norm"), **mixer}
    return Model(
        id=name, arch=arch, layers=layers, vocabulary=vocabulary, keys={**numbers(layers, e, 0, 1048576), **keys},
        layer=lambda _: layer, type=kind, outside=ends(e, vocabulary, tied=True), reduced=reduced,
    )  # fmt: skip


def hybrid(name: str, arch: str, *, layers: int, e: int, vocabulary: int, keys: dict[str, Value],
           layer: Callable[[int], Tensors], kind: str = "Q4_K", tied: bool = False, reduced: str = "",
           norm: str = "output_norm", expert_type: str = "", outside: Tensors | None = None) -> Model:  # fmt: skip
    """Layers of several kinds."""
    return Model(
        id=name, arch=arch, layers=layers, vocabulary=vocabulary, keys=keys, layer=layer, type=kind, reduced=reduced,
        outside={**ends(e, vocabulary, tied=tied, norm=norm), **(outside or {})}, expert_type=expert_type,
    )  # fmt: skip


def qwen3_next() -> Model:
    """Three gated delta nets, then one attention layer; experts in all."""
    e, count = 2048, 48
    body = experts(e, 512, count, shared=512) | weights(ffn_gate_inp_shexp=(e,))
    pair = norms(e, "attn_norm", "post_attention_norm")
    full = attention(e, 4096, 512, gate=2) | norms(256, "attn_q_norm", "attn_k_norm")
    linear = delta_net(e, 128, 32, 16, joined=True)
    keys = {**numbers(8, e, 5120, 262144, (16, 2, 256)), **ssm(4096, 128, 32, 16), **of_experts(count, 10, 512, 512)}
    whole = range(3, 8, 4)
    return hybrid(
        "qwen3-next-80b-a3b", "qwen3next", layers=8, e=e, vocabulary=151936,
        keys={**keys, "full_attention_interval": 4, "rope.dimension_count": 64},
        layer=lambda i: {**pair, **(full if i in whole else linear), **body},
        reduced="8 of 48 layers, 48 of 512 experts",
    )  # fmt: skip


def qwen35() -> Model:
    """As Qwen3-Next, dense."""
    e, ff = 4096, 12288
    pair = norms(e, "attn_norm", "post_attention_norm")
    full = attention(e, 4096, 1024, gate=2) | norms(256, "attn_q_norm", "attn_k_norm")
    linear = delta_net(e, 128, 32, 16, joined=False)
    keys = {**numbers(8, e, ff, 262144, (16, 4, 256)), **ssm(4096, 128, 32, 16), "full_attention_interval": 4}
    whole = range(3, 8, 4)
    return hybrid(
        "qwen3.5-9b", "qwen35", layers=8, e=e, vocabulary=248320,
        keys={**keys, "rope.dimension_count": 64, "rope.dimension_sections": [11, 11, 10, 0]},
        layer=lambda i: {**pair, **(full if i in whole else linear), **feed_forward(e, ff)},
        reduced="8 of 32 layers",
    )  # fmt: skip


def falcon_h1() -> Model:
    """Attention and Mamba 2 side by side in each layer."""
    e, ff = 2048, 4096
    layer = {
        **norms(e, "attn_norm"), "ffn_norm": (e,), **attention(e, 1024, 256), **feed_forward(e, ff),
        **mamba2(e, 3072, 256, 48, 1, norm=False),
    }  # fmt: skip
    keys = {**numbers(24, e, ff, 131072, (8, 2, 128)), **ssm(3072, 256, 48, 1)}
    return hybrid("falcon-h1-1.5b", "falcon-h1", layers=24, e=e, vocabulary=65537, keys=keys, layer=lambda _: layer)


def granite_hybrid() -> Model:
    """Mamba 2 with attention in four of forty layers; experts in all."""
    e, layers, full = 1536, 10, {5}
    body = norms(e, *PAIR) | experts(e, 512, 64, shared=1024)
    keys = {
        **numbers(layers, e, 512, 131072, (12, [4 if i in full else 0 for i in range(layers)], 128)),
        **ssm(3072, 128, 48, 1), "expert_count": 64, "expert_used_count": 6,
        "expert_shared_feed_forward_length": 1024, "rope.scaling.finetuned": False,
    }  # fmt: skip
    return hybrid(
        "granite-4.0-h-tiny", "granitehybrid", layers=layers, e=e, vocabulary=100352, keys=keys, tied=True,
        layer=lambda i: body | (attention(e, 1536, 512) if i in full else mamba2(e, 3072, 128, 48, 1)),
        reduced="10 of 40 layers",
    )  # fmt: skip


def jamba() -> Model:
    """Mamba 1 with one attention layer of eight; experts in every second layer."""
    e, ff, layers, count = 4096, 14336, 8, 4
    whole = range(4, layers, 8)
    own = mamba(e, 8192, 16, 256) | norms(256, "ssm_dt_norm") | norms(16, "ssm_b_norm", "ssm_c_norm")
    keys: dict[str, Value] = {
        **numbers(layers, e, ff, 262144, (32, [8 if i in whole else 0 for i in range(layers)], 0)),
        **ssm(8192, 16, 256), "expert_count": count, "expert_used_count": 2,
    }  # fmt: skip
    return hybrid(
        "jamba-v0.1", "jamba", layers=layers, e=e, vocabulary=65536, keys=keys, expert_type="IQ2_XXS",
        layer=lambda i: {
            **norms(e, *PAIR), **(attention(e, 4096, 1024) if i in whole else own),
            **(experts(e, ff, count) if i % 2 else feed_forward(e, ff)),
        },
        reduced="8 of 32 layers, 4 of 16 experts",
    )  # fmt: skip


def lfm2() -> Model:
    """Short convolutions with attention in six of sixteen layers."""
    e, ff, layers, full = 2048, 8192, 16, {2, 5, 8, 10, 12, 14}
    attend = attention(e, 2048, 512) | norms(64, "attn_q_norm", "attn_k_norm")
    convolve: Tensors = {
        "shortconv.conv.weight": (3, e), "shortconv.in_proj.weight": (e, 3 * e), "shortconv.out_proj.weight": (e, e),
    }  # fmt: skip
    kv = [8 if i in full else 0 for i in range(layers)]
    return hybrid(
        "lfm2-1.2b", "lfm2", layers=layers, e=e, vocabulary=65536, tied=True, kind="Q8_0", norm="token_embd_norm",
        keys={**numbers(layers, e, ff, 128000, (32, kv, 0)), "shortconv.l_cache": 3},
        layer=lambda i: {**norms(e, *PAIR), **(attend if i in full else convolve), **feed_forward(e, ff)},
    )  # fmt: skip


def nemotron_h() -> Model:
    """One mixer a layer: Mamba 2, attention or a feed-forward part. The first thirteen layers of the 8B model."""
    e, ff, pattern = 4096, 21504, "M-M-M-M*-M-M-"
    parts: dict[str, Tensors] = {
        "M": mamba2(e, 8192, 128, 128, 8),
        "*": attention(e, 4096, 1024),
        "-": weights(ffn_up=(e, ff), ffn_down=(ff, e)),
    }
    widths, kv = [ff if c == "-" else 0 for c in pattern], [8 if c == "*" else 0 for c in pattern]
    return hybrid(
        "nemotron-h-8b", "nemotron_h", layers=len(pattern), e=e, vocabulary=131072, reduced="13 of 52 layers",
        keys={**numbers(len(pattern), e, widths, 8192, (32, kv, 128)), **ssm(8192, 128, 128, 8)},
        layer=lambda i: {**norms(e, "attn_norm"), **parts[pattern[i]]},
    )  # fmt: skip


def _models() -> tuple[Model, ...]:
    lite = {"layers": 27, "e": 2048, "ff": 10944, "heads": 16, "query_rank": 0, "count": 8, "used": 6, "shared": 2}
    small = {"width": 1408, "vocabulary": 102400}
    return (
        latent("deepseek-v2-lite", **lite, **small, mla=True, expert_type="IQ2_XXS",
               reduced="8 of 64 experts"),
        latent("deepseek-v2-lite-old-keys", **lite, **small, mla=False, expert_type="IQ2_XXS",
               reduced="8 of 64 experts"),
        latent("deepseek-v3", layers=3, e=7168, ff=18432, heads=128, query_rank=1536, count=8, used=8, shared=1,
               width=2048, vocabulary=129280, mla=True,
               reduced="3 of 61 layers (1 of 3 dense), 8 of 256 experts"),
        recurrent("mamba-2.8b", "mamba", layers=32, e=2560, vocabulary=50280, kind="Q4_K", reduced="32 of 64 layers",
                  keys=ssm(5120, 16, 160), mixer=mamba(2560, 5120, 16, 160)),
        recurrent("mamba2-2.7b", "mamba2", layers=32, e=2560, vocabulary=50288, kind="Q4_K", reduced="32 of 64 layers",
                  keys=ssm(5120, 128, 80, 1), mixer=mamba2(2560, 5120, 128, 80, 1)),
        qwen3_next(), qwen35(), falcon_h1(), granite_hybrid(), jamba(), lfm2(), nemotron_h(),
    )  # fmt: skip


MODELS = _models()
