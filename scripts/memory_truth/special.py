"""Models with an embedding for each layer and caches that layers share, and one without attention or a state space."""

from scripts.memory_truth.dense import GEMMA, windowed
from scripts.memory_truth.mixed import hybrid
from scripts.memory_truth.model import (
    EPSILON,
    Model,
    Tensors,
    Value,
    attention,
    biases,
    feed_forward,
    norms,
    numbers,
    weights,
)


def gemma4() -> Model:
    """Heads of two sizes, windows, layers that share a cache, and an embedding for each layer (E2B)."""
    e, layers, own = 1536, 35, 15
    whole = range(4, layers, 5)

    def layer(i: int) -> Tensors:
        d, ff = (512 if i in whole else 256), (6144 if i < own else 12288)
        parts = {**norms(e, *GEMMA, "post_norm"), **attention(e, 8 * d, d), **feed_forward(e, ff)}
        parts |= {**norms(d, "attn_q_norm", "attn_k_norm"), **weights(inp_gate=(e, 256), proj=(256, e))}
        shared = () if i < own else ("attn_k.weight", "attn_v.weight", "attn_k_norm.weight")
        return {name: shape for name, shape in parts.items() if name not in shared}

    keys = {
        **numbers(layers, e, [6144 if i < own else 12288 for i in range(layers)], 131072, (8, 1, 512)),
        **windowed(512), "attention.sliding_window_pattern": [i not in whole for i in range(layers)],
        "attention.shared_kv_layers": 20, "attention.key_length_swa": 256, "attention.value_length_swa": 256,
        "embedding_length_per_layer_input": 256, "rope.dimension_count_swa": 256, "final_logit_softcapping": 30.0,
    }  # fmt: skip
    outside = weights(per_layer_token_embd=(256 * layers, 262144), per_layer_model_proj=(e, 256 * layers))
    outside |= {**norms(256, "per_layer_proj_norm"), "rope_freqs.weight": (256,)}
    return hybrid(
        "gemma-4-e2b", "gemma4", layers=layers, e=e, vocabulary=262144, keys=keys, layer=layer, tied=True,
        outside=outside, kind="Q2_K",
    )  # fmt: skip


def gemma3n() -> Model:
    """Alternating updates, layers that share a cache, and an embedding for each layer (E2B)."""
    e, ff, layers, streams = 2048, 8192, 30, 4
    whole = range(4, layers, 5)
    layer = {
        **norms(e, *GEMMA, "post_norm", "laurel_post_norm", "altup_correct_scale", "altup_router_norm"),
        **attention(e, 2048, 512), **norms(256, "attn_q_norm", "attn_k_norm"), **feed_forward(e, ff),
        **weights(inp_gate=(e, 256), proj=(256, e), laurel_l=(e, 64), laurel_r=(64, e), altup_router=(e, streams)),
        **weights(altup_correct_coef=(streams, streams), altup_predict_coef=(streams, streams * streams)),
    }  # fmt: skip
    outside = weights(per_layer_token_embd=(256 * layers, 262144), per_layer_model_proj=(e, 256 * layers))
    outside |= weights(altup_proj=(e, e, streams - 1), altup_unembd_proj=(e, e, streams - 1))
    outside |= norms(256, "per_layer_proj_norm")
    keys = {
        **numbers(layers, e, ff, 32768, (8, 2, 256)), **windowed(512), "altup.num_inputs": streams,
        "altup.active_idx": 0,
        "embedding_length_per_layer_input": 256, "attention.shared_kv_layers": 10,
        "attention.sliding_window_pattern": [i not in whole for i in range(layers)],
    }  # fmt: skip
    return hybrid(
        "gemma-3n-e2b", "gemma3n", layers=layers, e=e, vocabulary=262144, keys=keys, layer=lambda _: layer, tied=True,
        outside=outside, kind="Q2_K",
    )  # fmt: skip


def rwkv7() -> Model:
    """A recurrent state and token shifts, no attention."""
    e, ff, layers, decay, rate, mix, gate = 2048, 8192, 24, 96, 96, 64, 256

    def layer(i: int) -> Tensors:
        value = rate if i == 0 else mix
        parts = norms(e, "attn_norm", "attn_norm_2", "time_mix_w0", "time_mix_a0", "time_mix_v0", "time_mix_ln")
        parts |= norms(e, "time_mix_k_k", "time_mix_k_a", "time_mix_r_k")
        parts |= biases(attn_norm=e, attn_norm_2=e, time_mix_ln=e)
        parts |= weights(time_mix_w1=(e, decay), time_mix_w2=(decay, e), time_mix_a1=(e, rate), time_mix_a2=(rate, e))
        parts |= weights(time_mix_v1=(e, value), time_mix_v2=(value, e), time_mix_g1=(e, gate), time_mix_g2=(gate, e))
        parts |= weights(time_mix_lerp_fused=(e, 1, 1, 6), channel_mix_lerp_k=(e, 1, 1))
        parts |= weights(time_mix_key=(e, e), time_mix_value=(e, e), time_mix_receptance=(e, e), time_mix_output=(e, e))
        return parts | weights(channel_mix_key=(e, ff), channel_mix_value=(ff, e))

    keys: dict[str, Value] = {
        "block_count": layers, "context_length": 1048576, "embedding_length": e, "feed_forward_length": ff,
        "attention.head_count": 0, "wkv.head_size": 64, "attention.decay_lora_rank": decay,
        "attention.iclr_lora_rank": rate, "attention.value_residual_mix_lora_rank": mix,
        "attention.gate_lora_rank": gate, **EPSILON,
    }  # fmt: skip
    return hybrid(
        "rwkv7-1.5b", "rwkv7", layers=layers, e=e, vocabulary=65536, keys=keys, layer=layer, kind="Q8_0",
        outside={**norms(e, "token_embd_norm"), **biases(token_embd_norm=e, output_norm=e)},
    )  # fmt: skip


MODELS = (gemma4(), gemma3n(), rwkv7())
