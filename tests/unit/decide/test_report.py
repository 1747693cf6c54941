"""The verdict on every engine and image, without a model and with one."""

import pytest

from deployer.decide import report_engines
from deployer.types import EngineVerdict, HostFacts
from tests.unit.decide.hosts import gpu, host, knowledge, model, sample, sample_names
from tests.unit.decide.test_rule_table import AWQ, only, replace


def verdicts(where: HostFacts, what: str | None = None) -> dict[str, EngineVerdict]:
    found = report_engines(where, knowledge(), model(what) if what else None)
    return {f"{item.engine}/{item.image}": item for item in found}


def test_two_p40() -> None:
    found = verdicts(sample("p40x2-580"))
    assert found["llama.cpp/server-cuda"].status == "warning"
    assert found["llama.cpp/server-cuda"].devices == "2 x Tesla P40"
    assert "compiles for minutes" in found["llama.cpp/server-cuda"].reason
    thirteen = found["llama.cpp/server-cuda13"]
    assert (thirteen.status, thirteen.devices) == ("no", "")
    assert "6.1" in thirteen.reason
    assert thirteen.way_out.startswith("use server-cuda")
    assert found["vllm/cuda13"].status == "no"
    assert found["llama.cpp/server"].status == "yes"
    assert found["llama.cpp/xllamacpp"].way_out.startswith("pip install")
    assert "another image" in found["llama.cpp/server-rocm"].way_out


def test_a_modern_card() -> None:
    found = verdicts(sample("rtx4090-580"))
    assert found["vllm/cuda13"].status == "yes"
    assert found["tgi/cuda12"].status == "warning"
    assert "--engine tgi" in found["tgi/cuda12"].reason
    assert found["ollama/cuda"].status == "yes"  # its gateway asks for the key
    assert "--allow-vulnerable" in found["vllm/cuda12"].way_out


def test_one_card_of_several_is_enough() -> None:
    where = host(gpu(0, "Tesla P40", "6.1", 24576), gpu(1, "GeForce RTX 3090", "8.6", 24576))
    assert verdicts(where)["vllm/cuda13"].devices == "GeForce RTX 3090"


def test_a_model_counts_too() -> None:
    where = sample("rtx4090-580")
    assert report_engines(where, knowledge(), only(AWQ))[0].status == "no"
    names = {f"{item.engine}/{item.image}": item for item in report_engines(where, knowledge(), only(AWQ))}
    assert "llama.cpp reads gguf, not awq" in names["llama.cpp/server-cuda"].reason
    assert names["vllm/cuda13"].status == "yes"
    strange = replace(only(AWQ), architecture=replace(only(AWQ).architecture, name="foozz"))
    assert all(item.status == "no" for item in report_engines(where, knowledge(), strange))


@pytest.mark.parametrize("name", sample_names())
def test_every_image_has_one_verdict_and_every_refusal_a_reason(name: str) -> None:
    found = report_engines(sample(name), knowledge())
    assert len(found) == sum(len(engine.images) for engine in knowledge().engines)
    for item in found:
        assert item.reason
        assert (item.status == "no") == (not item.devices)
        assert item.way_out or item.status != "no"


def test_hardware_is_told_before_vulnerabilities() -> None:
    assert "6.1" in verdicts(sample("p40x2-535"))["vllm/cuda12"].reason
    none = verdicts(host())
    assert "this host has no GPU" in none["vllm/cuda12"].reason
    assert not any("--allow-vulnerable" in item.way_out for item in none.values())


def test_the_way_out_of_a_vulnerability_names_an_image_that_the_hardware_runs() -> None:
    newer = verdicts(host(gpu(0, "GeForce RTX 3090", "8.6", 24576), driver="570.86.15"))["vllm/cuda12"]
    assert "use cuda13 with driver 580" in newer.way_out
    volta = verdicts(host(gpu(0, "Tesla V100", "7.0", 32768), driver="575.1"))
    assert not any("use cuda13" in item.way_out for item in volta.values())
