"""Rules of Prometheus for one deployment, from the metrics that its engine has."""

from collections.abc import Mapping
from typing import Any

from deployer.render import queries

FULL = 0.95
"""Part of the KV cache above which new conversations wait for old ones to end."""


def rules_tree(name: str, metrics: Mapping[str, str]) -> dict[str, Any]:
    """The content of the file with the rules: one group, those without a metric left out."""
    down = _rule("ServerDown", f"{queries.up()} == 0", "1m", "critical", _said(f"{name} does not answer", _look(name)))
    found = [down, *_waiting(name, metrics), *_stuck(name, metrics), *_full(name, metrics)]
    return {"groups": [{"name": f"deployer-{name}", "rules": found}]}


def _waiting(name: str, metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    if "requests_waiting" not in metrics:
        return []
    expression = f"{queries.total(metrics['requests_waiting'])} > 0"
    way_out = f"plan for more users: deployer plan MODEL --users N; what it does now: deployer status {name} --watch"
    said = _said(f"requests to {name} have waited for 5 minutes", way_out)
    return [_rule("RequestsWait", expression, "5m", "warning", said)]


def _stuck(name: str, metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """Requests are computed, and no token comes. Ten minutes: llama-server counts an answer's tokens when it ends."""
    if not {"requests_running", "generated_tokens"} <= metrics.keys():
        return []
    speed = queries.rate(metrics["generated_tokens"], "10m")
    expression = f"{queries.total(metrics['requests_running'])} > 0 and {speed} == 0"
    said = _said(f"{name} computes requests, and writes no token", _look(name))
    return [_rule("NoTokens", expression, "10m", "critical", said)]


def _full(name: str, metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    if "kv_cache_usage" not in metrics:
        return []
    expression = f"{queries.largest(metrics['kv_cache_usage'])} > {FULL}"
    said = _said(f"the KV cache of {name} is full", "plan for more users or less context: deployer fit MODEL")
    return [_rule("KvCacheFull", expression, "5m", "warning", said)]


def _rule(alert: str, expression: str, hold: str, severity: str, annotations: dict[str, str]) -> dict[str, Any]:
    labels = {"severity": severity}
    return {"alert": alert, "expr": expression, "for": hold, "labels": labels, "annotations": annotations}


def _said(summary: str, way_out: str) -> dict[str, str]:
    return {"summary": summary, "description": way_out}


def _look(name: str) -> str:
    return f"look at it: deployer status {name}; deployer logs {name}"
