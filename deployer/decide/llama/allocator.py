"""How ggml places the tensors of a graph in one buffer: the size of that buffer is the compute buffer of the log.

Source: llama.cpp b11434 ggml/src/ggml-alloc.c (`ggml_dyn_tallocr_alloc`, `ggml_gallocr_allocate_node`). A tensor takes
the smallest hole that holds it, an operation may write over its only source of the same layout, and a tensor is freed
after its last reader.
"""

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

ALIGNMENT = 128
_LAST = ALIGNMENT - 1
_FAR = 1 << 60


class Tensor(msgspec.Struct, eq=False):
    """One tensor of a graph: its layout, its bytes, what it reads, and whether it may overwrite a source.

    `view_of` is the tensor whose memory it shows. A tensor with `size` 0 lives elsewhere (weights, caches). The rest
    is noted while the graph is placed.
    """

    size: int
    layout: tuple[int, ...]
    sources: Sequence["Tensor"] = ()
    overwrites: bool = False
    view_of: "Tensor | None" = None
    children: int = 0
    views: int = 0
    offset: int = 0
    allocated: bool = False
    placed: bool = False
    known: bool = False

    def __post_init__(self) -> None:
        """Every tensor takes whole pieces of ALIGNMENT bytes."""
        self.size = (self.size + _LAST) & ~_LAST

    def grow(self, size: int) -> None:
        """Something of `size` bytes lies behind the tensor and is freed with it."""
        self.size += (size + _LAST) & ~_LAST


class Arena:
    """Holes and size of one buffer that grows at its end: the last hole has no end."""

    def __init__(self) -> None:
        self.offsets, self.rooms = [0], [_FAR]
        self.size = 0

    def take(self, size: int) -> int:
        """Offset of a new tensor of `size` bytes: the smallest hole that holds it, else the end."""
        best, least = -1, _FAR
        for index, room in enumerate(self.rooms):
            if size <= room <= least:
                best, least = index, room
        offset = self.offsets[best]
        if least > size:
            self.offsets[best], self.rooms[best] = offset + size, least - size
        else:
            del self.offsets[best], self.rooms[best]
        self.size = max(self.size, offset + size)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free `size` bytes at `offset`, joined with the holes beside them."""
        offsets, rooms = self.offsets, self.rooms
        index = bisect_left(offsets, offset)
        if offsets[index] == offset + size:
            offsets[index], rooms[index] = offset, rooms[index] + size
        else:
            offsets.insert(index, offset)
            rooms.insert(index, size)
        if index and offsets[index - 1] + rooms[index - 1] == offset:
            rooms[index - 1] += rooms.pop(index)
            del offsets[index]


def buffer_bytes(inputs: Sequence[Tensor], nodes: Sequence[Tensor]) -> int:
    """Bytes of the buffer that holds `inputs` from the start and `nodes` while they are read, in this order."""
    arena = Arena()
    for tensor in inputs:
        _place(arena, tensor)
    for node in nodes:
        if node.view_of is not None:
            node.view_of.views += 1
        for source in node.sources:
            source.children += 1
    for node in nodes:
        if node.view_of is None:
            _place(arena, node)
        for source in node.sources:
            source.children -= 1
            if not source.children and not source.views and (source.allocated or source.view_of is not None):
                _release(arena, source)
    return arena.size


def _place(arena: Arena, tensor: Tensor) -> None:
    if tensor.placed or not tensor.size:
        return
    tensor.placed = tensor.allocated = True
    if tensor.overwrites:
        for source in tensor.sources:
            if source.children == 1 and source.layout == tensor.layout and _reuse(arena, tensor, source):
                return
    tensor.offset = arena.take(tensor.size)


def _reuse(arena: Arena, tensor: Tensor, source: Tensor) -> bool:
    """Write over `source`, where nothing else reads it. Never over a view, which `ggml_gallocr_is_own` denies."""
    if source.view_of is not None or source.views or not source.allocated or source.size < tensor.size:
        return False
    tensor.offset, source.allocated = source.offset, False
    if source.size > tensor.size:
        arena.give(source.offset + tensor.size, source.size - tensor.size)
    return True


def _release(arena: Arena, tensor: Tensor) -> None:
    if tensor.view_of is not None:
        owner = tensor.view_of
        owner.views -= 1
        if owner.views or owner.children:
            return
        tensor = owner
    if tensor.allocated:
        tensor.allocated = False
        arena.give(tensor.offset, tensor.size)
