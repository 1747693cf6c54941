"""What a reranker is asked for, and its answer read strictly: one finite score for each text."""

import json
import math
from typing import Any

from deployer.health.answers import ProtocolError

RERANK = "/v1/rerank"
QUERY = "What is the capital of France?"
TEXTS = ("A kitten is sitting on a rug.", "Paris is the capital of France.", "The tax law of 1998 was repealed.")
ANSWERS = 1
"""Which of the texts answers the query."""


def read_scores(body: bytes, count: int) -> tuple[float, ...]:
    """Read the scores of `count` texts, in their order; raises ProtocolError.

    A list of results, in `results` (llama.cpp, vLLM: `relevance_score`) or alone (SGLang: `score`).
    """
    try:
        found = dict(map(_score, _entries(json.loads(body))))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{RERANK} did not answer with a list of results with a score each") from error
    if sorted(found) != list(range(count)):
        raise ProtocolError(f"{RERANK} gave {len(found)} scores for {count} texts")
    scores = tuple(found[index] for index in range(count))
    if not all(map(math.isfinite, scores)):
        raise ProtocolError(f"{RERANK} gave a score that is no finite number: {said(scores)}")
    return scores


def said(scores: tuple[float, ...]) -> str:
    """Scores for a sentence."""
    return ", ".join(f"{score:.3g}" for score in scores)


def _entries(document: Any) -> list[Any]:
    entries = document["results"] if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise TypeError(type(entries).__name__)
    return entries


def _score(entry: Any) -> tuple[int, float]:
    score = entry["relevance_score"] if "relevance_score" in entry else entry["score"]
    if type(entry["index"]) is not int or type(score) not in (int, float):
        raise TypeError("index or score")
    return entry["index"], float(score)
