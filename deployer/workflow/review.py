"""What a person reviews before `up`: the plan, saved or not, and the rendered files."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from deployer import catalog, ledger
from deployer.errors import BadInputError, PreconditionError
from deployer.paths import Home, is_special
from deployer.types import Plan, Request
from deployer.workflow import planning

_HOW = "deployer plan MODEL --out plan.json"


def with_registry_news(plan: Plan, *, ask: bool) -> Plan:
    """The plan with a warning when the tag of its verified image names another image by now."""
    if not ask or plan.image.source != "verified":
        return plan
    from deployer.workflow import inventory

    moved = inventory.tag_moved(plan.image.reference, plan.image.digest)
    return msgspec.structs.replace(plan, warnings=(*plan.warnings, moved)) if moved else plan


def save(plan: Plan, path: Path) -> None:
    """Write a plan for `up PLAN`; it holds no secret. Raises BadInputError when the folder cannot be written."""
    try:
        ledger.atomic_write(path, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n", mode=0o644)
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be written: {error.strerror}", hint=f"choose another place: {_HOW}"
        ) from error


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


def render_to(
    target: Request | Plan,
    home: Home,
    directory: Path | None,
    *,
    host_file: Path | None,
    monitoring: bool = False,
) -> tuple[Path, ...]:
    """Write the files of a plan into a folder; returns their paths.

    Nothing else is touched, but for the password of Grafana, which is made with `monitoring` where there is none.
    """
    plan = target if isinstance(target, Plan) else planning.plan(target, home, host_file=host_file)
    files = _files(plan, home, monitoring=monitoring)
    return write_all(directory or Path(plan.name), files)


def write_all(folder: Path, files: Mapping[str, str]) -> tuple[Path, ...]:
    """Write files into a folder, made when it is not there. Raises PreconditionError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(_write(folder / name, text) for name, text in files.items())
    except OSError as error:
        raise PreconditionError(
            f"{folder}: cannot be written: {error.strerror}", hint="choose another: --dir DIR"
        ) from error


def _files(plan: Plan, home: Home, *, monitoring: bool) -> Mapping[str, str]:
    from deployer import render

    files = render.render(plan).files
    if not monitoring:
        return files
    metrics = catalog.load_engine(plan.engine).metrics
    added = render.render_monitoring(plan, metrics, catalog.load_monitoring())
    if Path(plan.key_file) == ledger.key_path(home, plan.name):
        ledger.ensure_password(home, plan.name, render.PASSWORD_FILE, plan.container_user)
    return files | added.files


def _write(path: Path, text: str) -> Path:
    ledger.atomic_write(path, text.encode(), mode=0o644)
    return path
