"""The tables: errors by model, and of everything, ours and those of other programs."""

from collections.abc import Iterator, Sequence

from scripts.memory_truth.peers import PEERS
from scripts.memory_truth.registry import MODELS
from scripts.memory_truth.score import Score, Spread, by_model, spread

PARTS = ("weights", "kv", "state", "compute", "total")
OURS = "deployer"


def percent(value: float) -> str:
    """With sign and one decimal; what rounds to nothing has no sign."""
    text = f"{value:+.1%}"
    return "0.0%" if text in {"+0.0%", "-0.0%"} else text


def shown(found: Spread | None) -> str:
    """The error that is furthest from 0, with its sign."""
    if found is None:
        return "-"
    return percent(found.low if abs(found.low) > abs(found.high) else found.high)


def summary(scores: Sequence[Score]) -> list[list[str]]:
    """Head and rows: for each part and each peer, how many cases, median and range."""
    rows = [["estimate", "part", "cases", "median error", "lowest", "highest"]]
    errors: list[tuple[str, str, list[float | None]]] = [
        (OURS, part, [item.error(part) for item in scores]) for part in PARTS
    ]
    errors += [(name, "total", [item.peer_error(name) for item in scores]) for name in PEERS]
    for name, part, values in errors:
        found = spread(values)
        if found is not None:
            rows.append([name, part, str(found.count), f"{found.median:.1%}", percent(found.low), percent(found.high)])
    return rows


def models(scores: Sequence[Score]) -> list[list[str]]:
    """Head and rows: for each model, the worst error of each part, and the worst total of each peer."""
    rows = [["model", "architecture", "cases", *PARTS, *PEERS]]
    for name, found in by_model(scores).items():
        ours = [shown(spread(item.error(part) for item in found)) for part in PARTS]
        peers = [shown(spread(item.peer_error(peer) for item in found)) for peer in PEERS]
        rows.append([name, MODELS[name].arch, str(len(found)), *ours, *peers])
    return rows


def text(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns side by side."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    head, *others = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in others:
        yield f"| {' | '.join(row)} |"
