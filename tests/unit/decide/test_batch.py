"""How many tokens of prompts are read before anybody's answer goes on."""

import pytest

from deployer.types import HostFacts
from tests.unit.decide.hosts import gpu, host, plan

CPU, CARD = host(), host(gpu(0, "GeForce RTX 3090", "8.6", 24576))


@pytest.mark.parametrize(
    ("where", "users", "words", "batch"),
    [
        (CPU, 1, (), 2048),
        (CPU, 4, (), 512),
        (CPU, 8, (), 512),
        (CARD, 8, (), 2048),
        (CPU, 4, ("--ubatch-size", "1024"), 2048),
        (CPU, 4, ("-ub=1024",), 2048),
        (CPU, 4, ("--metrics",), 512),
    ],
)
def test_a_shared_processor_reads_a_micro_batch_at_a_time(
    where: HostFacts, users: int, words: tuple[str, ...], batch: int
) -> None:
    found = plan(where, "qwen2.5-0.5b-instruct", engine="llama.cpp", users=users, engine_args=words)
    assert found.settings.batch == batch
    assert found.settings.micro_batch == 512
