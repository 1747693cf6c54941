"""Errors of the fields that engines other than llama.cpp use, and of the tables beside them."""

import shutil
from pathlib import Path

import pytest

from deployer import catalog
from deployer.errors import ProfileError
from deployer.paths import data_dir

VLLM = "profiles/engines/vllm.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the packaged profiles, with the templates beside it."""
    shutil.copytree(data_dir("profiles"), tmp_path / "profiles")
    shutil.copytree(data_dir("templates"), tmp_path / "templates")
    return tmp_path / "profiles"


def change(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("setting: slots", "setting: slotz", "flags/7/setting: 'slotz' is not a setting, and has no"),
        ("variable: VLLM_API_KEY", "variable: vllm key", "flags/4/variable: a variable in capital letters"),
        ('flag: "", variable: VLLM', "flag: --key, variable: VLLM", "flags/4/variable: a variable in capital letters"),
        ("value_if_yes: pooling", "value: x, value_if_yes: pooling", "flags/22/value_if_yes: there is a fixed value"),
        ("flag: --max-num-seqs", "flag: --max-num-seqs, since: v1", "flags/7/since: not a version such as 0.20.0 or b"),
        (
            "flag: --max-num-seqs",
            'flag: --max-num-seqs, since: "0.20", until: "0.20.0"',
            "flags/7/until: not after since",
        ),
        ("setting: api_key_env", "setting: offline", "key: 'environment' needs a flag for api_key_env"),
        ("  gemma4: ", "  gemma5: ", "architectures_since/gemma5: not in architectures above"),
        ('qwen35moe: "0.32.0"', "qwen35moe: new", "architectures_since/qwen35moe: not a version such as 0.20.0: 'new'"),
        ("requests_running: ", "running: ", "metrics/running: 'running' is not a known word: requests_running"),
        ("situation: many-users", "situation: crowds", "strengths/0/situation: expected one of chat, agents"),
        ("points: 8", "points: 80", "strengths/0/points: not between -10 and 10: 80"),
        (
            "quantization: AWQ\n",
            "quantization: AWC\n",
            "quantization_support/4/quantization: AWC (awq) is not in quantizations.yaml",
        ),
        ("    format: awq\n", "    format: gguf\n", "quantization_support/4/quantization: AWQ (gguf) is not in"),
        ('min_capability: "7.5"', 'min_capability: "75"', "quantization_support/3/min_capability: not a compute"),
        ('min_capability: "7.5"', 'min_capability: "9.0"', "quantization_support/3/native_capability: below min"),
        ("gfx: [gfx90a", "gfx: [MI210", "quantization_support/0/gfx/0: not a target such as gfx1100: 'MI210'"),
        ("quantizations: [BF16", "quantizations: [Q4_0, BF16", "quantizations/0: 'Q4_0' has no line in"),
        ("key: environment", "key: argument", "launcher: nothing to hand over: key is 'argument'"),
        ("writable: [/var/tmp]", "writable: [tmp]", "writable/0: not an absolute path: 'tmp'"),
        ("writable: [/var/tmp]", "setup: [[x, '{modell}']]", "setup/0/1: 'modell' is not a known word: model"),
        ("writable: [/var/tmp]", "setup: [[]]", "setup/0: empty"),
        ("writable: [/var/tmp]", "ulimits: {memlock: -2}", "ulimits/memlock: -1 (unlimited), zero or more"),
        ('user: "2000:0"', "user: vllm", "images/0/user: not numbers such as 2000:0: 'vllm'"),
        (
            '    sass: ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "11.0", "12.0"]\n',
            "",
            "images/0: accelerator is cuda, and there is neither sass or ptx",
        ),
        ("    cpu_flags: [avx2]\n", "    gfx: [gfx942]\n", "images/4: accelerator is cpu, and gfx is there"),
        ("    source: vLLM 0.33.0 vllm/platforms", "    source: ' ' #", "quantization_support/0/source: empty"),
    ],
)  # fmt: skip
def test_inconsistencies_are_refused(root: Path, old: str, new: str, expected: str) -> None:
    change(root, "engines/vllm.yaml", old, new)
    with pytest.raises(ProfileError) as caught:
        catalog.load_engine("vllm", root)
    assert caught.value.message.startswith(f"{VLLM}: {expected}")


def test_a_flag_may_change_with_the_version(root: Path) -> None:
    line = "  - {setting: slots, flag: --max-num-seqs}\n"
    old = '  - {setting: slots, flag: --max-seqs, until: "0.20.0"}\n'
    change(root, "engines/vllm.yaml", line, old + line.replace("}", ', since: "0.20"}'))
    flags = [flag for flag in catalog.load_engine("vllm", root).flags if flag.setting == "slots"]
    assert [(flag.flag, flag.since, flag.until) for flag in flags] == [
        ("--max-seqs", None, "0.20.0"),
        ("--max-num-seqs", "0.20", None),
    ]
    change(root, "engines/vllm.yaml", 'since: "0.20"', 'since: "0.19"')
    with pytest.raises(ProfileError, match="flags/8/setting: 'slots' is already at 7"):
        catalog.load_engine("vllm", root)


def test_common_failures_come_before_the_engines_own(root: Path) -> None:
    common = catalog.load_failures(root)
    assert catalog.load_engine("vllm", root).failures[: len(common)] == common
    assert catalog.load_engine("llama.cpp", root).failures[0] not in common[1:]
    change(root, "failures.yaml", "pattern: 'Bus error'", "pattern: '(Bus error'")
    with pytest.raises(ProfileError, match=r"^profiles/failures\.yaml: \d+/pattern: not a regular expression"):
        catalog.load_engine("vllm", root)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("engine: vllm", "engine: vlm", "0/engine: 'vlm' is not known; known: docker-compose, llama.cpp, "),
        ("id: CVE-2025-24357", "id: CVE-25-1", "0/id: not an id such as CVE-2026-12345"),
        ('fixed: "0.7.0"', 'fixed: "<0.7"', "0/fixed: not a version such as 0.20.0 or b11434: '<0.7'"),
        ('introduced: "0.6.5"', 'introduced: "0.8.5.0"', "1/fixed: not after introduced"),
        ('fixed: "0.7.0", ', "", "0: neither introduced nor fixed"),
        ("source: osv.dev}", 'source: " "}', "0/source: empty"),
        ("id: CVE-2026-105757", "id: CVE-2026-105754", "16/id: 'CVE-2026-105754 (vllm, from None)' is already at 15"),
        ("engine: vllm", "motor: vllm", "0: unknown key 'motor'"),
    ],
)
def test_advisories_are_checked(root: Path, old: str, new: str, expected: str) -> None:
    change(root, "advisories.yaml", old, new)
    with pytest.raises(ProfileError) as caught:
        catalog.load_knowledge(root)
    assert caught.value.message.startswith(f"profiles/advisories.yaml: {expected}")


def test_the_floors_that_follow_from_the_advisories() -> None:
    floors: dict[str, tuple[int, ...]] = {}
    for item in catalog.load_knowledge().advisories:
        if item.fixed and not item.condition:
            found = tuple(int(part) for part in item.fixed.lstrip("b").split("."))
            floors[item.engine] = max(floors.get(item.engine, ()), found)
    assert floors == {
        "vllm": (0, 32, 0), "sglang": (0, 5, 21), "llama.cpp": (11393,), "ollama": (0, 35, 0), "tgi": (3, 3, 7),
        "runc": (1, 3, 3), "nvidia-container-toolkit": (1, 17, 8),
    }  # fmt: skip


def test_every_advisory_says_what_and_where_from() -> None:
    advisories = catalog.load_advisories()
    assert len(advisories) >= 50
    assert all(item.summary and item.source and item.fixed for item in advisories)
