"""Which plan `up` follows when measurements have come in since the server that runs was planned."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from deployer.errors import NoFitError
from deployer.types import Observation, Plan
from deployer.workflow.measuring import Readings
from deployer.workflow.planning import followed
from tests.unit.plans import build_plan
from tests.unit.workflow.test_measuring import MAIN, plan, seen


def observed(serial: int) -> Observation:
    return msgspec.structs.replace(seen(plan(), Readings(main=MAIN)), serial=serial)


def decided(hashes: dict[int, str]) -> Callable[[Sequence[Observation]], Plan]:
    """A decision whose hash follows the number of observations that it is given."""
    return lambda known: build_plan(plan_hash=hashes[len(known)])


KNOWN = (observed(4), observed(5), observed(6))


def test_the_plan_that_serves_stays_when_only_later_measurements_differ() -> None:
    serving = build_plan(plan_hash="then", learned=4)
    kept = followed(serving, KNOWN, decided({1: "then", 3: "now"}))
    assert kept is not None
    assert kept.plan_hash == "then"


@pytest.mark.parametrize(
    "serving",
    [None, build_plan(plan_hash="then", learned=6), build_plan(plan_hash="another", learned=4)],
)
def test_nothing_is_kept_without_a_server_news_or_the_same_plan(serving: Plan | None) -> None:
    assert followed(serving, KNOWN, decided({1: "then", 3: "now"})) is None


def test_what_does_not_fit_any_more_is_not_kept() -> None:
    def refused(_: Sequence[Observation]) -> Plan:
        raise NoFitError("too little", hint="")

    assert followed(build_plan(plan_hash="then", learned=4), KNOWN, refused) is None
