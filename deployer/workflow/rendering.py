"""`render`: files of a plan in a folder for review, with the plan itself; never a mixture of two deployments."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from deployer import catalog, ledger
from deployer.errors import DeployerError, PreconditionError
from deployer.ledger.releases import PLAN_FILE
from deployer.paths import Home
from deployer.types import Plan, Request
from deployer.workflow import planning, review

_MARK = re.compile(r"[Rr]endered by deployer |^  \"deployer\": ", re.MULTILINE)
_PROJECT = re.compile(r'^name: "deployer-(\S+)"$', re.MULTILINE)
_HEAD = 4000

Agree = Callable[[str], None]


class Written(msgspec.Struct, frozen=True):
    """Files that were written, those of before that were removed, and what has to be known."""

    files: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Written") -> "Written":
        return Written(self.files + other.files, self.removed + other.removed, self.notes + other.notes)


def render_to(
    target: Request | Plan,
    home: Home,
    directory: Path | None,
    *,
    host_file: Path | None,
    monitoring: bool = False,
    agree: Agree | None = None,
) -> Written:
    """Write the files of a plan, and `plan.json`, into a folder; nothing else is touched. Errors as those of `fill`."""
    plan = target if isinstance(target, Plan) else planning.plan(target, home, host_file=host_file)
    files = {**_files(plan, monitoring=monitoring), PLAN_FILE: review.as_saved(plan)}
    written = fill(directory or Path(plan.name), plan.name, files, agree)
    return written + Written(notes=tuple(_password_note(plan, home))) if monitoring else written


def fill(folder: Path, name: str, files: Mapping[str, str], agree: Agree | None) -> Written:
    """Write the files of the deployment `name` into a folder, made when it is not there.

    What another `render` left there and this one does not write is removed, unless somebody changed it. `agree` is
    asked before files of another deployment, or of somebody else, are replaced; it raises to stop, and None agrees.
    Raises PreconditionError where the folder cannot be written.
    """
    owner = _owner(folder)
    if agree is not None and (why := _in_the_way(folder, owner, name, files)):
        agree(why)
    before = {file: text for file, text in _before(folder, name).items() if file not in files}
    stale = {folder / file: text for file, text in before.items() if (folder / file).is_file()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        removed = tuple(path for path, text in stale.items() if _is_ours(path, text))
        for path in removed:
            path.unlink()
        written = tuple(_write(folder / file, text) for file, text in files.items())
    except OSError as error:
        raise PreconditionError(
            f"{folder}: cannot be written: {error.strerror}", hint="choose another: --dir DIR"
        ) from error
    kept = tuple(f"{path} was left: it is not as `render` wrote it" for path in stale if path not in removed)
    return Written(written, removed, kept)


def _in_the_way(folder: Path, owner: str | None, name: str, files: Iterable[str]) -> str | None:
    """A sentence where files would be replaced that are not this deployment's."""
    there = [file for file in files if (folder / file).exists()]
    if owner == name or not (owner or there):
        return None
    if owner is not None:
        return f"{folder} holds the files of {owner}; they would be replaced by those of {name}"
    return f"{folder} holds {', '.join(there)}, not from `deployer render`; they would be replaced"


def _owner(folder: Path) -> str | None:
    """The deployment whose files are in a folder, as its plan, or else the header of its files, says."""
    plan = _plan_in(folder)
    if plan is not None:
        return plan.name
    compose, process = _head(folder / "compose.yaml"), _head(folder / "process.json")
    found = _PROJECT.search(compose) if _MARK.search(compose) else None
    if found is not None:
        return found[1]
    said = re.search(r'^  "name": "(\S+)",$', process, re.MULTILINE) if _MARK.search(process) else None
    return None if said is None else said[1]


def _before(folder: Path, name: str) -> Mapping[str, str]:
    """The files that the plan in a folder stands for; what watches the same deployment is not counted: it stays."""
    plan = _plan_in(folder)
    if plan is None:
        return {}
    try:
        files = _files(plan, monitoring=plan.name != name and plan.health.metrics_path is not None)
    except DeployerError:
        files = {}  # of another version: what is written now replaces the most of it
    return {**files, PLAN_FILE: review.as_saved(plan)}


def _plan_in(folder: Path) -> Plan | None:
    try:
        return msgspec.json.decode((folder / PLAN_FILE).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _is_ours(path: Path, text: str) -> bool:
    """As it was written, or with our header, which another version words otherwise below."""
    head = _head(path)
    return _MARK.search(head) is not None or head == text[:_HEAD]


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_HEAD)
    except OSError:
        return ""


def _files(plan: Plan, *, monitoring: bool) -> Mapping[str, str]:
    from deployer import render

    files = render.render(plan).files
    if not monitoring:
        return files
    metrics = catalog.load_engine(plan.engine).metrics
    return files | render.render_monitoring(plan, metrics, catalog.load_monitoring()).files


def _password_note(plan: Plan, home: Home) -> Iterable[str]:
    """Grafana's password is made by `up`, and where it is missing, Compose would not start."""
    from deployer import render

    path = ledger.key_path(home, plan.name).with_name(render.PASSWORD_FILE)
    if Path(plan.key_file) == path.with_name("api_key") and not path.exists():
        yield f"Grafana's password is made by `deployer up`, as {path}: bring {plan.name} up first"


def _write(path: Path, text: str) -> Path:
    ledger.atomic_write(path, text.encode(), mode=0o644)
    return path
