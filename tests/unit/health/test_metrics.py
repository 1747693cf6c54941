"""Metrics of real servers, and of those that publish something else."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.health import Client, ProtocolError, read_metrics, scrape

NAMES = {
    "requests_running": "vllm:num_requests_running",
    "generated_tokens": "vllm:generation_tokens_total",
    "kv_cache_usage": "vllm:kv_cache_usage_perc",
    "time_to_first_token_seconds": "vllm:time_to_first_token_seconds",
}
# Lines of vLLM 0.32.0, two copies of a model.
VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="demo"} 3.0
vllm:num_requests_running{engine="1",model_name="demo"} 1.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="demo"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="demo"} 0.75
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="demo"} 480.0
# TYPE vllm:generation_tokens_created gauge
vllm:generation_tokens_created{engine="0",model_name="demo"} 1.7631e+09
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 4.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 5.0
vllm:time_to_first_token_seconds_count{engine="0"} 5.0
vllm:time_to_first_token_seconds_sum{engine="0"} 0.3
"""
# llama-server 0.7.0 names no type for some, and ends without a newline.
LLAMA = """# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s.
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds 148.5
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 36"""


def test_series_of_one_metric_are_taken_together() -> None:
    assert read_metrics(VLLM, NAMES) == {"requests_running": 4.0, "generated_tokens": 480.0, "kv_cache_usage": 0.5}


def test_what_llama_server_publishes() -> None:
    names = {
        "tokens_per_second": "llamacpp:predicted_tokens_seconds",
        "generated_tokens": "llamacpp:tokens_predicted_total",
        "requests_waiting": "llamacpp:requests_deferred",
    }
    assert read_metrics(LLAMA, names) == {"tokens_per_second": 148.5, "generated_tokens": 36.0}


def test_a_value_that_is_not_finite_does_not_count() -> None:
    text = 'a 1\na{x="1"} NaN\na{x="2"} +Inf\nb NaN\n'
    assert read_metrics(text, {"requests_running": "a", "requests_waiting": "b"}) == {"requests_running": 1.0}


@pytest.mark.parametrize(
    "text", ['{"error": "not here"}', "<html><body>hello</body></html>", "a b c d e f\n", 'a{x="1 2\n']
)
def test_another_page_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ProtocolError, match="not a page of metrics"):
        read_metrics(text, {"requests_running": "a"})


@given(st.text(alphabet='ab{}="\\,_# \n\t\x00\u20ac01.eE+-NaInf', max_size=60) | st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    try:
        found = read_metrics(text, {"requests_running": "a", "kv_cache_usage": "b"})
    except ProtocolError:
        return
    assert all(math.isfinite(value) for value in found.values())


def test_a_server_is_asked_with_its_key(server: Any) -> None:
    def metrics(handler: Any) -> None:
        right = handler.headers.get("Authorization") == f"Bearer {server.key}"
        handler.reply(200 if right else 401, LLAMA.encode() if right else {"error": {"message": "Invalid API Key"}})

    server.routes["/metrics"] = metrics
    names = {"generated_tokens": "llamacpp:tokens_predicted_total"}
    assert scrape(Client(server.url, server.key), "/metrics", names) == {"generated_tokens": 36.0}
    with pytest.raises(ProtocolError, match="Invalid API Key"):
        scrape(Client(server.url, "wrong"), "/metrics", names)
