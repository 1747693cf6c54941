"""A model needs the same memory whether its numbers come from a config.json or from a GGUF header."""

from pathlib import Path

import msgspec
import pytest

from deployer.decide.llama import LlamaSettings
from deployer.decide.llama.cache import kv_bytes, states
from deployer.errors import ModelFileError
from deployer.models.architecture import architecture
from deployer.models.gguf import read_file
from deployer.models.hf_architecture import architecture_of, text_body
from deployer.types import Architecture
from tests.unit.models.hf_families import FAMILIES, Family
from tests.unit.models.test_layer_kinds import write


def both(family: Family, folder: Path) -> tuple[Architecture, Architecture]:
    config = architecture_of(text_body(family.config), family.name)
    path = write(folder / "m.gguf", family.name, family.pairs, tied=config.tied_embeddings)
    return config, architecture(read_file(path))


@pytest.mark.parametrize("repository", FAMILIES)
def test_both_formats_keep_equally_much(repository: str, tmp_path: Path) -> None:
    config, header = both(FAMILIES[repository], tmp_path)
    for context, slots, kv_type in ((8192, 1, "f16"), (65536, 4, "q8_0")):
        told = LlamaSettings(context_total=context, slots=slots, kv_type_k=kv_type, kv_type_v=kv_type)
        assert sum(kv_bytes(config, told)) == sum(kv_bytes(header, told))
        assert sum(states(config, slots, 0)) == sum(states(header, slots, 0))
    assert sum(kv_bytes(config, told)) + sum(states(config, slots, 0)) > 0


@pytest.mark.parametrize("repository", FAMILIES)
def test_both_formats_say_the_same(repository: str, tmp_path: Path) -> None:
    family = FAMILIES[repository]
    config, header = (msgspec.structs.asdict(shape) for shape in both(family, tmp_path))
    differing = {name for name, value in config.items() if value != header[name]}
    assert differing <= set(family.other), {name: (config[name], header[name]) for name in differing}


def test_families_of_every_kind_are_here() -> None:
    assert len({family.name for family in FAMILIES.values()}) >= 10


@pytest.mark.parametrize(
    ("repository", "mib"),
    [
        ("google/gemma-4-26B-A4B-it", 160 + 300),  # 5 full layers of 2 x 512; 25 of 8 x 256 and 1536 cells, of f16
        ("ai21labs/Jamba-v0.1", 4 * 32),
        ("LiquidAI/LFM2-1.2B", 6 * 16),
        ("deepseek-ai/DeepSeek-V3.2", 61 * 11),  # rows of 512 + 64, and 128 of the indexer
    ],
)
def test_keys_and_values_of_8192_tokens(repository: str, mib: int) -> None:
    config = architecture_of(text_body(FAMILIES[repository].config), repository)
    assert sum(kv_bytes(config, LlamaSettings(context_total=8192))) == mib << 20


@pytest.mark.parametrize(
    ("repository", "change", "message"),
    [
        ("google/gemma-3n-E2B-it", {"num_kv_shared_layers": 30}, "num_kv_shared_layers is 30"),
        ("google/gemma-3n-E2B-it", {"intermediate_size": [8192, "wide"] * 15}, "intermediate_size is"),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", {"linear_attn_config": {"head_dim": "x"}}, "head_dim is 'x'"),
        ("nvidia/Nemotron-H-8B-Base-8K", {"mamba_num_heads": None}, "mamba_num_heads is missing"),
        ("LiquidAI/LFM2-1.2B", {"block_ff_dim": None}, "block_ff_dim is missing"),
    ],
)
def test_a_senseless_number_is_named(repository: str, change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        architecture_of(text_body({**FAMILIES[repository].config, **change}), repository)


@pytest.mark.parametrize(
    ("repository", "change"),
    [
        ("ibm-granite/granite-4.0-h-tiny", {"layer_types": ["mamba"] * 3}),
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", {"linear_attn_config": "none"}),
        ("nvidia/Nemotron-H-8B-Base-8K", {"hybrid_override_pattern": "M*"}),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1 (three layers)", {"block_configs": ["?", 1, None]}),
        ("zai-org/GLM-5.2", {"indexer_types": 3}),
        ("XiaomiMiMo/MiMo-V2-Flash", {"hybrid_layer_pattern": "01"}),
    ],
)
def test_lists_that_do_not_fit_are_left_out(repository: str, change: dict[str, object]) -> None:
    shape = architecture_of(text_body({**FAMILIES[repository].config, **change}), repository)
    assert sum(kv_bytes(shape, LlamaSettings(context_total=8192))) >= 0
    assert shape.layers == FAMILIES[repository].config["num_hidden_layers"]
