"""What a person reviews before `up`: the plan, saved or not."""

from pathlib import Path

import msgspec

from deployer import ledger
from deployer.errors import BadInputError, StateError
from deployer.paths import Home, is_special
from deployer.types import Plan

_HOW = "deployer plan MODEL --out plan.json"


def with_registry_news(plan: Plan, *, ask: bool) -> Plan:
    """The plan with a warning when the tag of its verified image names another image by now."""
    if not ask or plan.image.source != "verified":
        return plan
    from deployer.workflow import inventory

    moved = inventory.tag_moved(plan.image.reference, plan.image.digest)
    return msgspec.structs.replace(plan, warnings=(*plan.warnings, moved)) if moved else plan


def as_saved(plan: Plan) -> str:
    """A plan's text in a file."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"


def save(plan: Plan, path: Path) -> None:
    """Write a plan for `up PLAN`; it holds no secret. Raises BadInputError when the folder cannot be written."""
    try:
        ledger.atomic_write(path, as_saved(plan).encode(), mode=0o644)
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be written: {error.strerror}", hint=f"choose another place: {_HOW}"
        ) from error
    except StateError as error:  # of the folder, whose owner is no matter of DEPLOYER_HOME here
        raise BadInputError(error.message, hint=f"choose another place: {_HOW}") from error


def load(path: Path) -> Plan:
    """A plan saved by `plan --out`. Raises BadInputError for anything else."""
    if is_special(path):
        raise BadInputError(f"{path}: not a regular file", hint=_HOW)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}", hint=_HOW) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: not a saved plan: {error}", hint=_HOW) from error


def would_change(plan: Plan, home: Home) -> bool:
    """True unless the current release is exactly this plan."""
    current = ledger.current_plan(home, plan.name)
    return current is None or current.plan_hash != plan.plan_hash
