"""A limit on the wall clock for what has none of its own, such as name resolution."""

import threading
from collections.abc import Callable
from typing import TypeVar

from deployer.errors import DeployerError

T = TypeVar("T")


def within(timeout_s: float, work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise its DeployerError; TimeoutError when it takes longer than `timeout_s`.

    The work goes on in a daemon thread, which does not keep the process alive.
    """
    results: list[T] = []
    errors: list[DeployerError] = []

    def run() -> None:
        try:
            results.append(work())
        except DeployerError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if results:
        return results[0]
    raise TimeoutError
