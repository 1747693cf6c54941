"""Consistency of the tables that types cannot say. Functions return `(path in the file, what is wrong)` pairs."""

import re
from collections.abc import Collection, Iterator, Sequence

from deployer.catalog.pattern import CAPABILITY, GFX, RELEASE, Problem, blanks, numbers, repeated
from deployer.types import Advisory, CatalogModel, GpuModel, Monitoring, Quantization
from deployer.types.deployments import GatewayProfile

_PINNED = re.compile(r"[a-z0-9.-]+(/[a-z0-9._-]+)+:v?\d[A-Za-z0-9._-]*")
_ADVISORY = re.compile(r"^(CVE-\d{4}-\d{4,}|PYSEC-\d{4}-\d+|GHSA(-[0-9a-z]{4}){3})$")


def gpu_problems(gpus: Sequence[GpuModel]) -> Iterator[Problem]:
    """Problems of the GPU table: every name and alias is of one GPU only."""
    seen: dict[str, str] = {}
    for index, gpu in enumerate(gpus):
        for name in {gpu.name, *gpu.aliases}:
            if (other := seen.setdefault(name.casefold(), gpu.name)) != gpu.name:
                yield str(index), f"{name!r} is also a name of {other!r}"
        if gpu.compute_capability is not None and not CAPABILITY.match(gpu.compute_capability):
            yield f"{index}/compute_capability", f"not a compute capability: {gpu.compute_capability!r}"
        if gpu.gfx is not None and not GFX.match(gpu.gfx):
            yield f"{index}/gfx", f"not a target such as gfx1100: {gpu.gfx!r}"
        if gpu.memory_mib <= 0 or gpu.bandwidth_gb_s <= 0:
            yield str(index), "memory and bandwidth are above zero"
    yield from repeated("", "name", [gpu.name for gpu in gpus])


def quantization_problems(quantizations: Sequence[Quantization]) -> Iterator[Problem]:
    """Problems of the quantization table."""
    yield from repeated("", "name", [f"{entry.name} ({entry.format})" for entry in quantizations])
    for index, entry in enumerate(quantizations):
        if not 0 <= entry.quality <= 1:
            yield f"{index}/quality", f"not between 0 and 1: {entry.quality}"
        if not 0 < entry.bits_per_weight <= 32:  # noqa: PLR2004 - F32
            yield f"{index}/bits_per_weight", f"not between 0 and 32: {entry.bits_per_weight}"


def model_problems(models: Sequence[CatalogModel]) -> Iterator[Problem]:
    """Problems of one file of the model catalog."""
    for index, model in enumerate(models):
        if not model.variants:
            yield f"{index}/variants", "empty"
        if model.architecture.heads % max(model.architecture.kv_heads, 1):
            yield f"{index}/architecture/kv_heads", "does not divide heads"
        for place, variant in enumerate(model.variants):
            if not variant.files:
                yield f"{index}/variants/{place}/files", "empty"


def advisory_problems(advisories: Sequence[Advisory], known: Collection[str]) -> Iterator[Problem]:
    """Problems of the advisories. `known` are engines and components; one id may have several ranges."""
    yield from repeated("", "id", [f"{item.id} ({item.engine}, from {item.introduced})" for item in advisories])
    for index, item in enumerate(advisories):
        yield from blanks(str(index), {"summary": item.summary, "source": item.source})
        if not _ADVISORY.match(item.id):
            yield f"{index}/id", f"not an id such as CVE-2026-12345, PYSEC-… or GHSA-…: {item.id!r}"
        if item.engine not in known:
            yield f"{index}/engine", f"{item.engine!r} is not known; known: {', '.join(sorted(known))}"
        for key in ("introduced", "fixed"):
            version = getattr(item, key)
            if version is not None and not RELEASE.match(version):
                yield f"{index}/{key}", f"not a version such as 0.20.0 or b11434: {version!r}"
        if item.introduced and item.fixed and numbers(item.introduced) >= numbers(item.fixed):
            yield f"{index}/fixed", "not after introduced"
        if item.introduced is None and item.fixed is None:
            yield str(index), "neither introduced nor fixed"


def gateway_problems(gateway: GatewayProfile) -> Iterator[Problem]:
    """Problems of the gateway's image: its tag is the version that its configuration is written for."""
    yield from blanks("", {"source": gateway.source})
    if not _PINNED.fullmatch(gateway.image) or not gateway.image.endswith(f":{gateway.version}"):
        yield "image", f"not an image whose tag is its version, {gateway.version}: {gateway.image!r}"
    if gateway.digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", gateway.digest):
        yield "digest", f"not a digest: {gateway.digest!r}"


def monitoring_problems(monitoring: Monitoring) -> Iterator[Problem]:
    """Problems of the images that watch a deployment: each has a version as its tag."""
    for name in ("prometheus", "grafana"):
        image = getattr(monitoring, name)
        yield from blanks(name, {"license": image.license, "source": image.source})
        if not _PINNED.fullmatch(image.reference) or not image.reference.endswith(image.version):
            yield f"{name}/reference", f"not an image whose tag is its version, {image.version}: {image.reference!r}"
