"""Logs of several containers as one: in order by time what was written, and as it comes what is written now."""

import heapq
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from deployer.runtime.interface import OnLine
from deployer.runtime.lines import readable

Source = Callable[[], Iterable[bytes]]
"""Opens a container's log, line by line."""

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT[\d:.]+Z) ?")


def as_written(source: Source, mark: str, on_line: OnLine) -> None:
    """The lines of one container, each with the mark in front."""
    for line in source():
        on_line(mark + readable(line))


def in_order(sources: Mapping[str, Source], on_line: OnLine) -> None:
    """Lines that have Docker's time in front, of all containers by that time and without it; each gets its mark."""
    logs = [_stamped(mark, source) for mark, source in sources.items()]
    for _, line in heapq.merge(*logs, key=lambda item: item[0]):
        on_line(line)


def _stamped(mark: str, source: Source) -> Iterator[tuple[bytes, str]]:
    """Time and marked text; a piece of a long line has the time of the piece before it."""
    stamp = b""
    for line in source():
        match = _STAMP.match(line)
        stamp = match[1] if match else stamp
        yield stamp, mark + readable(line[match.end() :] if match else line)


def as_they_come(sources: Mapping[str, Source], on_line: OnLine) -> None:
    """Hand over each line when it is written, until every log has ended. What fails in one of them is raised here."""
    import docker
    import urllib3

    lines: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()

    def read(mark: str, source: Source) -> None:
        try:
            as_written(source, mark, lines.put)
        except (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError) as error:
            lines.put(error)
        finally:
            lines.put(None)

    for mark, source in sources.items():
        threading.Thread(target=read, args=(mark, source), name=f"log {mark}", daemon=True).start()
    left = len(sources)
    while left:
        line = lines.get()
        if isinstance(line, Exception):
            raise line
        if line is None:
            left -= 1
        else:
            on_line(line)
