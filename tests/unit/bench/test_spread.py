import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as some

from deployer.bench.spread import percentile, rate, rounded, spread

VALUES = some.lists(some.floats(0.001, 1000), min_size=1, max_size=200)


@given(values=VALUES)
def test_percentiles_are_ordered_and_inside(values: list[float]) -> None:
    found = spread(values)
    assert found.n == len(values)
    known = [one for one in (found.p10, found.p50, found.p90, found.p99) if one is not None]
    assert known == sorted(known)
    assert rounded(min(values)) <= known[0]
    assert known[-1] <= rounded(max(values))
    assert found.p50 == pytest.approx(statistics.median(values), rel=1e-6)
    if found.low is not None and found.high is not None and found.p50 is not None:
        assert found.low <= found.p50 <= found.high


def test_p99_needs_a_hundred() -> None:
    assert spread(range(99)).p99 is None
    assert spread(range(101)).p99 == 99


def test_percentiles_lie_between_the_two_nearest() -> None:
    assert percentile([0.0, 10.0], 90) == 9.0
    assert percentile([3.0], 99) == 3.0


def test_nothing_known_is_nothing() -> None:
    assert spread([None, None]).p50 is None
    assert (rate([]).mean, rate([None]).n) == (None, 0)


def test_the_interval_of_a_median_needs_six() -> None:
    assert spread([1, 2, 3, 4, 5]).low is None
    found = spread([1, 2, 3, 4, 5, 6])
    assert (found.low, found.high) == (1, 6)
    assert (spread(range(1, 31)).low, spread(range(1, 31)).high) == (10, 21)
    assert (spread(range(1, 102)).low, spread(range(1, 102)).high) == (40, 62)


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    chance = random.Random(5)
    medians = means = 0
    for _ in range(1000):
        values = [chance.expovariate(1.0) for _ in range(30)]
        found = spread(values)
        assert found.low is not None
        assert found.high is not None
        medians += found.low <= 0.6931 <= found.high
        normal = rate([chance.gauss(10, 2) for _ in range(5)])
        assert normal.low is not None
        assert normal.high is not None
        means += normal.low <= 10 <= normal.high
    assert 930 <= medians <= 980
    assert 930 <= means <= 970


def test_one_repetition_has_no_interval() -> None:
    found = rate([4.0])
    assert (found.n, found.mean, found.sd, found.low) == (1, 4.0, None, None)
    assert rate([1.0, 3.0]).sd == pytest.approx(1.4142136)
