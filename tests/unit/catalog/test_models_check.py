"""scripts/check-catalog as its users run it, both ways."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models.hf_configs import CONFIGS

ROOT = Path(__file__).parents[3]


def check(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "check-catalog", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def write(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_the_numbers_give_the_parameters() -> None:
    code, text = check()
    assert (code, text.count("\n")) == (0, 1)
    assert "0 config.json compared, 0 differences" in text


def test_the_catalog_agrees_with_published_configs(tmp_path: Path) -> None:
    layouts = (
        "{}/{}/config.json",
        "{}--{}/config.json",
        "models--{}--{}/snapshots/1/config.json",
        "{}--{}_config.json",
    )
    for index, (repository, document) in enumerate(CONFIGS.items()):
        write(tmp_path / layouts[index % 4].format(*repository.split("/")), document)
    code, text = check(tmp_path)
    assert f"{len(CONFIGS)} config.json compared, 0 differences" in text
    assert code == 0


def test_every_difference_is_named(tmp_path: Path) -> None:
    known = CONFIGS["Qwen/Qwen3-8B"]
    changed = {**known, "_name_or_path": "Qwen/Qwen3-8B", "num_key_value_heads": 4, "tie_word_embeddings": True}
    code, text = check(write(tmp_path / "config.json", changed))
    assert code == 1
    assert "qwen3-8b: kv_heads: catalog 8, config.json 4\n" in text
    assert "qwen3-8b: tied_embeddings: catalog False, config.json True\n" in text
    assert "1 config.json compared, 2 differences" in text


def test_a_variant_is_checked_for_its_quantization(tmp_path: Path) -> None:
    known = CONFIGS["Qwen/Qwen3-8B"]
    packed = {**known, "quantization_config": {"quant_method": "awq", "bits": 4}}
    write(tmp_path / "Qwen--Qwen3-8B-AWQ" / "config.json", packed)
    assert check(tmp_path)[0] == 0
    write(tmp_path / "Qwen--Qwen3-8B-AWQ" / "config.json", known)
    code, text = check(tmp_path)
    assert (code, "qwen3-8b: Qwen/Qwen3-8B-AWQ: catalog awq/AWQ, config.json safetensors/BF16" in text) == (1, True)


def test_a_file_can_be_given_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "any.json", CONFIGS["openai/gpt-oss-20b"])
    assert check("--model", f"gpt-oss-20b={path}")[0] == 0
    code, text = check("--model", f"gpt-oss-120b={path}")
    assert (code, "gpt-oss-120b: layers: catalog 36, config.json 24" in text) == (1, True)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("stranger", '{"model_type": "llama"}', 2), ("Qwen--Qwen3-8B", "{", 1), ("Qwen--Qwen3-8B", "{}", 1)],
)
def test_what_cannot_be_compared(tmp_path: Path, name: str, text: str, code: int) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(text)
    found, said = check(tmp_path)
    assert found == code
    assert "Traceback" not in said
    assert "config.json" in said


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    assert check(tmp_path)[0] == 2
