"""The shape of the project: who may import whom, and how large things may grow."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import deployer

ROOT = Path(deployer.__file__).parent
FLOORS = ("facts", "models", "catalog", "decide", "render", "images", "ledger", "runtime", "health", "bench")
GROUND = {"types", "errors", "paths", "execution"}
ALLOWED_ABOVE = {"workflow": set(FLOORS), "cli": {"workflow", "catalog"}}
PURE = ("decide", "render")
IMPURE_MODULES = {
    "asyncio",
    "datetime",
    "docker",
    "http",
    "os",
    "random",
    "requests",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
READERS = {"render": {"jinja.py"}}  # reads the project's own templates, nothing else


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, at any depth of the code."""
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def floors_of(path: Path) -> set[str]:
    parts = (name.split(".") for name in imported(path))
    return {part[1] for part in parts if part[0] == "deployer" and len(part) > 1}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_the_ground_and_itself(floor: str) -> None:
    for path in modules(floor):
        assert floors_of(path) & (set(FLOORS) | {"workflow", "cli"}) <= {floor}, path


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_exists_and_names_no_unknown_ground(floor: str) -> None:
    assert modules(floor)
    for path in modules(floor):
        assert floors_of(path) <= GROUND | {floor, "__version__"}, path


@pytest.mark.parametrize("ground", sorted(GROUND))
def test_the_ground_stands_on_nothing(ground: str) -> None:
    paths = modules(ground) or [ROOT / f"{ground}.py"]
    for path in paths:
        assert floors_of(path) <= {ground, "types", "errors"}, path


@pytest.mark.parametrize("above", sorted(ALLOWED_ABOVE))
def test_the_floors_meet_in_the_workflow_only(above: str) -> None:
    for path in modules(above):
        assert floors_of(path) & (set(FLOORS) | {"workflow", "cli"}) <= ALLOWED_ABOVE[above] | {above}, path


@pytest.mark.parametrize("floor", PURE)
def test_pure_floors_cannot_do_io_or_tell_the_time(floor: str) -> None:
    for path in modules(floor):
        heads = {name.split(".")[0] for name in imported(path)}
        assert not heads & IMPURE_MODULES, path
        assert "open" not in set(_called(path)), path
        if path.name not in READERS.get(floor, set()):
            assert "pathlib" not in heads or floor != "decide", path


def _called(path: Path) -> Iterator[str]:
    """Names of the functions that a module calls directly."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def test_every_module_and_function_keeps_its_budget() -> None:
    too_long = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 300:
            too_long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > 50:
                    too_long.append(f"{path}:{node.lineno} {node.name}: {size} lines")
    assert too_long == []


def test_workflow_verbs_stay_short() -> None:
    long = [
        f"{path.name}:{node.name}"
        for folder in ("workflow", "cli")
        for path in modules(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and _body_lines(node) > 20
    ]
    assert long == []


def _body_lines(node: ast.FunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_module_has_a_name_without_meaning() -> None:
    nameless = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
    assert [path for path in ROOT.rglob("*.py") if path.stem in nameless] == []
