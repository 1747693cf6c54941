"""One host for several deployments: each is decided for what those before it leave.

Four arrangements are tried, and the one whose plans have the most points in total is taken; the first of equals:

1. Asked GPUs first, since they leave no choice; then the largest model, which fits in the fewest places; then the
   file's order.
2. The same, but engines that take all that is free (vLLM's pool, for one) take it last.
3. As 2, and each of those engines sees only its part of what is left, by its size.
4. The one that did not fit in 1 goes first.

Where none of them holds all, each deployment sees only its part from the start.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from deployer import decide
from deployer.errors import DeployerError, NoFitError
from deployer.types import HostFacts, Plan, Request

BESIDE = 1_000_000_000
"""Parameters' worth of memory that every server takes beside its weights, when parts are made."""


class Wanted(msgspec.Struct, frozen=True):
    """A request under its name, and the number of parameters of its model."""

    name: str
    request: Request
    parameters: int


class Arrangement(msgspec.Struct, frozen=True):
    """In which order to decide, and who sees only a part of what is left."""

    order: tuple[Wanted, ...]
    in_parts: frozenset[str] = frozenset()


Decide = Callable[[Request, HostFacts], Plan]


class _Miss(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, wanted: Wanted, before: Sequence[Plan], error: NoFitError) -> None:
        super().__init__(error.message)
        self.wanted, self.before, self.error = wanted, tuple(before), error


class _Attempts:
    """What was tried, and what came of it."""

    def __init__(self, host: HostFacts, decide_one: Decide) -> None:
        self._host, self._decide_one = host, decide_one
        self.found: list[tuple[Arrangement, tuple[Plan, ...]]] = []
        self.misses: list[_Miss] = []
        self.greedy: frozenset[str] = frozenset()

    def attempt(self, arrangement: Arrangement) -> None:
        if any(arrangement == known for known, _ in self.found):
            return
        try:
            plans = _in_turn(arrangement, self._host, self._decide_one)
            self.found.append((arrangement, plans))
        except _Miss as miss:
            self.misses.append(miss)
            plans = miss.before
        self.greedy |= {plan.name for plan in plans if plan.settings.gpu_memory_fraction is not None}


def arrange(wanted: Sequence[Wanted], host: HostFacts, decide_one: Decide) -> tuple[Arrangement, tuple[Plan, ...]]:
    """The best arrangement and its plans; equal input gives an equal answer. `decide_one` has no effects.

    Raises NoFitError naming the one that does not fit and what the others take. Together they never take more of a
    device than is free.
    """
    order = tuple(sorted(wanted, key=lambda item: (item.request.gpus is None, -item.parameters)))
    tried = _Attempts(host, decide_one)
    tried.attempt(Arrangement(order))
    if len(order) == 1 or (tried.misses and not tried.misses[0].before):
        return _best(tried)
    if tried.misses:
        _refuse_hopeless(tried.misses[0].wanted, host, decide_one)
        tried.attempt(Arrangement(_first([tried.misses[0].wanted.name], order)))
    if tried.greedy:
        last = _first([item.name for item in order if item.name not in tried.greedy], order)
        tried.attempt(Arrangement(last))
        tried.attempt(Arrangement(last, tried.greedy))
    if not tried.found:
        tried.attempt(Arrangement(order, frozenset(item.name for item in order)))
    return _best(tried)


def follow(arrangement: Arrangement, host: HostFacts, decide_one: Decide) -> tuple[Plan, ...]:
    """Decide in this arrangement, whatever has become of the host; errors as in `arrange`."""
    try:
        return _in_turn(arrangement, host, decide_one)
    except _Miss as miss:
        raise _no_fit(miss) from miss.error


def _refuse_hopeless(wanted: Wanted, host: HostFacts, decide_one: Decide) -> None:
    """Raise NoFitError for one that does not fit on the whole host either: the others are not to blame."""
    try:
        decide_one(wanted.request, host)
    except NoFitError as error:
        raise _no_fit(_Miss(wanted, (), error)) from error


def _best(tried: _Attempts) -> tuple[Arrangement, tuple[Plan, ...]]:
    if not tried.found:
        raise _no_fit(tried.misses[0]) from tried.misses[0].error
    return max(tried.found, key=lambda pair: round(sum(part.value for plan in pair[1] for part in plan.score), 6))


def _first(names: Iterable[str], order: Sequence[Wanted]) -> tuple[Wanted, ...]:
    chosen = set(names)
    return tuple(sorted(order, key=lambda item: item.name not in chosen))


def _in_turn(arrangement: Arrangement, host: HostFacts, decide_one: Decide) -> tuple[Plan, ...]:
    plans: list[Plan] = []
    for index, item in enumerate(arrangement.order):
        left = [other for other in arrangement.order[index:] if other.name in arrangement.in_parts]
        view = decide.portion(host, _part(left)) if item in left else host
        try:
            plan = decide_one(item.request, view)
        except NoFitError as error:
            raise _Miss(item, plans, error) from error
        except DeployerError as error:
            error.message = f"{item.name}: {error.message}"
            error.args = (error.message,)
            raise
        plans.append(plan)
        host = decide.host_after(host, plan)
    return tuple(plans)


def _part(left: Sequence[Wanted]) -> float:
    """The first one's part of what all that are left need."""
    sizes = [item.parameters + BESIDE for item in left]
    return sizes[0] / sum(sizes)


def _no_fit(miss: _Miss) -> NoFitError:
    others = decide.describe_taken(miss.before)
    return NoFitError(
        f"{miss.wanted.name}: {miss.error.message}" + (f"; of this host {others}" if others else ""),
        hint=miss.error.hint,
        details={
            **miss.error.details,
            "deployment": miss.wanted.name,
            "taken": {plan.name: decide.taken(plan) for plan in miss.before},
        },
    )
