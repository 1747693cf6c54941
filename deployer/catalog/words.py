"""Our words for settings and metrics, with their meaning and unit: what a profile maps to an engine's own names."""

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    "model": "path of the model file or folder, as the server sees it",
    "projector": "path of the projector (mmproj) of a multimodal model, as the server sees it",
    "alias": "name of the model in the API",
    "host": "address to listen on",
    "port": "port to listen on",
    "api_key_file": "path of a file with one key a line",
    "api_key_env": "the key itself, in an environment variable",
    "api_key_config": "path of a YAML file with the line `api-key: KEY`",
    "context": "tokens of one request, prompt and answer",
    "context_total": "tokens of all slots together",
    "slots": "requests that are computed at once",
    "batch": "tokens of a prompt taken at once",
    "micro_batch": "tokens of a prompt computed at once",
    "batch_tokens": "tokens of all requests computed in one step",
    "gpu_memory_fraction": "part of each GPU's memory that the server may take, 0 to 1 (of what: see the profile)",
    "kv_cache_gib": "GiB of main memory for the KV cache",
    "kv_cache_tokens": "tokens that the KV cache holds for all requests",
    "kv_cache_type": "the engine's own word for the KV cache's type (`auto`, `fp8`, `q8_0`)",
    "kv_cache_type_k": "type of cached keys",
    "kv_cache_type_v": "type of cached values",
    "tensor_parallel": "GPUs that share every layer",
    "data_parallel": "whole copies of the model; `slots` are then of each",
    "pipeline_parallel": "stages of layers on GPUs one after the other",
    "tensor_split": "parts of the model for each GPU, such as 3,1",
    "gpu_layers": "layers on the GPUs, the output layer counted",
    "cpu_moe_layers": "first layers whose experts stay in main memory",
    "devices": "the planned devices by the engine's names",
    "dtype": "type of the arithmetic: `auto`, `float16`, `bfloat16`",
    "quantization": "the engine's word for how the weights are stored, where it cannot see that itself",
    "flash_attention": "`on`, `off` or `auto`",
    "eager": "yes: no CUDA graphs and no compilation",
    "fit_off": "fixed: the server shall not change the planned settings",
    "cache_ram": "MiB of main memory for old prompts",
    "threads": "CPU threads",
    "numa": "how threads are spread over NUMA nodes: `distribute`, `isolate`, `numactl`",
    "metrics": "yes: publish metrics",
    "offline": "yes: no network access of its own",
    "no_ui": "yes: no web page",
    "jinja": "yes: use the model's own chat template",
    "chat_template": "path of a chat template",
    "tools": "yes: read tool calls out of the answer",
    "tool_parser": "the engine's word for the format of the model's tool calls",
    "reasoning_parser": "the engine's word for the format of the model's reasoning",
    "embeddings": "yes: serve embeddings",
    "log_verbosity": "the engine's own level of the log",
}
"""Settings that a plan has a value for. Any other word may be used for a flag with a fixed value."""

METRICS: Mapping[str, str] = {
    "requests_running": "gauge: requests being computed now",
    "requests_waiting": "gauge: requests that wait",
    "kv_cache_usage": "gauge: part of the KV cache in use, 0 to 1",
    "prompt_tokens": "counter: tokens of prompts",
    "cached_prompt_tokens": "counter: tokens of prompts that were taken from the cache of earlier ones",
    "generated_tokens": "counter: tokens of answers",
    "tokens_per_second": "gauge: tokens of answers a second, of all requests",
    "requests": "counter: requests that were answered",
    "time_to_first_token_seconds": "histogram",
    "time_per_token_seconds": "histogram: between two tokens of an answer",
    "request_seconds": "histogram: from arrival to the last token",
    "queue_seconds": "histogram: from arrival to the first computation",
}
"""Metrics that mean the same for every engine; a profile has those that its engine publishes."""

COMPONENTS = ("docker-compose", "runc", "nvidia-container-toolkit")
"""What advisories may name besides engines: the parts of the host that containers stand on."""
