"""`fit`: what fits on this host, or on the host of a file; touches nothing, downloads no weights."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from deployer import catalog, facts, ledger, models
from deployer.decide.fit import fit_table
from deployer.errors import NoFitError, PreconditionError
from deployer.paths import Home
from deployer.types import HostFacts, Request, VerifiedImage
from deployer.types.fit import FitCell, FitRow, FitTable
from deployer.workflow import planning, wishes
from deployer.workflow.report import Reporter

_Where = tuple[Home, HostFacts, tuple[VerifiedImage, ...], Reporter]


def table(request: Request, home: Home, *, host_file: Path | None = None) -> FitTable:
    """The table. Raises NoFitError when no engine can run the model here at all, whatever the memory."""
    host, verified = _host(request, home, host_file)
    wishes.check(request, knowledge := catalog.load_knowledge())
    observations = () if host_file is not None else ledger.observations(home, host.fingerprint or "")
    return fit_table(
        request,
        host,
        planning.resolve_model(request.model, home),
        knowledge,
        verified=verified,
        observations=observations,
    )


def nothing_fits(found: FitTable) -> NoFitError:
    """The refusal for a table without a single cell that fits; the table is in `details["fit"]`."""
    cells = [(cell.room_mib, row) for row in found.rows for cell in row.cells if cell.room_mib is not None]
    room, row = max(cells, key=lambda item: item[0])
    users = "1 user" if found.users == 1 else f"{found.users} users"
    return NoFitError(
        f"nothing on this host can serve {found.model}; nearest: {row.quantization} on {row.label} with "
        f"{row.engine} lacks {-room} MiB for {users} at {min(found.contexts)} tokens",
        hint="a smaller model or quantization, fewer --users, or free memory",
        details={"rejected": [], "fit": msgspec.to_builtins(found)},
    )


def _host(request: Request, home: Home, host_file: Path | None) -> tuple[HostFacts, tuple[VerifiedImage, ...]]:
    if host_file is not None:
        return facts.load_host_file(host_file), ()
    from deployer.workflow import running

    models.parse_reference(request.model)
    host, name = planning.probe(home), request.name or planning.name_from(request.model)
    host = running.reclaim(host, home, name) if name else host
    return host, planning.verified_here(home, host)


def with_exact(found: FitTable, request: Request, home: Home, report: Reporter) -> FitTable:
    """The same, with the engine's own answer in the asked context's cell of every row whose image is here."""
    here = _host(request, home, None)
    rows = []
    for row in found.rows:
        cell = next(cell for cell in row.cells if cell.context == found.context)
        rows.append(_asked(row, cell, forced(request, row, cell), (home, *here, report)) if cell.fits else row)
    return msgspec.structs.replace(found, rows=tuple(rows))


def _asked(row: FitRow, cell: FitCell, request: Request, where: _Where) -> FitRow:
    from deployer.workflow import exact

    home, host, verified, report = where
    try:
        plan = planning.decide_for(request, home, host, verified=verified, missing=planning.NOTHING_MISSING)
        answered = msgspec.structs.replace(cell, exact=exact.exact(plan, home, report))
    except (NoFitError, PreconditionError) as error:
        return msgspec.structs.replace(row, exact_unavailable=error.message)
    return msgspec.structs.replace(row, cells=tuple(answered if item is cell else item for item in row.cells))


def forced(request: Request, row: FitRow, cell: FitCell) -> Request:
    """The request whose plan is exactly this cell."""
    return msgspec.structs.replace(
        request,
        name=request.name if planning.name_from(request.model) else "model",
        engine=row.engine,
        image=row.image,
        quantization=row.quantization,
        gpus=tuple(device.index for device in row.devices),
        context=cell.context,
        slots=cell.slots,
        kv_type=cell.kv_cache_type,
    )


def differences(found: FitTable) -> Iterator[str]:
    """A line for each component in which the engine's own answer differs; then why other rows have no answer."""
    unasked: dict[str, list[str]] = {}
    for row in found.rows:
        for cell in row.cells:
            shown = () if cell.exact is None else cell.exact.differences
            yield from (f"{row.quantization} on {row.label}: {difference.line}" for difference in shown)
        if row.exact_unavailable is not None:
            unasked.setdefault(row.exact_unavailable, []).append(row.quantization)
    for why, names in unasked.items():
        yield f"{', '.join(dict.fromkeys(names))}: not asked: {why}"
