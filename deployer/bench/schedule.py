"""How many at once, and how long."""

MOST_AT_ONCE = 64
_FIRST_LENGTH = 128
_WORTH_IT = 1.25
_SLACK_TOKENS = 16
_SLACK = 0.02


def levels(top: int) -> tuple[int, ...]:
    """1, 2, 4, 8 ... up to `top`, which is one of them; 64 at most."""
    top = max(min(top, MOST_AT_ONCE), 1)
    doubled = [1 << power for power in range(top.bit_length()) if 1 << power <= top]
    return tuple(doubled if doubled[-1] == top else [*doubled, top])


def lengths(context: int, output_tokens: int) -> tuple[int, ...]:
    """128, 256, 512 ... tokens of prompt, and last the longest that leaves room for the answer and for an odd count.

    Of a context too short for 128 it is that longest one alone.
    """
    longest = max(int((context - output_tokens) * (1 - _SLACK)) - _SLACK_TOKENS, 1)
    found = []
    length = _FIRST_LENGTH
    while length <= longest:
        found.append(length)
        length *= 2
    if not found or longest > found[-1] * _WORTH_IT:
        found.append(longest)
    return tuple(found)
