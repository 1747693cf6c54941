"""The plot: signed error of the total for every case, ours beside those of other programs."""

import importlib
from collections.abc import Sequence
from pathlib import Path

from scripts.memory_truth.peers import PEERS
from scripts.memory_truth.report import OURS
from scripts.memory_truth.score import Score, by_model

COLOURS = ("tab:orange", "tab:green", "tab:red", "tab:purple")
MISSING = "the plot needs matplotlib: .venv/bin/python -m pip install --group truth"


def draw(scores: Sequence[Score], path: Path, title: str) -> None:
    """Write an SVG or PNG of all that have a total; the same bytes for the same scores.

    Raises RuntimeError without matplotlib.
    """
    try:
        mpl = importlib.import_module("matplotlib")
        plt = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise RuntimeError(MISSING) from None
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "memory-truth"
    mpl.rcParams["svg.fonttype"] = "none"
    grouped = by_model([item for item in scores if item.error("total") is not None])
    ordered = [item for found in grouped.values() for item in found]
    places = range(len(ordered))
    figure, axes = plt.subplots(figsize=(12, 6), layout="constrained")
    for name, colour in zip(PEERS, COLOURS, strict=True):
        errors = [100 * (item.peer_error(name) or 0) for item in ordered]
        axes.plot(places, errors, ".", color=colour, markersize=3, label=name, alpha=0.7)
    ours = [100 * (item.error("total") or 0) for item in ordered]
    axes.plot(places, ours, ".", color="black", markersize=4, label=OURS)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_yscale("symlog", linthresh=10)
    ticks = [-50, -10, -5, 0, 5, 10, 50, 100, 200, 400]
    axes.set_yticks(ticks, [f"{tick:+d} %" if tick else "0" for tick in ticks])
    axes.set_ylabel("error of the total; linear up to 10 %, logarithmic beyond")
    starts = [0]
    for found in grouped.values():
        starts.append(starts[-1] + len(found))
    for start in starts:
        axes.axvline(start - 0.5, color="lightgrey", linewidth=0.5, zorder=0)
    axes.set_xticks(starts[:-1], list(grouped), rotation=90, ha="left", fontsize=7)
    figure.suptitle(title, fontsize=10)
    figure.legend(loc="outside lower center", ncols=len(PEERS) + 1, fontsize=8, markerscale=3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
