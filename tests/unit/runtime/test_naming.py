import pytest

from deployer.errors import BadInputError
from deployer.runtime.naming import checked_name, project


def test_names_that_are_safe() -> None:
    assert project("qwen-2_5") == "deployer-qwen-2_5"
    assert checked_name("a" * 63) == "a" * 63


@pytest.mark.parametrize("name", ["", "../etc", "a/b", "Upper", "-x", "a b", "a\n", "a" * 64, ".", "é"])
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(BadInputError, match="not a deployment name"):
        checked_name(name)
