"""Errors of the block `exact` of an engine's profile."""

import shutil
from pathlib import Path

import pytest

from deployer import catalog
from deployer.errors import ProfileError
from deployer.paths import data_dir


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("programs: [[llama-fit-params],", "programs: [[/usr/bin/x],", "exact/programs/0: begins with a name without"),
        ("programs: [[llama-fit-params],", "programs: [[],", "exact/programs/0: begins with a name without"),
        ("programs: [[llama-fit-params], [llama, fit-params]]", "programs: []", "exact/programs: empty"),
        ("model_flag: --model", 'model_flag: " "', "exact/model_flag: empty"),
        ("--swa-full: 0,", "--swa-full: 2,", "exact/passes/--swa-full: a flag with 0 or 1 words"),
        ("--swa-full: 0,", "swa-full: 0,", "exact/passes/swa-full: a flag with 0 or 1 words"),
        ("--swa-full: 0,", "--rpc: 1,", "exact/passes/--rpc: it is in forbidden_args"),
        ("(?P<compute>", "(?P<rest>", "exact/line: without the groups compute"),
        ("(?P<compute>", "(", "exact/line: without the groups compute"),
        ("(?P<device>", "(?P<device", "exact/line: not a regular expression"),
        ("    cuda-source: its", "    cuda-sauce: its", "exact/without/cuda-sauce: no image of this file has that id"),
        ("    xllamacpp: its Python", "    xllamacpp: ' ' #", "exact/without/xllamacpp: empty"),
        ("  every_output: true", "  every_output: 1", "exact/every_output: expected bool"),
    ],
)
def test_inconsistencies_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    shutil.copytree(data_dir("profiles"), tmp_path / "profiles")
    shutil.copytree(data_dir("templates"), tmp_path / "templates")
    path = tmp_path / "profiles" / "engines" / "llama.cpp.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        catalog.load_engine("llama.cpp", tmp_path / "profiles")
    assert expected in caught.value.message


def test_what_is_passed_is_what_the_server_is_told() -> None:
    """A flag of the profile that changes memory and is not passed would make the answer one for another plan."""
    engine = catalog.load_engine("llama.cpp")
    assert engine.exact is not None
    about_memory = {"context_total", "slots", "batch", "micro_batch", "gpu_layers", "cpu_moe_layers", "tensor_split"}
    about_memory |= {"devices", "kv_cache_type_k", "kv_cache_type_v", "flash_attention"}
    flags = {flag.setting: flag.flag for flag in engine.flags}
    assert {flags[setting] for setting in about_memory} <= engine.exact.passes.keys()
