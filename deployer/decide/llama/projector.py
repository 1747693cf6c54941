"""The projector of a multimodal model: its weights, and the work of its transformer on the largest picture.

llama-server loads it whole onto the first GPU, or into main memory without one. Its log tells the work of a picture of
usual size (`warmup`); a larger one grows the buffer when it comes, so the largest is counted here. Sources: llama.cpp
b11434 tools/mtmd/clip.cpp (`load_hparams`, `build_vit`, `build_attn`, `reserve_compute_meta`), models/qwen3vl.cpp and
siglip.cpp. Compared with logs: 248.10 MiB of Qwen3.5-35B, 101.27 of gemma4-E4B, and of three
small projectors with build 11669.
"""

import functools
from typing import NamedTuple

from deployer.decide.llama.allocator import Tensor
from deployer.decide.llama.graph import FLOAT, Graph, inplace, new, part, reshape, weighted
from deployer.types import Projector

CHANNELS = 3
SOUND_FRAMES = 3000
"""Of a projector that only hears: 30 seconds in frames of 10 ms, as Whisper's encoder takes them."""

COMPARED = frozenset(("gemma3", "gemma4v", "qwen3vl_merger"))
APPROXIMATE = 1.25
"""Room for what a graph that was not compared does otherwise."""

_LEARNED = frozenset(("gemma3", "idefics3", "janus_pro", "lfm2", "phi4"))
"""Kinds whose places are weights, so that no positions are fed (models/siglip.cpp)."""

_RMS = frozenset(("gemma4v", "pixtral", "qwen2.5vl_merger", "lightonocr", "dots_ocr"))


class Pictures(NamedTuple):
    """What llama.cpp makes of a picture: `merge` patches a side are one token, of which it has `largest` at most.

    `usual` are those of the warm-up. With `largest` 0, every picture has the size that the file states.
    """

    merge: int = 1
    largest: int = 0
    usual: int = 0


_KINDS: dict[str, Pictures] = {
    "deepseek4v": Pictures(1, 384, 256),
    "dots_ocr": Pictures(1, 0, 46 * 46),
    "gemma3": Pictures(4),
    "gemma4uv": Pictures(3, 1120, 256),
    "gemma4v": Pictures(3, 1120, 256),
    "glm4v": Pictures(2, 4096, 46 * 46),
    "glm5v": Pictures(2, 0, 46 * 46),
    "hunyuanvl": Pictures(1, 16384, 32 * 32),
    "kimik25": Pictures(1, 4096, 4096),
    "kimivl": Pictures(1, 1024, 256),
    "lfm2": Pictures(1, 256, 256),
    "lightonocr": Pictures(1, 0, 256),
    "ling3vl": Pictures(2, 4096, 46 * 46),
    "minimax_m3": Pictures(2, 576, 256),
    "mimovl": Pictures(2, 0, 46 * 46),
    "muse-glimmer": Pictures(2, 4096, 32 * 32),
    "paddleocr": Pictures(1, 0, 28 * 28),
    "phi4": Pictures(1, 0, 256),
    "pixtral": Pictures(1, 1024, 256),
    "qwen2.5vl_merger": Pictures(2, 4096, 46 * 46),
    "qwen2vl_merger": Pictures(2, 4096, 46 * 46),
    "qwen3vl_merger": Pictures(2, 4096, 46 * 46),
    "step3vl": Pictures(4),
    "youtuvl": Pictures(2, 62500, 256),
}
"""By `clip.projector_type`; any other has pictures of one size."""


class Work(NamedTuple):
    """Bytes on the device that computes, and beside them in main memory where that is a GPU (what it is fed)."""

    device: int
    fed: int


def projector_bytes(projector: Projector, context: int) -> Work:
    """Weights and work on the largest picture that `context` tokens have room for.

    Approximate for a kind that was not compared with a log.
    """
    most = largest_patches(projector, context)
    work = graph_work(projector, most)
    part_more = 1.0 if projector.kind in COMPARED else APPROXIMATE
    return Work(projector.weight_bytes + int(work.device * part_more), work.fed)


def largest_patches(projector: Projector, context: int) -> int:
    """Patches of the largest picture: as many tokens as the kind takes, but no more than a conversation has."""
    pictures, each = _pictures(projector), _merged(projector) ** 2
    if not projector.image_size:
        return SOUND_FRAMES
    stated = projector.max_pixels // (projector.patch_size**2 * each)
    largest = pictures.largest or stated
    if not largest:
        return max((projector.image_size // projector.patch_size) ** 2, 1)
    return max(min(largest, context), pictures.usual) * each


def usual_patches(projector: Projector) -> int:
    """Patches of the picture whose work the log tells (`warmup`)."""
    pictures = _pictures(projector)
    return pictures.usual * _merged(projector) ** 2 if pictures.usual else largest_patches(projector, 0)


def _pictures(projector: Projector) -> Pictures:
    return _KINDS.get(projector.kind, Pictures())


def _merged(projector: Projector) -> int:
    return projector.merge or _pictures(projector).merge


@functools.lru_cache(maxsize=256)
def graph_work(projector: Projector, patches: int) -> Work:
    """The buffer of the transformer's graph on a picture of so many patches, with flash attention, in bytes.

    All layers are alike, so two of them need as much as all.
    """
    graph = Graph()
    raw = graph.input(FLOAT * CHANNELS * projector.patch_size**2 * patches)
    each = 0 if projector.kind in _LEARNED else 4 if projector.fused else 2
    positions = graph.input(FLOAT * patches * each)
    masks = (graph.input(FLOAT * patches**2),) if projector.windowed else ()
    current, kept = _patched(projector, raw, positions, patches), None
    for layer in range(min(projector.layers, 2 + projector.deepstack)):
        current = _layer(projector, graph, current, (positions, *masks))
        if layer < projector.deepstack:
            kept = _kept(projector, current, kept)
    graph.expand(_projected(projector, current, kept))
    return Work(graph.buffer_bytes(), raw.size + positions.size + sum(mask.size for mask in masks))


def _patched(projector: Projector, raw: Tensor, positions: Tensor, patches: int) -> Tensor:
    """The convolution, which lays the patches out first, and its result in the order of patches."""
    width = projector.embedding
    columns = Tensor(projector.kernel_bytes * CHANNELS * projector.patch_size**2 * patches, (), (raw,))
    made = new((patches, width), new((patches, width), columns))
    laid = new((width, patches), part(made, ()))
    if projector.kind != "gemma4v":
        return inplace(laid)
    places = [new((width, patches), positions) for _ in range(2)]
    return inplace(inplace(laid, places[0]), places[1])


def _layer(projector: Projector, graph: Graph, source: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    layer_norm = projector.kind not in _RMS
    attended = _attention(projector, graph, weighted(source, layer_norm=layer_norm), inputs)
    current = inplace(attended, source)
    return inplace(current, _feed_forward(projector, weighted(current, layer_norm=layer_norm)))


def _attention(projector: Projector, graph: Graph, source: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    positions, *masks = inputs
    patches, width = source.layout[1], projector.embedding
    if projector.fused:
        whole = inplace(new((3 * width, patches), source))
        query, key, value = (part(whole, (width, patches)) for _ in range(3))
    else:
        query, key, value = (inplace(new((width, patches), source)) for _ in range(3))
    query, key = inplace(query, positions), inplace(key, positions)
    for tensor in (query, key, value):
        graph.expand(tensor)
    halves = [Tensor(tensor.size // 2, (), (part(tensor, ()),)) for tensor in (key, *masks)]
    halves.insert(1, Tensor(FLOAT // 2 * width * patches, (), (part(value, ()),)))
    mixed = new((width, patches), part(query, ()), *halves)
    return inplace(new((width, patches), mixed))


def _feed_forward(projector: Projector, source: Tensor) -> Tensor:
    patches = source.layout[1]
    up = inplace(new((projector.feed_forward, patches), source))
    if projector.gated:
        gate = new((projector.feed_forward, patches), source)
        up = new((projector.feed_forward, patches), gate, up)
    return inplace(new((projector.embedding, patches), inplace(up) if not projector.gated else up))


def _kept(projector: Projector, source: Tensor, before: Tensor | None) -> Tensor:
    """What a layer gives to the language model directly, beside what the layers before it have given."""
    found = _two_products(projector, weighted(_merged_rows(projector, source), layer_norm=True))
    if before is None:
        return found
    return new((before.layout[0] + projector.projection, found.layout[1]), before, found)


def _merged_rows(projector: Projector, source: Tensor) -> Tensor:
    each, patches = _merged(projector) ** 2, source.layout[1]
    return reshape(source, (projector.embedding * each, patches // each))


def _two_products(projector: Projector, source: Tensor) -> Tensor:
    wide = inplace(new(source.layout, source))
    return inplace(new((projector.projection, source.layout[1]), inplace(wide)))


def _projected(projector: Projector, source: Tensor, kept: Tensor | None) -> Tensor:
    """The tokens, with what was kept of the layers behind them."""
    found = _two_products(projector, _merged_rows(projector, weighted(source, layer_norm=True)))
    return found if kept is None else new((found.layout[0] + kept.layout[0], found.layout[1]), found, kept)
