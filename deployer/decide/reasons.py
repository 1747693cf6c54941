"""Short sentences for the reviewer: why this engine, image, model form, devices and settings."""

from collections.abc import Iterator

from deployer.decide.candidates import describe
from deployer.decide.capability import code_for, driver_floor, driver_of, last_driver
from deployer.decide.choose import ANY_IMAGE, Considered, idle
from deployer.decide.copies import copies, stands_apart
from deployer.decide.device_sets import splits
from deployer.decide.host import is_tegra, short_name
from deployer.decide.purpose import ranks
from deployer.decide.score import Option
from deployer.decide.score_speed import under_load
from deployer.decide.speed import about
from deployer.decide.version import capability
from deployer.types import HostFacts, ImageProfile, Request


def reasons(option: Option, considered: Considered, host: HostFacts, request: Request) -> tuple[str, ...]:
    """One sentence a decision, in the order in which a reviewer reads a compose file."""
    return (
        *ranks(request),
        _image(option, considered, host),
        _quantization(option, considered),
        _devices(option) + _instead(option, considered, request) + _replicas(option, considered),
        _users(option, request),
        _threads(option, host),
    )


def _image(option: Option, considered: Considered, host: HostFacts) -> str:
    candidate, image = option.candidate, option.candidate.image
    refused = {
        item.image for item in considered.rejected if item.engine == candidate.engine.engine and item.rule != "memory"
    }
    refused -= {image.id, ANY_IMAGE}
    others = f"; {len(refused)} other images were refused" if len(refused) > 1 else ""
    why = [_meeting(option, host) + _not_the_makers_own(option, considered)]
    if option.source.entry is not None:
        why.append(f"verified on this host on {option.source.entry.verified_at[:10]}")
    return f"{candidate.engine.engine} {image.version}, {image.id}: {'; '.join(why)}{others}"


def _not_the_makers_own(option: Option, considered: Considered) -> str:
    """Why a GPU is driven by Vulkan instead of CUDA or ROCm; of a driver that is too old tells `older_driver`."""
    candidate = option.candidate
    if candidate.image.accelerator != "vulkan" or not candidate.devices:
        return ""
    maker = {"amd": "rocm", "nvidia": "cuda"}.get(candidate.devices[0].gpu.vendor or "")
    own = {image.id for image in candidate.engine.images if image.accelerator == maker}
    refused = (item for item in considered.rejected if item.engine == candidate.engine.engine and item.image in own)
    found = next((item for item in refused if item.rule in ("gfx", "vgpu", "container-gpu-injection")), None)
    if found is None:
        return ""
    targets = ", ".join(dict.fromkeys(item.gpu.gfx for item in candidate.devices if item.gpu.gfx))
    return f"; {found.image}: " + (f"no code for {targets}" if found.rule == "gfx" else found.reason)


def _meeting(option: Option, host: HostFacts) -> str:
    """How the image and the hardware meet."""
    image, devices = option.candidate.image, option.candidate.devices
    if image.accelerator == "cuda":
        return _cuda(option, host)
    if devices:
        target = f", compiled for {devices[0].gpu.gfx}" if devices[0].gpu.gfx in image.gfx else ""
        return f"{image.accelerator} for {describe(devices)}{target}"
    if image.cpu_flags:
        return f"the processor has {', '.join(image.cpu_flags)}, which it needs"
    return "chooses the code for this processor when it starts"


def _cuda(option: Option, host: HostFacts) -> str:
    """Compiled code, driver floor and driver here, for the GPU that is hardest to please."""
    image, now = option.candidate.image, driver_of(host)
    known = [device for device in option.candidate.devices if device.gpu.compute_capability]
    if not known:
        return f"CUDA {image.cuda or ''}".strip()
    device = min(known, key=lambda item: capability(item.gpu.compute_capability or ""))
    code = code_for(image, device.gpu)
    floor = driver_floor(image, code) if code else None
    kind = "machine code" if code == "sass" else "PTX"
    needs = f", needs driver {floor}, here {now or 'unknown'}" if floor else ""
    last = last_driver(device.gpu, device.known)
    until = f"; {last} is the last driver branch for this GPU" if last else ""
    if is_tegra(device.gpu, host):
        needs, until = _jetpack(image, host), ""
    return f"{kind} for compute capability {device.gpu.compute_capability} ({short_name(device.gpu)}){needs}{until}"


def _jetpack(image: ImageProfile, host: HostFacts) -> str:
    """A Jetson's driver comes with its JetPack."""
    here = f", here L4T {host.nvidia.l4t}" if host.nvidia is not None and host.nvidia.l4t else ""
    return f", made for JetPack {image.jetpack}{here}" if image.jetpack else here


def _quantization(option: Option, considered: Considered) -> str:
    variant = option.candidate.variant
    part = next(item for item in considered.ranked[0].parts if item.part == "quality")
    speed = next(item for item in considered.ranked[0].parts if item.part == "speed")
    return f"{variant.quantization}: {part.why.removeprefix(variant.quantization).lstrip(': ')}; {speed.why}"


def _devices(option: Option) -> str:
    layers, offloaded, settings = option.sizing.layers, option.sizing.offloaded, option.sizing.settings
    name = describe(option.candidate.devices)
    if not option.candidate.devices:
        return "CPU only: all layers in main memory"
    if settings.tensor_parallel * settings.data_parallel * settings.pipeline_parallel > 1:
        return f"{name}: {'; '.join(_shapes(option))}{_fraction(option)}"
    experts = f", the experts of the first {settings.cpu_moe_layers} in main memory" if settings.cpu_moe_layers else ""
    split = settings.tensor_split
    shared = f", split {' + '.join(str(count) for count in split)} by free memory" if split else ""
    return (
        f"{name}: {offloaded} of {layers} layers on the GPU{'s' if len(option.candidate.devices) > 1 else ''}{shared}"
        f"{experts}{_fraction(option)}"
    )


def _shapes(option: Option) -> Iterator[str]:
    """How the model lies on several GPUs, the outermost first."""
    settings, ranks = option.sizing.settings, option.sizing.settings.tensor_parallel
    users = -(-settings.slots // settings.data_parallel)
    if copies(option.candidate) > 1:
        each, split = len(option.candidate.devices) // settings.data_parallel, settings.tensor_split
        where = f"{each} GPUs, split {' + '.join(map(str, split))}" if split else "a GPU of its own"
        up_to = f"up to {users} users" if users > 1 else "one user"
        yield f"{settings.data_parallel} copies of the model behind a gateway, each for {up_to} at once on {where}"
    elif settings.data_parallel > 1:
        yield f"{settings.data_parallel} copies of the model for up to {users} users each (data parallel)"
    if settings.pipeline_parallel > 1:
        yield f"{settings.pipeline_parallel} stages of layers, one after the other (pipeline parallel)"
    if ranks > 1:
        yield f"every layer shared by {ranks} like GPUs (tensor parallel)"


def _instead(option: Option, considered: Considered, request: Request) -> str:
    """What several copies are better than: the best that one server of the same form would give."""
    candidate = option.candidate
    if copies(candidate) == 1:
        return ""
    same = (candidate.engine.engine, candidate.image.id, candidate.variant)
    alone = next(
        (
            ranked.option
            for ranked in considered.ranked
            if (one := ranked.option.candidate).data_parallel == 1
            and (one.engine.engine, one.image.id, one.variant) == same
        ),
        None,
    )
    each = under_load(option.sizing, option.speed, request)
    other = None if alone is None else under_load(alone.sizing, alone.speed, request)
    if alone is None or each is None or other is None:
        return ""
    slots, fewer = option.sizing.offer.slots, alone.sizing.offer.slots
    place = describe(alone.candidate.devices) + (f" gives {fewer} users" if fewer != slots else " gives")
    return f"; {about(each)} tokens/s each with {slots} users busy, where one server on {place} {about(other)}"


def _replicas(option: Option, considered: Considered) -> str:
    """Like GPUs that stay free could hold the model once more."""
    candidate, settings = option.candidate, option.sizing.settings
    one = len(candidate.devices) // settings.data_parallel
    more = len(idle(candidate, considered)) // one if one else 0
    if not more:
        return ""
    if "data" in splits(candidate.engine) or stands_apart(candidate.engine, candidate.image):
        return f"; like GPUs are free for {more} more cop{'ies' if more > 1 else 'y'} (more --users, or --gpus)"
    return f"; like GPUs are free for {more} more server{'s' if more > 1 else ''} of it"


def _fraction(option: Option) -> str:
    """What part of the card the engine may take, and what that leaves for conversations."""
    part = option.sizing.settings.gpu_memory_fraction
    if part is None:
        return ""
    pool, tokens = option.sizing.memory.devices[0].kv_cache_mib, option.sizing.memory.kv_cache_tokens
    keeps = "" if tokens is None else f", of which {pool} MiB keep {tokens} tokens of conversations"
    return f", {part:.0%} of its memory for the engine{keeps}"


def _users(option: Option, request: Request) -> str:
    settings = option.sizing.settings
    plural = "s" if request.users != 1 else ""
    asked = "as asked" if request.context is not None else "the usual size for a conversation"
    if option.sizing.offer.given_up:
        asked = "; ".join(option.sizing.offer.given_up)
    return (
        f"{settings.slots} slot{'s' if settings.slots != 1 else ''} for {request.users} user{plural}, "
        f"{settings.context} tokens each ({asked}), KV cache {settings.kv_cache_type}"
    )


def _threads(option: Option, host: HostFacts) -> str:
    count = option.sizing.settings.threads
    source = "the cores this process may use" if host.cpu.available_cores else "the physical cores"
    return f"{count} threads: {source if host.cpu.available_cores or host.cpu.cores else 'the cores are unknown'}"
