from collections.abc import Callable

import pytest

from deployer.types import Plan
from tests.unit.plans import build_plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return build_plan
