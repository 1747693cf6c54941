"""`models ls|inspect|pull|rm`: the store of models."""

from pathlib import Path

from deployer import catalog, ledger, models
from deployer.errors import BadInputError, PreconditionError
from deployer.models import StoredModel
from deployer.paths import Home
from deployer.types import ModelSpec, ModelVariant, Request
from deployer.workflow import planning
from deployer.workflow.report import Reporter, timed


def stored(home: Home) -> tuple[StoredModel, ...]:
    """What was downloaded."""
    return models.stored(home.models)


def catalog_names() -> tuple[str, ...]:
    """Names of the catalog's models."""
    return tuple(model.name for model in catalog.load_models())


def inspect(model: str, home: Home) -> ModelSpec:
    """What a reference names, from metadata alone."""
    return planning.resolve_model(model, home)


def choose(model: str, quantization: str | None, home: Home) -> ModelVariant:
    """The variant to download: the asked one, else what `plan` would serve here. Raises BadInputError naming them."""
    variants = inspect(model, home).variants
    asked = quantization or planning.plan(Request(model=model), home).model.quantization
    found = next((item for item in variants if item.quantization.casefold() == asked.casefold()), None)
    if found is None:
        known = ", ".join(dict.fromkeys(item.quantization for item in variants))
        raise BadInputError(f"{model} has no {asked}; there are: {known}", hint=f"deployer models inspect {model}")
    return found


def pull(variant: ModelVariant, home: Home, report: Reporter) -> Path:
    """Download and verify; returns the path."""
    with timed(report, f"model {variant.source} {variant.quantization}") as outcome:
        path = models.fetch(variant, home.models, lambda progress: report.detail(progress.line))
        outcome(f"model {path}, every hash checked")
    return path


def remove(reference: str, home: Home, *, dry_run: bool) -> tuple[StoredModel, ...]:
    """Remove downloads of a repository. Raises PreconditionError while a current release needs one of them."""
    wanted = models.matching(home.models, reference)
    for name in ledger.deployments(home):
        plan = ledger.current_plan(home, name)
        if plan is not None and any(Path(plan.model.path).is_relative_to(item.path) for item in wanted):
            raise PreconditionError(f"deployment {name} serves from it", hint=f"deployer down {name} first")
    return wanted if dry_run else models.remove(home.models, reference)
