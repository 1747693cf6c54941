"""PromQL for what we know of an engine: its metrics by our words (`catalog/words.py`), in whole servers."""

from collections.abc import Mapping

import msgspec

JOB = "llm"
_WINDOW, _LONG_WINDOW = "1m", "5m"
_QUANTILES = (("0.5", "half of them"), ("0.95", "95 %"))


class Query(msgspec.Struct, frozen=True):
    """One line of a panel: the expression, and what it is called."""

    expression: str
    legend: str


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel; `unit` is Grafana's own word for it."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"


def up() -> str:
    """1 while the server answers a scrape."""
    return f'up{{job="{JOB}"}}'


def total(metric: str) -> str:
    """Sum over all series of the server."""
    return f'sum({metric}{{job="{JOB}"}})'


def rate(metric: str, window: str = _WINDOW) -> str:
    """What a counter grows by in a second, all series together."""
    return f'sum(rate({metric}{{job="{JOB}"}}[{window}]))'


def largest(metric: str) -> str:
    """The largest of all series: the fullest copy of a model."""
    return f'max({metric}{{job="{JOB}"}})'


def quantile(metric: str, share: str) -> str:
    """Below this stays that share of the observations of a histogram."""
    return f'histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{job="{JOB}"}}[{_LONG_WINDOW}])))'


def panels(metrics: Mapping[str, str]) -> tuple[Panel, ...]:
    """The panels that an engine's metrics allow; those without any metric are left out."""
    found = [
        Panel(title="Server", unit="bool_on_off", queries=(Query(up(), "answers"),), kind="stat"),
        _sums("Requests", "short", metrics, requests_running="running", requests_waiting="waiting"),
        _speed(metrics),
        _rates("Prompt tokens per second", metrics, prompt_tokens="read", cached_prompt_tokens="from the cache"),
        _rates("Requests answered per second", metrics, requests="answered"),
        _shares("KV cache in use", metrics, kv_cache_usage="in use"),
        _times("Time to the first token", metrics, "time_to_first_token_seconds"),
        _times("Time between tokens", metrics, "time_per_token_seconds"),
        _times("Time of a request", metrics, "request_seconds"),
        _times("Time in the queue", metrics, "queue_seconds"),
    ]
    return tuple(panel for panel in found if panel.queries)


def _sums(title: str, unit: str, metrics: Mapping[str, str], **legends: str) -> Panel:
    queries = (Query(total(metrics[word]), legend) for word, legend in legends.items() if word in metrics)
    return Panel(title=title, unit=unit, queries=tuple(queries))


def _rates(title: str, metrics: Mapping[str, str], **legends: str) -> Panel:
    queries = (Query(rate(metrics[word]), legend) for word, legend in legends.items() if word in metrics)
    return Panel(title=title, unit="short", queries=tuple(queries))


def _speed(metrics: Mapping[str, str]) -> Panel:
    """By the counter, which misses nothing between two looks; else the engine's own number."""
    title = "Tokens of answers per second"
    if "generated_tokens" in metrics:
        return _rates(title, metrics, generated_tokens="all requests together")
    return _sums(title, "short", metrics, tokens_per_second="by the engine's own count")


def _shares(title: str, metrics: Mapping[str, str], **legends: str) -> Panel:
    queries = (Query(largest(metrics[word]), legend) for word, legend in legends.items() if word in metrics)
    return Panel(title=title, unit="percentunit", queries=tuple(queries))


def _times(title: str, metrics: Mapping[str, str], word: str) -> Panel:
    if word not in metrics:
        return Panel(title=title, unit="s", queries=())
    queries = (Query(quantile(metrics[word], share), f"{legend} below") for share, legend in _QUANTILES)
    return Panel(title=title, unit="s", queries=tuple(queries))
