"""Names for a shell's completion: cheap to find, and silent whatever goes wrong."""

from pathlib import Path

from deployer.errors import DeployerError
from deployer.paths import Home


def deployments(home: Home) -> tuple[str, ...]:
    """Names that `status`, `down` and others take: deployments, adopted servers, and the gateway."""
    from deployer import ledger
    from deployer.workflow import gateway_record

    try:
        adopted = (record.name for record in ledger.all_adopted(home))
        front = (gateway_record.NAME,) if gateway_record.exists(home) else ()
        return (*ledger.deployments(home), *adopted, *front)
    except (DeployerError, OSError):
        return ()


def declared(file: Path) -> tuple[str, ...]:
    """Names of the deployments that a `deployer.yaml` declares."""
    from deployer.catalog.deployments import load_deployments

    try:
        return tuple(load_deployments(file).deployments)
    except (DeployerError, OSError):
        return ()


def models() -> tuple[str, ...]:
    """Names of the catalog's models."""
    from deployer import catalog

    try:
        return tuple(model.name for model in catalog.load_models())
    except DeployerError:
        return ()
