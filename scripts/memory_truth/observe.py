"""Running the matrix, and the file of what was observed."""

import datetime as dt
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.models import local
from deployer.types import ModelSpec
from scripts.memory_truth import synthetic
from scripts.memory_truth.load import LoadError, Observed, Start, load
from scripts.memory_truth.matrix import Setting, settings
from scripts.memory_truth.model import Model
from scripts.memory_truth.registry import MODELS

STORED = Path(__file__).parents[2] / "tests/unit/decide/memory_truth.json"


@dataclass(frozen=True)
class Case:
    """One load: `llama-3.2-1b/c2048-np1-u512-f16-fa`."""

    model: str
    setting: Setting
    observed: Observed

    @property
    def id(self) -> str:
        """Name of the case."""
        return f"{self.model}/{self.setting.label}"


@dataclass(frozen=True)
class Run:
    """What was observed, with which llama-server, when and where."""

    version: str
    date: str
    machine: str
    cases: tuple[Case, ...]

    @property
    def build(self) -> int:
        """Number of the build; 0 when the version does not say it."""
        match = re.search(r"build (\d+)|^(\d+) ", self.version)
        return int(match[1] or match[2]) if match else 0


def here(version: str, cases: Iterable[Case]) -> Run:
    """A run of today on this machine."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{model[1].strip() if model else os.uname().machine}, {os.cpu_count()} cores, {gib:.0f} GiB"
    return Run(version, dt.datetime.now(tz=dt.UTC).date().isoformat(), machine, tuple(cases))


def observe(
    model: Model, folder: Path, start: Start, *, quick: bool, gpu_layers: int, say: Callable[[str], None]
) -> list[Case]:
    """Write the model, load it with each setting, remove it. A load that fails is said and left out."""
    path = folder / f"{model.id}.gguf"
    found = []
    try:
        synthetic.write(model, path)
        for setting in settings(model, quick=quick):
            chosen = replace(setting, gpu_layers=gpu_layers)
            try:
                found.append(Case(model.id, chosen, load(start, path, chosen.flags())))
            except LoadError as error:
                say(f"{model.id}/{chosen.label}: {error}")
    finally:
        path.unlink(missing_ok=True)
    return found


def read_header(model: Model, folder: Path) -> ModelSpec:
    """The model as deployer reads it from a file without a vocabulary."""
    path = folder / f"{model.id}.gguf"
    synthetic.write(model, path, tokens=False)
    try:
        return local.from_path(path)
    finally:
        path.unlink()


def read(path: Path = STORED) -> Run:
    """The stored run."""
    document = json.loads(path.read_text())
    cases = (
        Case(item["model"], Setting(**item["settings"]), Observed(**item["observed"])) for item in document["cases"]
    )
    return Run(document["llama_server"], document["date"], document["machine"], tuple(cases))


def write(path: Path, run: Run, specs: Mapping[str, ModelSpec]) -> None:
    """One line for each model and case."""
    head = {"llama_server": run.version, "date": run.date, "machine": run.machine}
    models = (f"{json.dumps(name)}: {json.dumps(_described(MODELS[name], spec))}" for name, spec in specs.items())
    cases = (
        {"id": case.id, "model": case.model, "settings": case.setting.document(), "observed": case.observed.document()}
        for case in run.cases
    )
    parts = (json.dumps(head)[:-1] + ',\n"models": {', ",\n".join(models), '},\n"cases": [')
    path.write_text("\n".join((*parts, ",\n".join(map(json.dumps, cases)))) + "\n]}\n")


def _described(model: Model, spec: ModelSpec) -> dict[str, object]:
    variant = spec.variants[0]
    layout = variant.weights
    if layout is None:
        raise ValueError(f"{model.id}: no weights")
    return {
        "architecture": {"general.architecture": model.arch, **model.keys, "vocabulary": model.vocabulary},
        "reduced": model.reduced,
        "file_bytes": variant.size_bytes,
        "layout": {"input": layout.input_bytes, "layers": layout.layer_bytes, "output": layout.output_bytes},
    }
