"""Metrics that a server publishes for Prometheus, read by our own words for them."""

import math
from collections.abc import Mapping

from deployer.health.answers import ProtocolError
from deployer.health.client import Client

SHARES = frozenset({"kv_cache_usage"})
"""Parts of a whole: of several series (copies of a model) the mean counts; of everything else their sum."""


def scrape(client: Client, path: str, names: Mapping[str, str]) -> dict[str, float]:
    """GET a page of metrics and read it, as `read_metrics`. Raises ProtocolError."""
    return read_metrics(client.text(path), names)


def read_metrics(text: str, names: Mapping[str, str]) -> dict[str, float]:
    """Value by our word, where `names` maps our word to the engine's metric; absent where it publishes none.

    All series of a metric together; a value that is not finite does not count, and histograms (which have no sample of
    their own name) are left out. The text is Prometheus's exposition format 0.0.4. Raises ProtocolError for anything
    else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted: dict[str, list[float]] = {name: [] for name in names.values()}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in wanted and math.isfinite(sample.value):
                    wanted[sample.name].append(float(sample.value))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ProtocolError(f"this is not a page of metrics for Prometheus: {str(error)[:120]}") from error
    return {word: _together(word, wanted[name]) for word, name in names.items() if wanted[name]}


def _together(word: str, values: list[float]) -> float:
    return sum(values) / len(values) if word in SHARES else sum(values)
