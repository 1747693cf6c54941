"""The projector of a multimodal model: the file that turns pictures (or sound) into vectors of the language model."""

from deployer.types._value import Value


class Projector(Value, frozen=True, kw_only=True, cache_hash=True):
    """An `mmproj` file beside a GGUF model, in the numbers that its memory follows from.

    `path` is where it is on this machine, `weight_bytes` the bytes of its tensors, `kind` llama.cpp's word for how it
    projects. The rest describes its transformer: `image_size` and `patch_size` in pixels a side (0: it hears only),
    `max_pixels` of a picture (0: not said), `merge` patches a side that become one token (0: not said), `projection`
    elements of a token for the language model, `deepstack` layers whose output is kept for it too, `kernel_bytes` of
    one weight of the first convolution, `windowed`: attention has a mask, `fused`: one product makes queries, keys and
    values, `gated`: the feed-forward part has a gate.
    """

    path: str
    kind: str
    weight_bytes: int
    image_size: int
    patch_size: int
    layers: int
    embedding: int
    feed_forward: int
    heads: int
    projection: int
    max_pixels: int = 0
    merge: int = 0
    deepstack: int = 0
    kernel_bytes: int = 2
    windowed: bool = False
    fused: bool = False
    gated: bool = False
