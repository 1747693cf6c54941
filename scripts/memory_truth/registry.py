"""All models by name."""

from scripts.memory_truth import dense, mixed, special
from scripts.memory_truth.model import Model

MODELS: dict[str, Model] = {model.id: model for model in (*dense.MODELS, *mixed.MODELS, *special.MODELS)}

QUICK = ("llama-3.2-1b", "gemma-3-1b", "granite-4.0-h-tiny")
"""Grouped-query attention, a sliding window, and a recurrent state: small ones."""
