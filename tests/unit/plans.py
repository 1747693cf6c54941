"""A plan for tests that only need some plan."""

from typing import Any

import msgspec

from deployer.types import Plan


def build_plan(name: str = "demo", port: int = 8000, **changes: Any) -> Plan:
    document: dict[str, Any] = {
        "name": name,
        "plan_hash": "a" * 64,
        "host_fingerprint": "0" * 12,
        "request": {"model": "m", "users": 1, "context": 2048, "workload": "chat"},
        "engine": "llama.cpp",
        "engine_version": "1",
        "image": {
            "profile": "p",
            "reference": None,
            "digest": None,
            "source": "none",
            "cuda": None,
            "accelerator": "cpu",
            "recipe": "llama-server",
        },
        "model": {
            "ref": "m",
            "revision": None,
            "format": "gguf",
            "quantization": "Q4_1",
            "files": ["m.gguf"],
            "size_mib": 93,
            "path": "/m.gguf",
            "name": "m",
        },
        "devices": [],
        "settings": {
            "context": 2048,
            "slots": 1,
            "gpu_layers": 0,
            "tensor_parallel": 1,
            "kv_cache_type": "f16",
            "threads": 1,
        },
        "command": ["llama-server"],
        "environment": {},
        "memory": {"devices": []},
        "speed": {"prompt_tokens_per_s": None, "decode_tokens_per_s": None, "total_tokens_per_s": None, "basis": ""},
        "score": [],
        "rejected": [],
        "warnings": [],
        "port": port,
        "health": {"path": "/health", "loading_status": 503},
        "limits": {"memory_mib": None, "pids": 512, "cpus": None},
        "start_period_s": 60,
    }
    return msgspec.convert(document | changes, Plan)
