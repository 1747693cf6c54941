from hypothesis import given
from hypothesis import strategies as some

from deployer.bench.prompts import WORDS, Prompts, Sizing
from deployer.bench.schedule import lengths, levels


def test_no_two_prompts_in_a_row_begin_alike() -> None:
    prompts = Prompts(1)
    first = [prompts.question(128, 16).text.split()[0] for _ in range(len(WORDS))]
    assert len(set(first)) == len(WORDS)


def test_another_seed_is_another_run_and_the_same_one_the_same() -> None:
    assert Prompts(1).question(128, 16) == Prompts(1).question(128, 16)
    assert Prompts(1).question(128, 16).text != Prompts(2).question(128, 16).text


@given(per_word=some.floats(0.8, 4), overhead=some.integers(0, 400), wanted=some.integers(600, 8000))
def test_the_servers_own_count_makes_the_length_right(per_word: float, overhead: int, wanted: int) -> None:
    sizing = Sizing()
    for words in (96, 24):
        sizing.learn(words, round(per_word * words + overhead))
    counted = per_word * sizing.words(wanted) + overhead
    assert abs(counted - wanted) <= 0.03 * wanted + per_word


def test_a_count_that_makes_no_sense_is_not_believed() -> None:
    sizing = Sizing()
    for words, tokens in ((96, 10), (24, 90)):
        sizing.learn(words, tokens)
    assert sizing.words(128) > 24


def test_levels_double_up_to_the_top() -> None:
    assert levels(1) == (1,)
    assert levels(8) == (1, 2, 4, 8)
    assert levels(6) == (1, 2, 4, 6)
    assert levels(1000) == (1, 2, 4, 8, 16, 32, 64)
    assert levels(0) == (1,)


@given(context=some.integers(32, 200_000), output=some.integers(1, 16))
def test_every_length_leaves_room_for_the_answer(context: int, output: int) -> None:
    found = lengths(context, output)
    assert found
    assert list(found) == sorted(set(found))
    assert all(length + output <= context for length in found)
    assert context < 1024 or found[-1] > 0.7 * context
