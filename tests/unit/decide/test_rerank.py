"""A reranker is planned as one by itself, by engines that can, and reads every text whole."""

from typing import Any

import msgspec
import pytest

from deployer.decide.llama.encoder import encoder_bytes
from deployer.errors import NoFitError
from deployer.types import Plan
from tests.unit.decide.hosts import knowledge, model, plan, sample

replace = msgspec.structs.replace
MIB = 1024 * 1024
NAME = "bge-reranker-v2-m3"


def ranked(**asked: Any) -> Plan:
    return plan(sample("rtx4090-580"), model(NAME), **asked)


def test_it_is_served_as_one_without_being_asked() -> None:
    found = ranked()
    assert found.model.reranker
    assert found.request.workload == "embedding"
    assert (
        found.reasons[0] == f"{NAME} ranks texts against a query (POST /v1/rerank): it has no chat and makes no vectors"
    )
    assert not any("embedding" in text for text in found.warnings)
    asked = ranked(workload="embedding", workload_asked=True)
    assert (asked.command, asked.model.reranker) == (found.command, True)


@pytest.mark.parametrize("workload", ["chat", "agents", "batch"])
def test_it_serves_nothing_else(workload: str) -> None:
    with pytest.raises(NoFitError, match=f"is a reranker, .* and cannot serve {workload}; leave out --workload"):
        ranked(workload=workload, workload_asked=True)


@pytest.mark.parametrize("engine", ["ollama", "lm-studio"])
def test_an_engine_that_cannot_says_so_by_one_rule(engine: str) -> None:
    with pytest.raises(NoFitError) as refused:
        ranked(engine=engine)
    rejected: Any = refused.value.details["rejected"]
    reasons = {item["reason"] for item in rejected if item["engine"] == engine}
    assert any("has no rerank endpoint, and" in reason for reason in reasons), reasons


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_language_model_that_ranks_is_not_one_for_every_engine(engine: str) -> None:
    other = replace(model("qwen3-embedding-0.6b"), reranker=True)
    with pytest.raises(NoFitError, match=f"{engine} ranks with bert.* only, not qwen3"):
        plan(sample("rtx4090-580"), other, engine=engine)
    words = plan(sample("rtx4090-580"), other, engine="llama.cpp").command
    assert "--reranking" in words
    assert words[words.index("--ubatch-size") + 1] == "8192"


def test_llama_cpp_reads_a_text_in_one_micro_batch_and_keeps_nothing_of_it() -> None:
    found = ranked(engine="llama.cpp", context=3000)
    words = found.command
    assert "--embeddings" in words
    assert "--reranking" in words
    assert words[words.index("--ubatch-size") + 1] == words[words.index("--batch-size") + 1] == "3072"
    assert [device.kv_cache_mib for device in found.memory.devices] == [0, 0]
    vectors = plan(sample("rtx4090-580"), model("bge-m3"), context=3000)
    assert "--reranking" not in vectors.command
    assert vectors.settings.micro_batch == 3072
    decoder = plan(sample("rtx4090-580"), model("qwen3-embedding-0.6b"), engine="llama.cpp")
    assert (decoder.settings.micro_batch, decoder.memory.devices[0].kv_cache_mib > 0) == (512, True)


def test_vllm_and_sglang_are_told_to_read_it_whole() -> None:
    words = ranked(engine="vllm").command
    assert words[words.index("--runner") + 1] == "pooling"
    assert int(words[words.index("--max-num-batched-tokens") + 1]) >= 8192
    words = ranked(engine="sglang").command
    assert {"--is-embedding", "--disable-radix-cache"} <= set(words)
    assert words.count("--chunked-prefill-size") == 1
    assert words[words.index("--chunked-prefill-size") + 1] == "-1"
    assert words[words.index("--max-prefill-tokens") + 1] == "8192"
    assert "--disable-radix-cache" not in plan(sample("rtx4090-580"), "qwen3-8b", engine="sglang").command


def test_the_gateway_lets_ranking_through_for_rerankers_alone() -> None:
    paths = {"POST /v1/rerank", "POST /v2/rerank", "POST /rerank"}
    gateway = ranked(engine="vllm").gateway
    assert gateway is not None
    assert paths <= set(gateway.routes)
    other = plan(sample("rtx4090-580"), "qwen3-8b", engine="vllm").gateway
    assert other is not None
    assert paths.isdisjoint(other.routes)


@pytest.mark.parametrize(
    ("tokens", "wide", "logged"),
    [(512, 4096, 20.51), (2048, 4096, 88.05), (8192, 4096, 448.19), (512, 8192, 28.51), (4096, 8192, 256.09)],
)
def test_the_compute_buffer_is_the_one_that_llama_server_logs(tokens: int, wide: int, logged: float) -> None:
    architecture = replace(model("bge-m3").architecture, feed_forward=wide)
    assert encoder_bytes(architecture, tokens) / MIB == pytest.approx(logged, abs=0.01)


def test_only_engines_that_rank_name_what_they_rank_with() -> None:
    can = {engine.engine: engine.reranks for engine in knowledge().engines if engine.reranks}
    assert can.keys() == {"llama.cpp", "vllm", "sglang"}
    assert all("bert" in names for names in can.values())
