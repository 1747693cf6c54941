"""How the architectures differ in what their layers compute. Source: llama.cpp b11434 src/models/<architecture>.cpp."""

import functools
from typing import Literal, NamedTuple


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LAYER_NORM = _names(
    "bert bloom chameleon codeshell cohere2 command-r dbrx falcon gpt2 gptneox jais jais2 mpt nemotron olmo orion phi2 "
    "stablelm starcoder starcoder2"
)
_NO_GATE = _names(
    "apertus arcee bloom codeshell falcon gpt2 gptneox jais2 mpt nemotron nemotron_h phi2 plm starcoder starcoder2"
)
_GATE_IN_UP = _names("chatglm glm4 granite-swa phi3 plamo2 plamo3")
_FUSED_QKV = _names(
    "bloom chatglm codeshell dbrx falcon gpt2 gptneox jais mpt openelm phi2 phi3 plamo2 plamo3 qwen starcoder"
)
_QK_NORM = _names(
    "afmoe apertus bailingmoe2 chameleon dots1 exaone-moe exaone4 gemma3 gemma3n gemma4 glm4moe grovemoe hunyuan-dense "
    "hunyuan-moe lfm2 lfm2moe minimax-m2 olmo2 olmoe plamo2 plamo3 qwen3 qwen3moe qwen3next qwen35 qwen35moe qwen3vl "
    "qwen3vlmoe smallthinker step35"
)
_POST_NORMS = _names("afmoe exaone4 gemma2 gemma3 gemma3n gemma4 glm4 olmo2 plamo2 plamo3")
_ONLY_POST = _names("exaone4 olmo2")
_PARALLEL = _names("cohere2 command-r falcon phi2")
_SCALED_INPUT = _names("gemma gemma2 gemma3 gemma3n gemma4")
_DELTA = _GATED_QUERY = _names("qwen3next qwen35 qwen35moe")
_SOFTCAP = _names("gemma2 grok")
_NEVER_TURNED = _names("bloom gpt2 granitehybrid jais jamba mpt nemotron_h starcoder")
_TURNED_IN_WINDOWS = _names("cohere2")
_MAMBA1 = _names("jamba mamba")

VERIFIED = _names(
    "cohere2 command-r deepseek2 falcon-h1 gemma2 gemma3 gemma3n gemma4 glm4 gpt-oss granitehybrid jamba lfm2 llama "
    "mamba mamba2 nemotron_h olmo2 phi3 qwen2 qwen3 qwen35 qwen3moe qwen3next rwkv7 starcoder2"
)
"""Architectures whose buffers were compared with those of a real llama-server (docs/memory.md)."""


class Traits(NamedTuple):
    """What a layer of one architecture does.

    `parallel`: attention and feed-forward part read the same norm. `only_post`: no norm before, only after. `altup`:
    alternating updates of several streams. `turned`: in which layers queries and keys are rotated by position.
    """

    layer_norm: bool
    gated: bool
    gate_in_up: bool
    fused_qkv: bool
    qk_norm: bool
    post_norms: bool
    only_post: bool
    parallel: bool
    scaled_input: bool
    gated_query: bool
    softcap: bool
    delta: bool
    mamba1: bool
    biased_experts: bool
    altup: bool
    residual_first: bool
    turned: Literal["all", "windows", "none"]


@functools.cache
def traits(name: str) -> Traits:
    """What layers of architecture `name` do; one that is not known works like llama."""
    return Traits(
        layer_norm=name in _LAYER_NORM,
        gated=name not in _NO_GATE,
        gate_in_up=name in _GATE_IN_UP,
        fused_qkv=name in _FUSED_QKV,
        qk_norm=name in _QK_NORM,
        post_norms=name in _POST_NORMS,
        only_post=name in _ONLY_POST,
        parallel=name in _PARALLEL,
        scaled_input=name in _SCALED_INPUT,
        gated_query=name in _GATED_QUERY,
        softcap=name in _SOFTCAP,
        delta=name in _DELTA,
        mamba1=name in _MAMBA1,
        biased_experts=name == "gpt-oss",
        altup=name == "gemma3n",
        residual_first=name.startswith("lfm2"),
        turned="none" if name in _NEVER_TURNED else "windows" if name in _TURNED_IN_WINDOWS else "all",
    )
