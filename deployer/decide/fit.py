"""The table of what fits: every form of the model, on the best set of devices of each kind, at growing contexts.

Of like GPUs there are the most that can be used, each smaller power of two, and as many as the best plan takes.

An engine and its images pass the same rules as in a plan; here memory does not refuse, it fills the cells.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from deployer.decide import rules
from deployer.decide.candidates import Candidate, describe
from deployer.decide.choose import ANY_IMAGE, Considered, consider
from deployer.decide.copies import copies
from deployer.decide.device_sets import same_kind
from deployer.decide.host import complete
from deployer.decide.no_fit import no_fit
from deployer.decide.plan import check_request
from deployer.decide.purpose import settled
from deployer.decide.room import LARGEST, Contender, Room
from deployer.decide.score import image_points
from deployer.decide.settings import DEFAULT_CONTEXT, waiting, wanted_slots
from deployer.decide.weights import Weights
from deployer.types import (
    DiskFacts,
    EngineProfile,
    HostFacts,
    Knowledge,
    ModelSpec,
    ModelVariant,
    Observation,
    PlanDevice,
    Request,
    VerifiedImage,
)
from deployer.types.fit import FitRow, FitTable

COLUMNS = (2048, 4096, 8192, 16384, 32768, 65536, 131072)

FIRST_CHOICE = ("llama.cpp", "vllm")
"""Engines that answer for a format unless another is asked for; then the order of the profiles."""

PLACES = ("one GPU", "like GPUs", "all GPUs", "CPU")
"""Kinds of device sets, in the order of the table. With a layer split, layers may be in main memory in each."""

_Shape = tuple[int, int]
"""The kind of a device set, and of like GPUs how many."""

_Found = tuple[_Shape, Contender]


def fit_table(
    request: Request,
    host: HostFacts,
    model: ModelSpec,
    knowledge: Knowledge,
    *,
    verified: Sequence[VerifiedImage] = (),
    unavailable: Mapping[str, str] | None = None,
    observations: Sequence[Observation] = (),
) -> FitTable:
    """What fits where, and by how much. Equal input gives equal bytes.

    What the request says (quantization, engine, GPUs, KV type, slots) holds for every row; its context is a column and
    the one of the bar. Raises BadInputError like make_plan, NoFitError when no engine could run the model at all.
    """
    check_request(request, model, knowledge)
    request = settled(request, model)
    known, guesses = complete(msgspec.structs.replace(host, disk=DiskFacts()), knowledge.gpus)
    contexts = columns(request, model)
    largest = msgspec.structs.replace(request, context=max(contexts))

    def ask(engines: Sequence[EngineProfile]) -> Considered:
        return consider(
            *(largest, known, model, msgspec.structs.replace(knowledge, engines=tuple(engines))),
            verified=verified,
            unavailable=unavailable or {},
            observations=observations,
        )

    considered = _considered(request, model, knowledge, ask)
    room = Room(known, model, request, observations=tuple(observations))
    found = list(_contenders(considered))
    best = _best(found, room, [engine.engine for engine in knowledge.engines], _shapes(found, considered))
    if not best:
        raise no_fit(request, model, considered)
    return FitTable(
        model=model.name,
        host=host.hostname,
        users=request.users,
        context=asked_context(request, model),
        contexts=contexts,
        rows=tuple(_row(shape[0], contender, contexts, room) for shape, contender in best),
        refused=_refused(considered),
        warnings=tuple(dict.fromkeys((*considered.warnings, *_waiting(best, room), *guesses))),
    )


def _waiting(best: Sequence[_Found], room: Room) -> Iterator[str]:
    """How many users are served at once where not all are; by engine and devices where that differs."""
    users = room.request.users
    slots = {
        f"{item.candidate.engine.engine} on {describe(item.candidate.devices)}": wanted_slots(
            item.candidate, room.host, room.request
        )
        for _, item in best
    }
    differ = len(set(slots.values())) > 1
    for where, served in slots.items():
        if served < users:
            yield f"{where}: {waiting(served, users)}" if differ else waiting(served, users)


def _considered(
    request: Request, model: ModelSpec, knowledge: Knowledge, ask: Callable[[Sequence[EngineProfile]], Considered]
) -> Considered:
    """What the engines of first choice make of it; all engines, where one was asked for or a format is left over."""
    if request.engine is not None:
        return ask(knowledge.engines)
    first = ask([engine for engine in knowledge.engines if engine.engine in FIRST_CHOICE])
    if {item.candidate.variant.format for item in _contenders(first)} >= {item.format for item in model.variants}:
        return first
    rest = ask([engine for engine in knowledge.engines if engine.engine not in FIRST_CHOICE])
    return msgspec.structs.replace(
        first, ranked=first.ranked + rest.ranked, rejected=first.rejected + rest.rejected, near=first.near + rest.near
    )


def columns(request: Request, model: ModelSpec) -> tuple[int, ...]:
    """Contexts of the table: powers of two up to the model's own maximum, and the one that was asked for."""
    most = model.architecture.context_max or LARGEST
    usual = [context for context in COLUMNS if context <= most] or [most]
    return tuple(sorted({*usual, request.context or usual[0]}))


def asked_context(request: Request, model: ModelSpec) -> int:
    """The context of the bar: as asked, else what a plan would start with."""
    return request.context or min(model.architecture.context_max or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def _contenders(considered: Considered) -> Iterator[Contender]:
    """All that passed the rules: what fits at the largest context, and what only lacked memory.

    Copies that are servers of their own are left out: what fits one is the row of its GPUs.
    """
    for ranked in considered.ranked:
        option = ranked.option
        if copies(option.candidate) > 1:
            continue
        yield Contender(option.candidate, option.sizing.weights, option.source.entry is not None)
    for near in considered.near:
        if copies(near.candidate) == 1:
            yield Contender(near.candidate, near.weights)


def _shapes(found: Sequence[Contender], considered: Considered) -> list[_Shape]:
    """The kinds of device sets that get rows, in the order of the table."""
    shapes = {_shape(item.candidate) for item in found}
    chosen = _shape(considered.ranked[0].option.candidate) if considered.ranked else None
    most = {item.candidate.engine.engine: 0 for item in found}
    for item in found:
        engine = item.candidate.engine.engine
        most[engine] = max(most[engine], _shape(item.candidate)[1])
    shown = {0, *most.values()}
    return sorted(shape for shape in shapes if shape[1] in shown or shape[1].bit_count() == 1 or shape == chosen)


def _best(found: Sequence[Contender], room: Room, engines: Sequence[str], shapes: Sequence[_Shape]) -> list[_Found]:
    """For each kind of devices the best way to hold each form, of one engine a format; large forms first."""
    forms: dict[ModelVariant, tuple[str, Weights]] = {}
    for variant in room.model.variants:
        own = [item for item in found if item.candidate.variant is variant]
        engine = _engine_for(variant.format, found, engines)
        if weights := next((item.weights for item in own if item.candidate.engine.engine == engine), None):
            forms[variant] = (engine or "", weights)
    best = []
    for shape in shapes:
        held = [item for item in found if _shape(item.candidate) == shape]
        ways = {engine: _ways(engine, held, found) for engine, _ in forms.values()}
        for variant, (engine, weights) in forms.items():
            chosen = _first(variant, ways[engine], room)
            if chosen is not None:
                best.append((shape, Contender(chosen, weights)))
    return sorted(best, key=lambda item: (item[0], item[1].candidate.engine.engine, -_size(item[1])))


def _ways(engine: str, held: Sequence[Contender], found: Sequence[Contender]) -> list[Candidate]:
    """Every image of the engine on every set held, the best first.

    First a verified image, then as a plan's score: the maker's own code and nothing to compile, most memory, machine
    code for the GPUs, and at last the profile's order.

    A plan tries no more GPUs than are enough; here an image is put on every set that some image of the engine is on.
    """
    own = [item for item in held if item.candidate.engine.engine == engine]
    on_cpu = {item.candidate.on_cpu for item in own}
    alike = [item for item in found if item.candidate.engine.engine == engine and item.candidate.on_cpu in on_cpu]
    verified = {item.candidate.image.id for item in alike if item.verified}
    images = {item.candidate.image.id: item.candidate for item in alike}
    sets = {
        (item.candidate.devices, item.candidate.data_parallel, item.candidate.pipeline_parallel): None for item in own
    }
    order = [image.id for image in own[0].candidate.engine.images] if own else []
    made = [
        msgspec.structs.replace(candidate, devices=devices, data_parallel=copies, pipeline_parallel=stages)
        for candidate in images.values()
        for devices, copies, stages in sets
    ]

    def worth(way: Candidate) -> tuple[bool, float, int, float, int]:
        kind, compiled = image_points(way)
        return way.image.id not in verified, -kind, -_free(way), -compiled, order.index(way.image.id)

    return sorted(made, key=worth)


def _first(variant: ModelVariant, ways: Sequence[Candidate], room: Room) -> Candidate | None:
    """The first way that no rule about devices and forms refuses."""
    group = (*rules.DEVICE_RULES, *rules.SET_RULES, *rules.FORM_RULES)
    for way in ways:
        candidate = msgspec.structs.replace(way, variant=variant)
        if rules.first_refusal(group, candidate, room.host, room.model, room.request) is None:
            return candidate
    return None


def _engine_for(form: str, everything: Sequence[Contender], engines: Sequence[str]) -> str | None:
    names = {item.candidate.engine.engine for item in everything if item.candidate.variant.format == form}
    return next((name for name in (*FIRST_CHOICE, *engines) if name in names), None)


def _place(candidate: Candidate) -> int:
    gpus = [device.gpu for device in candidate.devices]
    if not gpus:
        return PLACES.index("CPU")
    if len(gpus) == 1:
        return PLACES.index("one GPU")
    return PLACES.index("like GPUs" if all(same_kind(gpus[0], gpu) for gpu in gpus[1:]) else "all GPUs")


def _shape(candidate: Candidate) -> _Shape:
    place = _place(candidate)
    return place, len(candidate.devices) if place == PLACES.index("like GPUs") else 0


def _free(candidate: Candidate) -> int:
    """MiB for one copy of the model on all GPUs of the set together."""
    return sum(device.gpu.memory_free_mib or 0 for device in candidate.devices) // candidate.data_parallel


def _size(contender: Contender) -> int:
    return contender.weights.layout.total_bytes


def _row(place: int, contender: Contender, contexts: Sequence[int], room: Room) -> FitRow:
    candidate = contender.candidate
    cells = tuple(room.cell(contender, context) for context in contexts)
    unknown = any(cell.fits is None for cell in cells)
    return FitRow(
        engine=candidate.engine.engine,
        image=candidate.image.id,
        quantization=candidate.variant.quantization,
        format=candidate.variant.format,
        place=PLACES[place],
        devices=tuple(
            PlanDevice(index=device.gpu.index, uuid=device.gpu.uuid, name=device.gpu.name, vendor=device.gpu.vendor)
            for device in candidate.devices
        ),
        label=describe(candidate.devices),
        size_mib=-(-_size(contender) // (1024 * 1024)),
        cells=cells,
        max_context=None if unknown else room.largest_context(contender, cells),
    )


def _refused(considered: Considered) -> int:
    """Images that cannot run here, or not this model; an engine that is refused as a whole counts once."""
    tried = {(item.option.candidate.engine.engine, item.option.candidate.image.id) for item in considered.ranked}
    tried |= {(item.candidate.engine.engine, item.candidate.image.id) for item in considered.near}
    refused = {
        (item.engine, item.image)
        for item in considered.rejected
        if item.quantization is None or item.image != ANY_IMAGE
    }
    return len(refused - tried)
