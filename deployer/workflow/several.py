"""`plan|render -f deployer.yaml`: several deployments of one host as one decision."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from deployer import catalog, decide, facts, ledger
from deployer.catalog.deployments import load_deployments, place
from deployer.errors import BadInputError
from deployer.paths import Home
from deployer.render.gateway import render_gateway
from deployer.types import HostFacts, Plan, Request
from deployer.types.deployments import DeploymentsFile, Setting
from deployer.types.several import GatewayPlan, SeveralPlans
from deployer.workflow import configuration, gateway, misplaced, planning, preflight, rendering, running
from deployer.workflow.gateway_record import NAME as GATEWAY
from deployer.workflow.gateway_record import known as known_gateway
from deployer.workflow.rendering import Agree, Written
from deployer.workflow.sharing import Arrangement, Wanted, arrange


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a `deployer.yaml` and the command line ask for together; requests by name, in the file's order.

    `only`: the deployments that are meant; all are decided; empty: all. `above`: words that flags or the environment
    say in the file's place.
    """

    file: DeploymentsFile
    requests: dict[str, Request]
    path: Path | None = None
    gateway_port: int = 0
    only: frozenset[str] = frozenset()
    above: frozenset[str] = frozenset()

    @property
    def meant(self) -> tuple[str, ...]:
        """Names that the verb is about, in the file's order."""
        return tuple(name for name in self.requests if not self.only or name in self.only)


def read(path: Path, home: Home, given: Mapping[str, Any], only: Collection[str] = (), *, look: bool = False) -> Wish:
    """Read a file and settle every word (see configuration). Ports are distinct, and those that were used before stay.

    `look`: a port that is found for one is not in use on this machine now. Raises ProfileError and BadInputError with
    file and line.
    """
    file = load_deployments(path)
    settings = configuration.said(home)
    above = configuration.words_above(settings, given)
    requests = _requests(file, settings, given, path.parent, above)
    if unknown := sorted(set(only) - set(requests)):
        known = ", ".join(requests)
        raise BadInputError(f"{path} declares no deployment {unknown[0]!r}", hint=f"deployments: {known}")
    _check_gateway_image(file)
    in_use = partial(_in_use, file, requests) if look else _by_nobody
    ports = with_ports(file, {name: item.port for name, item in requests.items()}, home, in_use)
    return Wish(
        file=file,
        path=path,
        requests={name: msgspec.structs.replace(item, port=ports[name]) for name, item in requests.items()},
        gateway_port=ports.get(GATEWAY, 0),
        only=frozenset(only),
        above=above,
    )


def _in_use(file: DeploymentsFile, requests: Mapping[str, Request], name: str, port: int) -> bool:
    """Whether somebody has a port where the one of this name would listen."""
    return preflight.is_taken(gateway_address(file) if name == GATEWAY else requests[name].address, port)


def _by_nobody(_name: str, _port: int) -> bool:
    return False


def gateway_address(file: DeploymentsFile) -> str:
    """Where the gateway of a file listens."""
    return (file.gateway and file.gateway.address) or gateway.LOOPBACK


def _check_gateway_image(file: DeploymentsFile) -> None:
    if file.gateway is None or file.gateway.image is None:
        return
    from deployer.images import parse_reference

    try:
        parse_reference(file.gateway.image)
    except BadInputError as error:
        raise BadInputError(f"{place(file, 'gateway', 'image')}: {error.message}", hint=error.hint) from error


def _requests(
    file: DeploymentsFile,
    settings: Mapping[str, Setting],
    given: Mapping[str, Any],
    base: Path,
    above_file: Collection[str],
) -> dict[str, Request]:
    """Every word by its layer: flags, the environment, the deployment itself, the file's defaults, user and system."""
    above = configuration.wishes_of(settings, ["environment"])
    below = configuration.wishes_of(settings, ["user", "system"])
    found = {}
    for name, declared in file.deployments.items():
        _check_name(file, name)
        layers = (above, declared, file.defaults, below)
        with misplaced.told(file, above_file, name):
            found[name] = configuration.request(name, declared, layers, given=given, base=base)
    return found


def plan(wish: Wish, home: Home, *, host_file: Path | None = None) -> SeveralPlans:
    """Decide all, show those that are meant. Raises NoFitError naming the one that does not fit beside the others."""
    host = facts.load_host_file(host_file) if host_file else seen(wish.requests, home)
    _, plans = arranged(wish, home, host, deciding(home, here=host_file is None))
    return document(wish, host, plans, home)


def deciding(home: Home, *, here: bool = True) -> Callable[[Request, HostFacts], Plan]:
    """How one request is decided for what is left of a host: this one (`here`), or that of a file."""

    def decide_here(request: Request, share: HostFacts) -> Plan:
        return planning.plan(request, home, share=share, keep=True)

    def decide_there(request: Request, share: HostFacts) -> Plan:
        return planning.decide_for(request, home, share, verified=(), missing=planning.NOTHING_MISSING)

    return decide_here if here else decide_there


def arranged(
    wish: Wish, home: Home, host: HostFacts, decide_one: Callable[[Request, HostFacts], Plan]
) -> tuple[Arrangement, tuple[Plan, ...]]:
    """How the deployments share the host, and their plans in the order of deciding."""
    wanted = [
        Wanted(name, request, _parameters(wish.file, name, request, home)) for name, request in wish.requests.items()
    ]
    with misplaced.told(wish.file, wish.above):
        return arrange(wanted, host, decide_one)


def _parameters(file: DeploymentsFile, name: str, request: Request, home: Home) -> int:
    """The model's size; an error of its name tells where it stands."""
    try:
        return planning.resolve_model(request.model, home).parameters
    except BadInputError as error:
        where = place(file, "deployments", name, "model")
        raise type(error)(f"{where}: {error.message}", hint=error.hint, details=error.details) from error


def seen(names: Iterable[str], home: Home) -> HostFacts:
    """This host as it will be when the servers of these deployments have been stopped for their successors."""
    host = planning.probe(home)
    for name in names:
        host = running.reclaim(host, home, name)
    return host


def document(wish: Wish, host: HostFacts, found: Sequence[Plan], home: Home) -> SeveralPlans:
    """The document of `plan -f`: devices count all deployments of the file, also those that were not asked about."""
    by_name = {item.name: item for item in found}
    plans = [by_name[name] for name in wish.requests]
    whole, _ = decide.complete(host, catalog.load_knowledge().gpus)
    return SeveralPlans(
        deployments=tuple(by_name[name] for name in wish.meant),
        devices=decide.device_shares(whole, plans),
        gateway=gateway_of(wish, plans, home),
        warnings=tuple(_cautions(plans, host)),
    )


def gateway_of(wish: Wish, plans: Sequence[Plan], home: Home) -> GatewayPlan | None:
    """The gateway that the file asks for, before all its deployments; None where it asks for none."""
    asked = wish.file.gateway
    return None if asked is None else gateway.plan(asked, plans, home, wish.gateway_port, wish.path)


def render(
    wish: Wish, home: Home, directory: Path | None, *, host_file: Path | None, agree: Agree | None = None
) -> Written:
    """Write the files of each deployment into a folder of its name, and those of the gateway; as `rendering.fill`."""
    base = directory or Path()
    made = plan(wish, home, host_file=host_file)
    written = Written()
    for item in made.deployments:
        written += rendering.render_to(item, home, base / item.name, host_file=host_file, agree=agree)
    if made.gateway is not None:
        written += rendering.fill(base / GATEWAY, GATEWAY, render_gateway(made.gateway, "").files, agree)
    return written


def with_ports(
    file: DeploymentsFile,
    asked: Mapping[str, int | None],
    home: Home,
    in_use: Callable[[str, int], bool] = _by_nobody,
) -> dict[str, int]:
    """A port for each, the gateway too: as asked, else its own from before, else the first that none of ours has.

    `in_use`: whether somebody else has a port, where the one of that name would listen.
    """
    known = {name: found.port for name in ledger.deployments(home) if (found := ledger.known_plan(home, name))}
    wanted = dict(asked)
    if file.gateway is not None:
        _refuse_taken_name(file, home)
        before = known_gateway(home)
        known |= {} if before is None else {GATEWAY: before.port}
        wanted[GATEWAY] = file.gateway.port
    ports: dict[str, int] = {}
    for name, port in wanted.items():
        if port is not None:
            _claim(file, ports, name, port)
    for name in [name for name in wanted if name not in ports and name in known]:
        if known[name] not in ports.values():
            ports[name] = known[name]
    for name in [name for name in wanted if name not in ports]:
        ports[name] = planning.first_free({*known.values(), *ports.values()}, partial(in_use, name))
    return ports


def _refuse_taken_name(file: DeploymentsFile, home: Home) -> None:
    if GATEWAY in file.deployments:
        where = f"{file.label}:{file.lines[GATEWAY]}"
        raise BadInputError(f"{where}: {GATEWAY!r} is the gateway's own name here", hint="choose another name")
    if GATEWAY in ledger.deployments(home) or ledger.adopted(home, GATEWAY) is not None:
        raise BadInputError(
            f"{file.label}: a deployment has the gateway's own name, {GATEWAY!r}",
            hint=f"deployer down {GATEWAY}, then move {home.deployments / GATEWAY} away; or no gateway in the file",
        )


def _claim(file: DeploymentsFile, ports: dict[str, int], name: str, port: int) -> None:
    other = next((owner for owner, taken in ports.items() if taken == port), None)
    if other is not None:
        where = f"{file.label}:{file.lines.get(name, 1)}"
        raise BadInputError(f"{where}: {name} and {other} both ask for port {port}", hint="leave one of them out")
    ports[name] = port


def _check_name(file: DeploymentsFile, name: str) -> None:
    try:
        ledger.checked_name(name)
    except BadInputError as error:
        raise BadInputError(f"{file.label}:{file.lines[name]}: {error.message}", hint=error.hint) from error


def _cautions(plans: Sequence[Plan], host: HostFacts) -> Iterable[str]:
    """What only all plans together show."""
    on_cores = [item.name for item in plans if not item.devices]
    if len(on_cores) > 1:
        cores = host.cpu.available_cores or host.cpu.cores
        names = f"{', '.join(on_cores[:-1])} and {on_cores[-1]}"
        yield f"{names} share {cores or 'the'} cores: each is planned as if it had them to itself"
