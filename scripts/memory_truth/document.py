"""docs/memory.md: the prose is there; what was measured stands between its markers and is written from here."""

import re
from collections.abc import Mapping, Sequence

from scripts.memory_truth import report
from scripts.memory_truth.observe import Run
from scripts.memory_truth.registry import MODELS
from scripts.memory_truth.score import Score

_PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, scores: Sequence[Score], logs: Sequence[Score], run: Run) -> str:
    """The page with the numbers of one run. Raises KeyError for a marker that nothing is known of."""
    parts: Mapping[str, str] = {
        "run": _said(scores, run),
        "summary": _table(report.summary(scores)),
        "logs": _table(report.summary(logs)),
        "models": _table(report.models(scores)),
        "made": _table(_made(scores)),
    }
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]]}{found[3]}", page)


def _said(scores: Sequence[Score], run: Run) -> str:
    names = dict.fromkeys(item.model for item in scores)
    reduced = sum(bool(MODELS[name].reduced) for name in names)
    false = sum(item.false_fit for item in scores)
    fits = f"were below the truth in {false}" if false else "were never below the truth"
    return (
        f"{run.date}, llama-server {run.version}, {run.machine}, no GPU: {len(scores)} loads of {len(names)} models,"
        f" {reduced} of them with fewer\nlayers or experts than the real ones. Estimate and margin {fits}.\n"
    )


def _made(scores: Sequence[Score]) -> list[list[str]]:
    rows = [["model", "architecture", "weights", "smaller than the real one"]]
    for name in dict.fromkeys(item.model for item in scores):
        model = MODELS[name]
        kinds = f"{model.type}, experts {model.expert_type}" if model.expert_type else model.type
        rows.append([name, model.arch, kinds, model.reduced or "no"])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(report.markdown(rows)) + "\n"
