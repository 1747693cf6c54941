"""The words that were probably meant."""

import pytest

from deployer.errors import did_you_mean, nearest

QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
ENGINES = ("llama.cpp", "ollama", "vllm")


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("q4", QUANTS, ["Q4_0", "Q4_K_M"]),
        ("lamacpp", ENGINES, ["llama.cpp"]),
        ("VLM", ENGINES, ["vllm"]),
        ("user", ("users", "gpus"), ["users"]),
        ("zzz", ENGINES, []),
        ("", ENGINES, []),
        ("a", (), []),
    ],
)
def test_words_that_look_alike_best_first(word: str, known: tuple[str, ...], found: list[str]) -> None:
    assert nearest(word, known) == found


@pytest.mark.parametrize(
    ("near", "said"),
    [
        ((), ""),
        (("a",), "; did you mean a?"),
        (("a", "b"), "; did you mean a or b?"),
        (("a", "b", "c"), "; did you mean a, b or c?"),
    ],
)
def test_they_are_offered_in_one_way(near: tuple[str, ...], said: str) -> None:
    assert did_you_mean(near) == said
