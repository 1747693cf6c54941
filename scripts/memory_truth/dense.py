"""Models whose layers are all alike: attention and a feed-forward part, dense or of experts."""

from scripts.memory_truth.model import (
    Model,
    Tensors,
    Value,
    attention,
    biases,
    ends,
    experts,
    feed_forward,
    norms,
    numbers,
    weights,
)

PAIR = ("attn_norm", "ffn_norm")
GEMMA = (*PAIR, "post_attention_norm", "post_ffw_norm")


def transformer(
    name: str,
    arch: str,
    *,
    layers: int,
    of: int,
    e: int,
    ff: int,
    heads: int,
    kv: int,
    d: int,
    vocabulary: int,
    context: int,
    tied: bool = False,
    names: tuple[str, ...] = PAIR,
    head_norms: bool = False,
    extra: Tensors | None = None,
    without: tuple[str, ...] = (),
    body: Tensors | None = None,
    keys: dict[str, Value] | None = None,
    kind: str = "Q4_K",
    reduced: str = "",
    expert_type: str = "",
    outside: Tensors | None = None,
) -> Model:
    """One of `layers` layers where the real one has `of`; `body` in place of the dense feed-forward part."""
    parts: Tensors = {
        **norms(e, *names),
        **attention(e, heads * d, kv * d),
        **(norms(d, "attn_q_norm", "attn_k_norm") if head_norms else {}),
        **(feed_forward(e, ff) if body is None else body),
        **(extra or {}),
    }
    layer = {key: shape for key, shape in parts.items() if key not in without}
    said = [f"{layers} of {of} layers"] if layers != of else []
    return Model(
        id=name,
        arch=arch,
        layers=layers,
        vocabulary=vocabulary,
        keys={**numbers(layers, e, ff, context, (heads, kv, d)), **(keys or {})},
        layer=lambda _: layer,
        type=kind,
        outside={**ends(e, vocabulary, tied=tied), **(outside or {})},
        reduced=", ".join([*said, *([reduced] if reduced else [])]),
        expert_type=expert_type,
    )


def windowed(size: int, **more: Value) -> dict[str, Value]:
    """Keys of a sliding window."""
    return {"attention.sliding_window": size, **more}


def of_experts(count: int, used: int, ff: int, shared: int = 0) -> dict[str, Value]:
    """Keys of a mixture of experts."""
    found: dict[str, Value] = {"expert_count": count, "expert_used_count": used, "expert_feed_forward_length": ff}
    return found | ({"expert_shared_feed_forward_length": shared} if shared else {})


MODELS: tuple[Model, ...] = (
    transformer(
        "llama-3.2-1b", "llama", layers=16, of=16, e=2048, ff=8192, heads=32, kv=8, d=64, vocabulary=128256,
        context=131072, tied=True, kind="Q8_0", outside={"rope_freqs.weight": (32,)},
    ),
    transformer(
        "llama-3.1-8b", "llama", layers=8, of=32, e=4096, ff=14336, heads=32, kv=8, d=128, vocabulary=128256,
        context=131072, outside={"rope_freqs.weight": (64,)},
    ),
    transformer(
        "mistral-7b", "llama", layers=8, of=32, e=4096, ff=14336, heads=32, kv=8, d=128, vocabulary=32768,
        context=32768,
    ),
    transformer(
        "mixtral-8x7b", "llama", layers=2, of=32, e=4096, ff=14336, heads=32, kv=8, d=128, vocabulary=32000,
        context=32768, body=experts(4096, 14336, 8), keys={"expert_count": 8, "expert_used_count": 2},
    ),
    transformer(
        "qwen2.5-0.5b", "qwen2", layers=24, of=24, e=896, ff=4864, heads=14, kv=2, d=64, vocabulary=151936,
        context=32768, tied=True, kind="Q8_0", extra=biases(attn_q=896, attn_k=128, attn_v=128),
    ),
    transformer(
        "qwen2.5-7b", "qwen2", layers=7, of=28, e=3584, ff=18944, heads=28, kv=4, d=128, vocabulary=152064,
        context=32768, extra=biases(attn_q=3584, attn_k=512, attn_v=512),
    ),
    transformer(
        "qwen3-8b", "qwen3", layers=7, of=36, e=4096, ff=12288, heads=32, kv=8, d=128, vocabulary=151936,
        context=40960, head_norms=True,
    ),
    transformer(
        "qwen3-30b-a3b", "qwen3moe", layers=3, of=48, e=2048, ff=6144, heads=32, kv=4, d=128, vocabulary=151936,
        context=40960, head_norms=True, body=experts(2048, 768, 128), keys=of_experts(128, 8, 768),
    ),
    transformer(
        "gemma-2-9b", "gemma2", layers=6, of=42, e=3584, ff=14336, heads=16, kv=8, d=256, vocabulary=256000,
        context=8192, tied=True, names=GEMMA,
        keys=windowed(4096, attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    ),
    transformer(
        "gemma-3-1b", "gemma3", layers=26, of=26, e=1152, ff=6912, heads=4, kv=1, d=256, vocabulary=262144,
        context=32768, tied=True, names=GEMMA, head_norms=True, keys=windowed(512), kind="Q8_0",
    ),
    transformer(
        "gemma-3-12b", "gemma3", layers=6, of=48, e=3840, ff=15360, heads=16, kv=8, d=256, vocabulary=262208,
        context=131072, tied=True, names=GEMMA, head_norms=True, keys=windowed(1024),
    ),
    transformer(
        "phi-3-mini", "phi3", layers=8, of=32, e=3072, ff=8192, heads=32, kv=32, d=96, vocabulary=32064,
        context=4096, extra=weights(attn_qkv=(3072, 9216), ffn_up=(3072, 16384)), keys=windowed(2047),
        without=("attn_q.weight", "attn_k.weight", "attn_v.weight", "ffn_gate.weight"),
    ),
    transformer(
        "gpt-oss-20b", "gpt-oss", layers=2, of=24, e=2880, ff=2880, heads=64, kv=8, d=64, vocabulary=201088,
        context=131072, names=("attn_norm", "post_attention_norm"), kind="Q8_0", expert_type="MXFP4",
        body=experts(2880, 2880, 32), keys={**windowed(128), **of_experts(32, 4, 2880)},
        extra={
            **weights(attn_sinks=(64,)),
            **biases(attn_q=4096, attn_k=512, attn_v=512, attn_output=2880, ffn_gate_inp=32),
            **{f"ffn_{part}_exps.bias": (2880, 32) for part in ("gate", "up", "down")},
        },
    ),
    transformer(
        "command-r-35b", "command-r", layers=2, of=40, e=8192, ff=22528, heads=64, kv=64, d=128, vocabulary=256000,
        context=131072, tied=True, names=("attn_norm",), keys={"logit_scale": 0.0625}, kind="Q2_K",
    ),
    transformer(
        "command-r7b", "cohere2", layers=8, of=32, e=4096, ff=14336, heads=32, kv=8, d=128, vocabulary=256000,
        context=8192, tied=True, names=("attn_norm",), keys=windowed(4096, logit_scale=0.25),
    ),
    transformer(
        "glm-4-9b", "glm4", layers=6, of=40, e=4096, ff=13696, heads=32, kv=2, d=128, vocabulary=151552,
        context=32768, names=GEMMA, extra=weights(ffn_up=(4096, 27392)), without=("ffn_gate.weight",),
        keys={"rope.dimension_count": 64},
    ),
    transformer(
        "olmo-2-7b", "olmo2", layers=6, of=32, e=4096, ff=11008, heads=32, kv=32, d=128, vocabulary=100352,
        context=4096, names=("post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"),
    ),
    transformer(
        "starcoder2-7b", "starcoder2", layers=8, of=32, e=4608, ff=18432, heads=36, kv=4, d=128, vocabulary=49152,
        context=16384, tied=True, without=("ffn_gate.weight",), outside=biases(output_norm=4608),
        extra=biases(
            attn_norm=4608, ffn_norm=4608, attn_q=4608, attn_k=512, attn_v=512, attn_output=4608, ffn_up=18432,
            ffn_down=4608,
        ),
    ),
)  # fmt: skip
