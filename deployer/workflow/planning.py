"""`probe` and `plan`: read, decide, touch nothing."""

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from deployer import catalog, decide, facts, ledger, models
from deployer.errors import BadInputError, NoFitError
from deployer.paths import Home
from deployer.types import EngineVerdict, HostFacts, ModelSpec, Observation, Plan, Request, Site, VerifiedImage
from deployer.workflow import wishes

FIRST_PORT = 8000
_CONTAINER_UID = 65532


def probe(home: Home) -> HostFacts:
    """Facts of this host, now."""
    return facts.gather(home.state)


def engines(home: Home, host_file: Path | None) -> tuple[EngineVerdict, ...]:
    """Every engine and image against this host, or against the host of a file."""
    host = probe(home) if host_file is None else facts.load_host_file(host_file)
    return decide.report_engines(host, catalog.load_knowledge())


class Missing(msgspec.Struct, frozen=True):
    """What was tried and could not be had: images by profile, and the model hub; each with its reason."""

    images: Mapping[str, str] = {}
    hub: str | None = None

    @property
    def reasons(self) -> dict[str, str]:
        """All reasons by what they are about."""
        return {**self.images, **({"hub": self.hub} if self.hub else {})}


NOTHING_MISSING = Missing()


def plan(
    request: Request,
    home: Home,
    *,
    host_file: Path | None = None,
    missing: Missing = NOTHING_MISSING,
    keep: bool = False,
    share: HostFacts | None = None,
) -> Plan:
    """Decide for this host, or for the host of a file. Raises NoFitError with every reason when nothing fits.

    Where it would fit here if only a container engine could be used, that is a PreconditionError with the repair.

    `keep`: where the running server of this name follows the plan that would be made but for later measurements, it is
    that plan (docs/decisions/0012). `share`: what other deployments leave of this host; None: all that is free now.
    """
    if host_file is not None:
        return decide_for(request, home, facts.load_host_file(host_file), verified=(), missing=missing)
    from deployer.workflow import imported, running

    name = deployment_name(request)
    request = on_free_port(request, home)
    host = running.reclaim(probe(home), home, name) if share is None else share
    verified, known = verified_here(home, host), ledger.observations(home, host.fingerprint or "")

    def decide_with(observations: Sequence[Observation], host: HostFacts = host) -> Plan:
        return decide_for(request, home, host, verified=verified, missing=missing, observations=observations)

    kept = followed(ledger.known_plan(home, name), known, decide_with) if keep else None
    if kept is not None and running.serves(home, kept):
        return kept
    made = _decided(partial(decide_with, known), host)
    return _warned(made, filter(None, [imported.caution(made, home)]))


def _decided(decide_on: Callable[[HostFacts], Plan], host: HostFacts) -> Plan:
    """The plan for this host. Where none fits because a container engine is missing, that is raised."""
    try:
        return decide_on(host)
    except NoFitError as error:
        from deployer.workflow import container_engine  # only for a refusal

        raise container_engine.blamed(error, host, decide_on) from error


def followed(
    serving: Plan | None, known: Sequence[Observation], decide_with: Callable[[Sequence[Observation]], Plan]
) -> Plan | None:
    """The plan with what was known when `serving` was made, if that is what serves and later measurements differ."""
    earlier = tuple(item for item in known if serving is not None and item.serial <= serving.learned)
    if serving is None or len(earlier) == len(known):
        return None
    try:
        before = decide_with(earlier)
    except NoFitError:
        return None
    return before if before.plan_hash == serving.plan_hash else None


def decide_for(
    request: Request,
    home: Home,
    host: HostFacts,
    *,
    verified: Sequence[VerifiedImage],
    missing: Missing,
    observations: Sequence[Observation] = (),
) -> Plan:
    """The decision, from everything that was read. Without the hub only what is on this machine counts."""
    model = _begun(resolve_model(request.model, home), home, host)
    here = tuple(models.without_absent(variant) for variant in model.variants if variant.present)
    knowledge = catalog.load_knowledge()
    wishes.check(request, knowledge)
    if here and (missing.hub is not None or _offline()):
        model = msgspec.structs.replace(model, variants=here)
    made = decide.make_plan(
        request=request,
        host=host,
        model=model,
        knowledge=knowledge,
        verified=verified,
        site=site(request, home, host),
        unavailable=missing.images,
        observations=observations,
    )
    return _warned(made, _cautions(made, request, host))


def _warned(made: Plan, more: Iterable[str]) -> Plan:
    return msgspec.structs.replace(made, warnings=(*made.warnings, *more))


def _begun(model: ModelSpec, home: Home, host: HostFacts) -> ModelSpec:
    """The model with what was fetched of each form before, asked only where the disk may be too small for one."""
    free, whole = host.disk.free_mib, model.parameters * _MOST_BYTES
    if free is None or free > whole >> 20:
        return model
    variants = (
        item
        if item.present
        else msgspec.structs.replace(item, fetched_bytes=whole - models.missing_bytes(item, whole, home.models))
        for item in model.variants
    )
    return msgspec.structs.replace(model, variants=tuple(variants))


_MOST_BYTES = 5
"""For each parameter: 32 bits, and a fifth byte for what lies beside the weights and stays free."""


def _cautions(made: Plan, request: Request, host: HostFacts) -> Iterable[str]:
    """What only this machine's side of the plan can say."""
    if not ipaddress.ip_address(made.address).is_loopback:
        reach = "every machine that reaches it can try keys, without TLS; prefer 127.0.0.1 and ssh -L"
        yield f"published on {made.address}: {reach}"
    if made.runtime == "process" and request.runtime is None and host.container is not None and host.container.error:
        yield f"it runs as a plain process, because no container engine can be used: {host.container.error}"
    if made.store is not None:
        twice = "where Docker keeps its volumes"
        yield f"{made.engine} makes its own copy of the model: {made.model.size_mib} MiB once more, {twice}"
    if (moving := wishes.moving_tag(request)) is not None:
        yield moving


def _offline() -> bool:
    """The hub is forbidden by its own variable (huggingface_hub: `HF_HUB_OFFLINE`)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def resolve_model(text: str, home: Home) -> ModelSpec:
    """What `text` names: a catalog model, a hub repository, a file or a package."""
    return models.resolve(text, catalog.load_models(), home.models)


def verified_here(home: Home, host: HostFacts) -> tuple[VerifiedImage, ...]:
    """Verified images of hosts like this one that are still on this machine, newest first."""
    entries = ledger.for_fingerprint(home, host.fingerprint or "")
    if not entries or host.container is None or host.container.error:
        return ()
    from deployer import images

    present: dict[str, bool] = {}
    for entry in entries:
        if entry.image_id not in present:
            present[entry.image_id] = images.inspect_image(entry.image_id) is not None
    return tuple(entry for entry in entries if present[entry.image_id])


def deployment_name(request: Request) -> str:
    """The deployment's name: as asked, else made from the model's reference. Raises BadInputError."""
    if request.name is not None:
        return ledger.checked_name(request.name)
    if not (slug := name_from(request.model)):
        models.parse_reference(request.model)  # one that names nothing is refused as such
        raise BadInputError(f"no deployment name can be made from {request.model!r}", hint="give one with --name NAME")
    return slug


def name_from(model: str) -> str:
    """A deployment's name from a model's reference; empty where it has no letter or digit that a name can hold."""
    last = re.split(r"[/:]", (catalog_name(model) or model).removesuffix(".gguf"))[-1]
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40].strip("-")


def catalog_name(text: str) -> str | None:
    """The catalog's own name for a model, also when it is asked for by an alias."""
    wanted = text.casefold()
    names = ((model.name, {model.name, *model.aliases}) for model in catalog.load_models())
    return next((name for name, words in names if wanted in {word.casefold() for word in words}), None)


def site(request: Request, home: Home, host: HostFacts) -> Site:
    """This machine's part of a plan."""
    name = deployment_name(request)
    return Site(
        name=name,
        port=request.port or _port(home, name),
        key_file=str(home.secrets / name / "api_key"),
        container_user=_container_user(host),
        scratch=str(home.deployments / name / "process" / "cache"),
    )


def on_free_port(request: Request, home: Home) -> Request:
    """The request with the port that it gets on this machine, where it names none."""
    if request.port is not None:
        return request
    from deployer.workflow import preflight

    port = _port(home, deployment_name(request), lambda port: preflight.is_taken(request.address, port))
    return msgspec.structs.replace(request, port=port)


def _port(home: Home, name: str, in_use: Callable[[int], bool] = lambda _: False) -> int:
    """The port this deployment had before, else the first that no other deployment of ours has, and nobody else."""
    ports = {release_name: ledger.known_plan(home, release_name) for release_name in ledger.deployments(home)}
    if (own := ports.get(name)) is not None:
        return own.port
    return first_free((other.port for other in ports.values() if other is not None), in_use)


def first_free(taken: Iterable[int], in_use: Callable[[int], bool] = lambda _: False) -> int:
    """The first port from FIRST_PORT on that is not taken, and not in use."""
    used = set(taken)
    return next(port for port in range(FIRST_PORT, 65536) if port not in used and not in_use(port))


def _container_user(host: HostFacts) -> str:
    if host.container is not None and host.container.rootless:
        return "0:0"  # root of a rootless engine is the user who runs it
    if os.geteuid() == 0:
        return f"{_CONTAINER_UID}:{_CONTAINER_UID}"
    return f"{os.geteuid()}:{os.getegid()}"
