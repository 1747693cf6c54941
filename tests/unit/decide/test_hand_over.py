"""How an engine that cannot read its key from a file is told it, and what it is given of its container or host."""

import pytest

from deployer.decide import make_plan, plan_hash
from deployer.types import HostFacts, Plan, Request
from tests.unit.decide.hosts import SITE, gpu, host, knowledge, plan, sample
from tests.unit.decide.test_rule_table import BF16, only, replace

RTX = host(gpu(0, "GeForce RTX 4090", "8.9", 24564))
NATIVE = replace(sample("cpu-avx512"), programs={"vllm": "/opt/bin/vllm"})


def native() -> Plan:
    spec = only(BF16)
    request = Request(model=spec.name, engine="vllm", runtime="process")
    where = replace(SITE, scratch="/state/demo/cache")
    return make_plan(request, NATIVE, spec, knowledge(), verified=(), site=where, unavailable={})


def test_an_engine_that_takes_its_key_from_settings_has_a_file_of_them() -> None:
    found = plan(RTX, only(BF16), engine="sglang")
    assert found.key_config == f"{found.key_file}.yaml"
    assert found.command[found.command.index("--config") + 1] == "/run/secrets/api_key.yaml"
    assert found.launcher == ("python3",)
    assert plan_hash(replace(found, key_config="/other/api_key.yaml")) != found.plan_hash


def test_an_engine_that_reads_its_key_needs_nobody() -> None:
    found = plan(RTX, "qwen2.5-7b-instruct", engine="llama.cpp")
    assert found.launcher == ()
    assert found.key_config is None


def test_a_program_gets_its_key_from_its_supervisor_and_its_caches_from_the_site() -> None:
    found = native()
    assert found.command[:2] == ("vllm", "serve")
    assert found.launcher == ()
    assert found.key_variable == "VLLM_API_KEY"
    assert found.environment["VLLM_CACHE_ROOT"] == "/state/demo/cache/vllm"
    assert not any(value.startswith("/var/tmp") for value in found.environment.values())


def test_a_folder_of_weights_is_mounted_as_the_models_folder() -> None:
    found = plan(RTX, only(BF16), engine="vllm")
    assert found.command[2] == "/models"


@pytest.mark.parametrize(("where", "raised"), [(RTX, True), (sample("cpu-avx512"), False)])
def test_limits_are_raised_for_gpus_only(where: HostFacts, raised: bool) -> None:
    reference = None if raised else "own/sglang:1"
    image = None if raised else "xeon"
    found = plan(where, only(BF16), engine="sglang", image=image, image_reference=reference)
    assert bool(found.ulimits) is raised


def test_an_image_of_ones_own_is_not_held_to_what_another_was_compiled_for() -> None:
    found = plan(sample("cpu-avx512"), only(BF16), engine="sglang", image="xeon", image_reference="own/sglang:1")
    assert found.image.reference == "own/sglang:1"
    assert any("amx_tile" in text for text in found.warnings)
