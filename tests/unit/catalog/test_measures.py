"""How profiles say where an engine's log tells the sizes of its buffers."""

import msgspec
import pytest

from deployer import catalog
from deployer.catalog.check_engine import engine_problems
from deployer.paths import data_dir
from deployer.types import Measure


def problems(pattern: str) -> list[str]:
    engine = catalog.load_engine("llama.cpp")
    changed = msgspec.structs.replace(engine, measures=(Measure(pattern=pattern, part="kv"),))
    found = engine_problems(changed, "llama.cpp", catalog.load_knowledge().quantizations, data_dir("templates"))
    return [f"{path}: {text}" for path, text in found if path.startswith("measures")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(", "measures/0/pattern: not a regular expression: missing ), unterminated subpattern at position 0"),
        (r"KV (\d+) MiB", "measures/0/pattern: no group (?P<size>...)"),
        (r"(?P<gpu>\d) (?P<size>\d+)", "measures/0/pattern: unknown group 'gpu'; there are size and device"),
    ],
)
def test_a_pattern_that_cannot_measure_is_a_problem(pattern: str, expected: str) -> None:
    assert problems(pattern) == [expected]


@pytest.mark.parametrize("engine", ["llama.cpp", "vllm", "sglang"])
def test_engines_that_we_start_say_where_weights_and_cache_are_told(engine: str) -> None:
    assert {"weights", "kv"} <= {measure.part for measure in catalog.load_engine(engine).measures}
