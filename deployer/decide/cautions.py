"""Warnings about the chosen plan: what the users get less of, and the list of all cautions."""

from collections.abc import Callable

from deployer.decide import cautions_engine as engine
from deployer.decide import cautions_hardware as hardware
from deployer.decide.candidates import describe
from deployer.decide.case import Case
from deployer.decide.refusal import held_by_others, slices_apart
from deployer.decide.settings import waiting

SLOW_TOKENS_PER_S = 3.0


def warnings(case: Case) -> tuple[str, ...]:
    """Every warning that applies, in a fixed order, each once."""
    found = (caution(case) for caution in CAUTIONS)
    return tuple(dict.fromkeys(text for text in found if text is not None))


def given_up(case: Case) -> str | None:
    """What the users get less of, because it would not fit."""
    lost = case.option.sizing.offer.given_up
    others = held_by_others(case.candidate)
    free = f"; other programs hold memory of the GPUs{others}" if others else ""
    return f"to fit into memory: {'; '.join(lost)}{free}" if lost else None


def partial_offload(case: Case) -> str | None:
    """Some layers stay on the CPU."""
    layers, offloaded = case.option.sizing.layers, case.option.sizing.offloaded
    if not 0 < offloaded < layers:
        return None
    where = describe(case.candidate.devices)
    apart = slices_apart(case.candidate)
    return f"only {offloaded} of {layers} layers fit on {where}; the rest runs on the CPU, slowly{apart}"


def fewer_slots(case: Case) -> str | None:
    """More users than slots."""
    slots = case.option.sizing.settings.slots
    if case.request.users <= slots or case.option.sizing.offer.given_up:
        return None
    return waiting(slots, case.request.users)


def slow(case: Case) -> str | None:
    """Too slow to chat with."""
    decode = case.option.speed.decode_tokens_per_s
    if decode is None or decode >= SLOW_TOKENS_PER_S or case.request.workload == "embedding":
        return None
    return f"expect only about {decode} tokens/s: a smaller model would answer sooner"


def approximate_weights(case: Case) -> str | None:
    """The layout of the weights is only known roughly."""
    if case.option.sizing.weights.basis != "approximate":
        return None
    return "the sizes of the model's parts are estimated from its total size; the margin is wider for it"


CAUTIONS: tuple[Callable[[Case], str | None], ...] = (
    engine.image_stands_in,
    hardware.driver_silent,
    hardware.gpu_unused,
    engine.no_key,
    engine.key_in_arguments,
    engine.known_holes,
    engine.own_image,
    engine.legacy_engine,
    hardware.odd_card,
    hardware.held_back,
    hardware.unused_gpus,
    hardware.last_branch,
    hardware.older_driver,
    hardware.newer_driver,
    hardware.virtual_gpu,
    hardware.disk_short,
    given_up,
    partial_offload,
    fewer_slots,
    slow,
    engine.no_tensor_cores,
    engine.shared_memory,
    engine.split_groups,
    engine.widened_weights,
    hardware.slow_processor,
    engine.compute_cache,
    engine.text_only,
    engine.user_overrides,
    engine.gated,
    hardware.driver_unknown,
    hardware.capability_unknown,
    hardware.memory_unknown,
    hardware.cpu_unknown,
    engine.runtime_unknown,
    approximate_weights,
)
"""Every caution, the most important first."""
