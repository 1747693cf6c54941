"""What every command needs, from the cache when the profiles have not changed."""

from pathlib import Path

from deployer.catalog import load
from deployer.catalog.cache import cached
from deployer.paths import data_dir
from deployer.types import CatalogModel, Knowledge


def load_knowledge(root: Path | None = None, overlay: Path | None = None) -> Knowledge:
    """Every engine, GPU, quantization and advisory. Raises ProfileError for the first thing that is wrong."""
    if root is not None:
        return load.load_knowledge(root, overlay)
    return cached(_name("knowledge", overlay), Knowledge, _sources(overlay), lambda: load.load_knowledge(None, overlay))


def load_models(root: Path | None = None, overlay: Path | None = None) -> tuple[CatalogModel, ...]:
    """The model catalog: every file of `models/`, each a list. Raises ProfileError, also for a name used twice."""
    if root is not None:
        return load.load_models(root, overlay)
    kind = tuple[CatalogModel, ...]
    return cached(_name("models", overlay), kind, _sources(overlay), lambda: load.load_models(None, overlay))


def _name(kind: str, overlay: Path | None) -> str:
    return kind if overlay is None else f"{kind}-overlay"


def _sources(overlay: Path | None) -> tuple[Path, ...]:
    """Recipes follow from the templates of Dockerfiles, so these count too."""
    folders = (data_dir("profiles"), data_dir("templates"))
    return folders if overlay is None else (*folders, overlay)
