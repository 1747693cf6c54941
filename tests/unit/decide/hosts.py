"""Hosts, models and requests for the decision, from the real profiles."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from deployer import catalog
from deployer.decide import make_plan
from deployer.paths import data_dir
from deployer.types import (
    Check,
    ContainerFacts,
    CpuFacts,
    Gpu,
    HealthReport,
    HostFacts,
    Knowledge,
    MemoryFacts,
    ModelSpec,
    ModelVariant,
    NvidiaFacts,
    Plan,
    Rejection,
    Request,
    Site,
    VerifiedImage,
)

SITE = Site(name="demo", port=8000, key_file="/var/lib/deployer/secrets/demo/api_key")
STORE = "/var/lib/deployer/models"
DOCKER = ContainerFacts(
    engine="docker", version="28.5.1", compose="2.40.2", nvidia_toolkit="1.18.0", nvidia_runtime=True, cdi=()
)


@functools.cache
def knowledge() -> Knowledge:
    return catalog.load_knowledge()


@functools.cache
def sample(name: str) -> HostFacts:
    return msgspec.json.decode((data_dir("profiles") / "hosts" / f"{name}.json").read_bytes(), type=HostFacts)


def sample_names() -> list[str]:
    return sorted(path.stem for path in (data_dir("profiles") / "hosts").glob("*.json"))


@functools.cache
def model(name: str, *, present: bool | None = None) -> ModelSpec:
    found = next(entry for entry in catalog.load_models() if entry.name == name)
    return ModelSpec(
        name=found.name,
        title=found.title,
        architecture=found.architecture,
        parameters=found.parameters,
        gated=found.gated,
        embedding=found.embedding,
        reranker=found.reranker,
        variants=tuple(
            ModelVariant(
                format=variant.format,
                quantization=variant.quantization,
                source=variant.source,
                files=variant.files,
                size_bytes=variant.size_bytes,
                path=str(Path(STORE) / (variant.files[0] if variant.format == "gguf" else f"{name}-{variant.format}")),
                present=present,
            )
            for variant in found.variants
        ),
    )


FORMS = (("safetensors", "BF16"), ("awq", "AWQ"), ("gptq", "GPTQ"), ("fp8", "FP8"))


@functools.cache
def every_form(name: str) -> ModelSpec:
    """The catalog's model, with a form for every engine."""
    found = model(name)
    have = {variant.format for variant in found.variants}
    more = [
        {"format": form, "quantization": quantization, "source": "hf:a/b", "files": ["x"], "path": f"{STORE}/x"}
        for form, quantization in FORMS
        if form not in have
    ]
    return msgspec.structs.replace(found, variants=(*found.variants, *msgspec.convert(more, tuple[ModelVariant, ...])))


def gpu(index: int, name: str, capability: str | None, total: int | None, **rest: object) -> Gpu:
    facts: dict[str, object] = {
        "vendor": "nvidia",
        "uuid": f"GPU-{index:08d}-0000-4000-8000-000000000000",
        "compute_capability": capability,
        "memory_total_mib": total,
        "memory_free_mib": total - 300 if total else None,
    }
    return msgspec.convert({"index": index, "name": name, **facts, **rest}, type=Gpu)


def host(*gpus: Gpu, driver: str | None = "580.95.05", ram_mib: int = 64000, cores: int = 16) -> HostFacts:
    return HostFacts(
        fingerprint="0123456789ab",
        cpu=CpuFacts(architecture="x86_64", cores=cores, available_cores=cores, flags=("avx", "avx2")),
        memory=MemoryFacts(total_mib=ram_mib + 2000, available_mib=ram_mib),
        nvidia=NvidiaFacts(driver=driver) if gpus else None,
        gpus=tuple(gpus),
        container=DOCKER,
        programs={},
    )


def plan(
    where: HostFacts,
    what: ModelSpec | str = "qwen2.5-7b-instruct",
    *,
    verified: Sequence[VerifiedImage] = (),
    unavailable: dict[str, str] | None = None,
    known: Knowledge | None = None,
    asked: Mapping[str, object] | None = None,
    **words: object,
) -> Plan:
    """A plan; `asked` and `words` are words of the request."""
    spec = model(what) if isinstance(what, str) else what
    request = msgspec.convert({"model": spec.name, **(asked or {}), **words}, type=Request)
    return make_plan(
        request, where, spec, known or knowledge(), verified=verified, site=SITE, unavailable=unavailable or {}
    )


def refusal(found: Sequence[Rejection], image: str) -> Rejection:
    return next(item for item in found if item.image == image)


def verified(profile: str, recipe: str, *, at: str = "2026-11-01T10:00:00Z", version: str = "b11000") -> VerifiedImage:
    return VerifiedImage(
        engine="llama.cpp",
        engine_version=version,
        profile=profile,
        recipe=recipe,
        reference=f"deployer/llama.cpp:{profile}",
        image_id="sha256:" + "ab" * 32,
        digest=None,
        fingerprint="0123456789ab",
        model="demo",
        quantization="Q4_K_M",
        deployment="demo",
        release=3,
        verified_at=at,
        evidence=HealthReport(
            ready_after_s=2.0, checks=(Check(name="answer", passed=True, detail="Paris", seconds=1.0),)
        ),
    )
