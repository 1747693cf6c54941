"""A synthetic model: the metadata and the tensors of a real one, with fewer layers or experts where that is said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
"""Innermost first, as GGUF has it."""

Tensors = dict[str, Shape]
Value = int | float | bool | str | Sequence[int] | Sequence[float] | Sequence[bool]

BLOCK = {"F32": 1, "F16": 1, "Q8_0": 32, "Q4_0": 32, "MXFP4": 32}
"""Elements of a block where they are not 256."""

SUPER_BLOCK = 256
FALLBACK = ("Q4_0", "F16")
"""What a row takes that holds no whole blocks of the wanted type."""

ALWAYS_F32 = ("ffn_gate_inp", "ssm_", "shortconv.conv", "altup_", "time_mix_lerp", "channel_mix_lerp", "rope_")
CONV = 4
"""Tokens of the convolution before a state space, in all these models."""

LARGE = ("ssm_in", "ssm_out", "ssm_x", "ssm_ba")


@dataclass(frozen=True)
class Model:
    """One model. `keys` have no prefix; `layer(index)` gives the tensors of a layer, without `blk.N.`.

    `reduced` says in words what is smaller than in the real model.
    """

    id: str
    arch: str
    layers: int
    vocabulary: int
    keys: Mapping[str, Value]
    layer: Callable[[int], Tensors]
    type: str
    outside: Tensors
    reduced: str = ""
    expert_type: str = ""

    def tensors(self) -> list[tuple[str, Shape, str]]:
        """Name, shape and type of every tensor, in the order of the file: input, layers, output."""
        named: Tensors = {name: shape for name, shape in self.outside.items() if not name.startswith("output")}
        for index in range(self.layers):
            named |= {f"blk.{index}.{name}": shape for name, shape in self.layer(index).items()}
        named |= {name: shape for name, shape in self.outside.items() if name.startswith("output")}
        return [(name, shape, self.type_of(name, shape)) for name, shape in named.items()]

    def type_of(self, name: str, shape: Shape) -> str:
        """Norms, biases, routers and convolutions are F32, as llama-quantize leaves them; others have the model's."""
        plain = name.split(".", 2)[2] if name.startswith("blk.") else name
        small = plain.startswith(ALWAYS_F32) and not plain.startswith(LARGE)
        if len(shape) == 1 or small or "norm" in plain or plain.endswith(".bias"):
            return "F32"
        wanted = self.expert_type if self.expert_type and "_exps" in plain else self.type
        return next(kind for kind in (wanted, *FALLBACK) if shape[0] % BLOCK.get(kind, SUPER_BLOCK) == 0)


def weights(**shapes: Shape) -> Tensors:
    """`attn_q=(e, n)` as `attn_q.weight`."""
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def norms(width: int, *names: str) -> Tensors:
    """Vectors of one width."""
    return {f"{name}.weight": (width,) for name in names}


def biases(**widths: int) -> Tensors:
    """Vectors `name.bias`."""
    return {f"{name}.bias": (width,) for name, width in widths.items()}


def attention(e: int, queries: int, keys: int, values: int | None = None, *, gate: int = 1) -> Tensors:
    """Projections of attention; widths in elements. `gate` 2: the query carries a gate."""
    values = keys if values is None else values
    return weights(attn_q=(e, queries * gate), attn_k=(e, keys), attn_v=(e, values), attn_output=(queries, e))


def feed_forward(e: int, ff: int) -> Tensors:
    """A gated feed-forward part."""
    return weights(ffn_gate=(e, ff), ffn_up=(e, ff), ffn_down=(ff, e))


def experts(e: int, ff: int, count: int, *, shared: int = 0) -> Tensors:
    """Router, routed experts, and a shared expert of width `shared`."""
    routed = weights(
        ffn_gate_inp=(e, count), ffn_gate_exps=(e, ff, count), ffn_up_exps=(e, ff, count), ffn_down_exps=(ff, e, count)
    )
    if not shared:
        return routed
    return routed | weights(ffn_gate_shexp=(e, shared), ffn_up_shexp=(e, shared), ffn_down_shexp=(shared, e))


def mamba(e: int, inner: int, state: int, rank: int) -> Tensors:
    """A selective state space (Mamba 1)."""
    return {
        **weights(ssm_in=(e, 2 * inner), ssm_conv1d=(CONV, inner), ssm_x=(inner, rank + 2 * state)),
        **weights(ssm_dt=(rank, inner), ssm_out=(inner, e)),
        **biases(ssm_conv1d=inner, ssm_dt=inner),
        "ssm_a": (state, inner),
        "ssm_d": (inner,),
    }


def mamba2(e: int, inner: int, state: int, heads: int, groups: int, *, norm: bool = True) -> Tensors:
    """A state space with scalar decay for each head (Mamba 2)."""
    mixed = inner + 2 * groups * state
    return {
        **weights(ssm_in=(e, inner + mixed + heads), ssm_conv1d=(CONV, mixed), ssm_out=(inner, e)),
        **biases(ssm_conv1d=mixed, ssm_dt=heads),
        "ssm_a": (1, heads),
        "ssm_d": (1, heads),
        **(weights(ssm_norm=(inner // groups, groups)) if norm else {}),
    }


def delta_net(e: int, state: int, heads: int, groups: int, *, joined: bool) -> Tensors:
    """A gated delta net (Qwen3-Next; `joined`: beta and alpha in one tensor)."""
    key, value = state * groups, state * heads
    rates = weights(ssm_ba=(e, 2 * heads)) if joined else weights(ssm_beta=(e, heads), ssm_alpha=(e, heads))
    return {
        **weights(attn_qkv=(e, 2 * key + value), attn_gate=(e, value), ssm_conv1d=(CONV, 2 * key + value)),
        **biases(ssm_dt=heads),
        "ssm_a": (heads,),
        **rates,
        **weights(ssm_norm=(state,), ssm_out=(value, e)),
    }


def ends(e: int, vocabulary: int, *, tied: bool, norm: str = "output_norm", bias: bool = False) -> Tensors:
    """What is outside of the layers."""
    found = {**weights(token_embd=(e, vocabulary)), **norms(e, norm), **(biases(output_norm=e) if bias else {})}
    return found if tied else found | weights(output=(e, vocabulary))


EPSILON = {"attention.layer_norm_rms_epsilon": 1e-6, "attention.layer_norm_epsilon": 1e-6}


def numbers(
    layers: int,
    e: int,
    ff: int | Sequence[int],
    context: int,
    heads: tuple[int, int | Sequence[int], int] = (0, 0, 0),
) -> dict[str, Value]:
    """The keys that most architectures have.

    `heads`: of queries, of keys and values, and elements of a head where they are not `e / heads`, else 0.
    """
    queries, kv, d = heads
    found: dict[str, Value] = {
        "block_count": layers,
        "context_length": context,
        "embedding_length": e,
        "feed_forward_length": ff,
        "attention.head_count": queries,
        "attention.head_count_kv": kv,
        **EPSILON,
    }
    if d:
        found |= {"attention.key_length": d, "attention.value_length": d, "rope.dimension_count": d}
    return found
