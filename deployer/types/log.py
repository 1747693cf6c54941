"""What an engine's log tells: why it failed, and what it takes."""

from typing import Literal

from deployer.types._value import Written


class Measure(Written, frozen=True, kw_only=True):
    """How an engine's log tells the size of one kind of buffer.

    `pattern` is a regular expression with the group `size` (a number, in `unit`) and, where the line names it, `device`
    (`CUDA0`, or the number of a rank). A line that names none is about every device of the server. `part` is what the
    buffer holds; several lines of one part and device add up, but of `compute` the last one counts.
    """

    pattern: str
    part: Literal["weights", "kv", "state", "compute", "output", "graphs"]
    unit: Literal["MiB", "GiB"] = "MiB"


class FailureSignature(Written, frozen=True, kw_only=True):
    """A pattern in the engine's log, what it means in one sentence, and the way out. Earlier entries win.

    `final`: a server that writes this while it starts never becomes ready, so that nobody has to wait for it; `source`
    is where that was seen or stands.
    """

    pattern: str
    cause: str
    hint: str
    final: bool = False
    source: str | None = None


class Offloaded(Written, frozen=True, kw_only=True):
    """How an engine's log tells how many layers of the model are on GPUs, the output layer counted.

    `pattern` is a regular expression with the groups `layers` and `total`; the last line that it finds counts.
    """

    pattern: str
    source: str


class Loaded(Written, frozen=True, kw_only=True):
    """Where a running engine tells how much of its model is in GPU memory.

    `on_gpu` is a dotted path (`models.0.size_vram`) to a number of bytes in the JSON that a GET of `path` answers.
    """

    path: str
    on_gpu: str
    source: str
