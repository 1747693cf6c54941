"""What we know: engines, images, GPUs, quantizations and models, read from `profiles/` and checked."""

from deployer.catalog.load import (
    engine_text,
    load_advisories,
    load_engine,
    load_engines,
    load_failures,
    load_gpus,
    load_monitoring,
    load_quantizations,
)
from deployer.catalog.stored import load_knowledge, load_models

__all__ = [
    "engine_text",
    "load_advisories",
    "load_engine",
    "load_engines",
    "load_failures",
    "load_gpus",
    "load_knowledge",
    "load_models",
    "load_monitoring",
    "load_quantizations",
]
