"""Which layers of a model differ from the others, as one number where they do so at a fixed distance."""

from collections.abc import Sequence


def period(flags: Sequence[bool]) -> int | None:
    """The `n` for which every `n`-th layer is False and the others True; 0 when all are True, else None.

    `llama.cpp` writes such lists for windows and recurrent layers (b11434 src/llama-hparams.cpp `set_swa_pattern`).
    """
    if all(flags):
        return 0
    every = list(flags).index(False) + 1
    regular = all(flag == (layer % every < every - 1) for layer, flag in enumerate(flags))
    return every if regular else None


def window_and_pattern(window: int, pattern: int | None, context_max: int) -> tuple[int, int]:
    """The window in tokens and its pattern; (0, 0) where no layer has one that matters.

    `pattern` is None for layers in no regular order: they count as full, which asks for more memory, never for less.
    """
    if pattern is None or pattern == 1 or not 0 < window < context_max:
        return 0, 0
    return window, pattern
