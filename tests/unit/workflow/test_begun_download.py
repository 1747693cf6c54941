"""A download that was broken off needs less of the disk than a whole one, so the same form of the model is planned."""

from pathlib import Path

import msgspec
import pytest

from deployer.errors import NoFitError
from deployer.paths import Home
from deployer.types import DiskFacts, HostFacts, MemoryFacts, Request
from deployer.workflow.planning import NOTHING_MISSING, decide_for
from tests.unit.decide.hosts import host

MODEL = "qwen2.5-7b-instruct"


def chosen(home: Home, free_mib: int) -> str:
    where: HostFacts = msgspec.structs.replace(
        host(), disk=DiskFacts(path=str(home.state), free_mib=free_mib), memory=MemoryFacts(total_mib=64000)
    )
    made = decide_for(
        Request(model=MODEL, quantization="Q8_0"), home, where, verified=(), missing=NOTHING_MISSING, observations=()
    )
    return made.model.quantization


def test_what_was_fetched_before_is_not_fetched_again(tmp_path: Path) -> None:
    home = Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")
    with pytest.raises(NoFitError, match=r"Q8_0 has 77\d\d MiB to fetch, and 6000 MiB are free"):
        chosen(home, 6000)
    partial = home.models / "hub" / "bartowski--Qwen2.5-7B-Instruct-GGUF" / "partial"
    partial.mkdir(parents=True)
    with (partial / "0000-1111").open("wb") as file:
        file.truncate(4 << 30)
    assert chosen(home, 6000) == "Q8_0"
