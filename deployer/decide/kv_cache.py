"""Size of a recurrent state, which every engine keeps for each conversation, however long it is."""

from deployer.types import Architecture

_STATE_BYTES = 4


def state_bytes(architecture: Architecture) -> int:
    """Bytes of the recurrent state of one conversation in one recurrent layer, in 32 bits.

    Convolution (R) and state (S) of llama.cpp b11434 src/llama-hparams.cpp `n_embd_r` and `n_embd_s`: RWKV, a short
    convolution (LFM2), Kimi's delta attention, MiniMax-01's linear attention, else Mamba and gated delta nets.
    """
    embedding, heads = architecture.embedding, architecture.heads
    if architecture.wkv_head_size:
        return (architecture.token_shift + architecture.wkv_head_size) * embedding * _STATE_BYTES
    if architecture.short_conv_cache:
        return embedding * (architecture.short_conv_cache - 1) * _STATE_BYTES
    kernel = max(architecture.ssm_conv_kernel, 1)
    if head := architecture.delta_head_dim:
        return (
            (3 * (architecture.ssm_conv_kernel - 1 if architecture.ssm_conv_kernel else 3) + head)
            * heads
            * head
            * _STATE_BYTES
        )
    if head := architecture.linear_head_dim:
        return head * head * heads * _STATE_BYTES
    inner = architecture.ssm_inner_size
    convolution = (kernel - 1) * (inner + 2 * architecture.ssm_groups * architecture.ssm_state_size)
    return (convolution + architecture.ssm_state_size * inner) * _STATE_BYTES
