"""Compute buffer of an encoder, which reads a text whole: every token sees every other, and there are no logits."""

from deployer.types import Architecture

_FLOAT = 4
_PLAIN = "bert"


def encoder_bytes(architecture: Architecture, tokens: int) -> int:
    """Bytes of the compute buffer for `tokens` at once, with flash attention.

    The mask is made in 32 bits and cast to 16; then the layers need room for a feed-forward part and six vectors beside
    what is cast. Seen with llama.cpp 0.7.0 on a CPU, BERT of 1024 elements: 20.51, 88.05 and 448.19 MiB for 512, 2048
    and 8192 tokens with a feed-forward part of 4096; 28.51 and 256.09 MiB for 512 and 4096 tokens with one of 8192.
    Other encoders have a gate beside it, whose width is counted too.
    """
    wide = architecture.feed_forward * (1 if architecture.name == _PLAIN else 2)
    vectors = (2 * architecture.embedding, wide + 6 * architecture.embedding)
    making, computing = (_FLOAT * tokens * elements for elements in vectors)
    return max(6 * tokens**2 + making, 2 * tokens**2 + computing) + 24 * tokens
