"""The log of several copies of a model, told apart again: a runtime puts `copy 2: ` before each line of the second."""

import re
from collections.abc import Sequence

_MARK = re.compile(r"copy (\d+): ")


def by_copy(lines: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """The lines of each copy without the mark, in their order; all lines where there is only one."""
    if count == 1:
        return (tuple(lines),)
    found: tuple[list[str], ...] = tuple([] for _ in range(count))
    for line in lines:
        match = _MARK.match(line)
        if match is not None and 0 < int(match[1]) <= count:
            found[int(match[1]) - 1].append(line[match.end() :])
    return tuple(map(tuple, found))
