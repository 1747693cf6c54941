"""What a profile may call final: a line after which no server ever became ready."""

import re
from typing import Any

import pytest

from deployer import catalog
from deployer.catalog.check_failures import EVERYDAY, failure_problems
from deployer.types import FailureSignature

FINAL = [
    (engine.engine, signature) for engine in catalog.load_engines() for signature in engine.failures if signature.final
]

# From logs of real servers: those that became ready, and warnings on the way there.
GOOD = """INFO 11-20 11:38:21 [api_server.py:1298] vLLM API server version 0.32.0+cpu
WARNING 11-20 11:38:21 [cpu.py:147] VLLM_CPU_KVCACHE_SPACE is set
(EngineCore pid=148) INFO 11-20 11:38:32 [core.py:113] Initializing a V1 LLM engine (v0.32.0+cpu) with config: model=
(EngineCore pid=148) INFO 11-20 11:38:55 [core.py:299] init engine (profile, create kv cache, warmup model) took 2.1 s
(APIServer pid=1) INFO 11-20 11:38:56 [api_server.py:650] Starting vLLM server on http://0.0.0.0:8000
Ignore import error when loading sglang.srt.models.qwen3_5: No module named 'sgl_kernel.ops'
The current platform does not support Intel AMX, will fallback to torch_native backend.
Load weight end. elapsed=0.11 s, type=LlamaForCausalLM, avail mem=21.01 GB, mem usage=0.21 GB.
The server is fired up and ready to roll!
W srv  llama_server: security: no API key is set and CORS allows all origins
E llama_model_load: error loading model: out of memory, trying again with fewer layers
I srv  llama_server: model loaded""".splitlines()


def problems(**said: Any) -> list[str]:
    words = {
        "pattern": "EngineCore failed to start",
        "cause": "c",
        "hint": "h",
        "final": True,
        "source": "here",
        **said,
    }
    return [f"{path}: {text}" for path, text in failure_problems([FailureSignature(**words)])]


def test_a_specific_line_with_its_source_may_be_final() -> None:
    assert problems() == []


@pytest.mark.parametrize("source", [None, "", "  "])
def test_a_final_line_has_a_source(source: str | None) -> None:
    assert problems(source=source) == ["0/source: a final line needs the place where it was seen or stands"]
    assert problems(source=source, final=False) == []


@pytest.mark.parametrize(
    "pattern", [".*", "error", "(?i)ERROR", "EngineCore failed|failed", "[Ee]xception", "out of memory"]
)
def test_a_general_word_is_never_final(pattern: str) -> None:
    (said,) = problems(pattern=pattern)
    assert said.startswith("0/pattern: too general to be final: it also finds ")
    assert problems(pattern=pattern, final=False) == []


def test_a_final_pattern_is_still_a_pattern() -> None:
    assert problems(pattern="(") == [
        "0/pattern: not a regular expression: missing ), unterminated subpattern at position 0"
    ]


def test_the_three_engines_of_the_test_bed_have_final_lines() -> None:
    assert {name for name, _ in FINAL} == {"llama.cpp", "vllm", "sglang"}


@pytest.mark.parametrize(("name", "signature"), FINAL, ids=lambda value: value if isinstance(value, str) else "")
def test_no_final_line_is_in_the_log_of_a_server_that_starts(name: str, signature: FailureSignature) -> None:
    assert [line for line in (*GOOD, *EVERYDAY) if re.search(signature.pattern, line)] == []
