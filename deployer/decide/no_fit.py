"""When nothing can run: the nearest miss first, and every reason."""

import shlex
from collections.abc import Mapping, Sequence

import msgspec

from deployer.decide.candidates import describe
from deployer.decide.choose import ANY_IMAGE, Considered, NearMiss
from deployer.decide.rules import DEVICE_RULES, DISK_RULE
from deployer.errors import NoFitError
from deployer.types import ModelSpec, Rejection, Request


def no_fit(
    request: Request,
    model: ModelSpec,
    considered: Considered,
    would_fit: Mapping[str, object] | None = None,
    together: Mapping[str, object] | None = None,
) -> NoFitError:
    """The refusal: the nearest miss first, every reason in `details`.

    `would_fit`: by setting, the nearest value that would do alone; `together`: values that would do (ways_out.py).
    """
    rejected = [msgspec.to_builtins(item) for item in considered.rejected]
    details: dict[str, object] = {"rejected": rejected, "warnings": list(considered.warnings)}
    details |= {"would_fit": dict(would_fit or {}), "would_fit_together": dict(together or {})}
    near = _nearest(considered)
    if near is not None:
        candidate = near.candidate
        return NoFitError(
            f"nothing on this host can serve {model.name}; nearest: {candidate.engine.engine} {candidate.image.id} on "
            f"{describe(candidate.devices)}: {near.reason}",
            hint=_memory_hint(request, would_fit or {}, together or {}),
            details=details,
        )
    if not considered.rejected:
        return NoFitError(
            f"nothing can serve {model.name}: no engine is known",
            hint=f"deployer plan {model.name} --explain",
            details=details,
        )
    first = _most_fixable(model, considered.rejected)
    which = first.image if first.image != ANY_IMAGE else first.quantization
    where = f"{first.engine} {which}" if which else first.engine
    return NoFitError(
        f"nothing on this host can serve {model.name}; nearest: {where}: {first.reason}",
        hint=f"every reason: deployer plan {model.name} --explain",
        details=details,
    )


def _most_fixable(model: ModelSpec, rejected: Sequence[Rejection]) -> Rejection:
    """What a person can most easily do something about; first what refuses every form of the model everywhere."""
    wide = [item for item in rejected if item.image == ANY_IMAGE]
    hopeless = {
        engine
        for engine in {item.engine for item in wide}
        for found in ([item.quantization for item in wide if item.engine == engine],)
        if None in found or len(found) >= len(model.variants)
    }
    others = [item for item in rejected if item.engine not in hopeless and item.image != ANY_IMAGE]
    further = {item.engine for item in others if item.rule in _LATE}
    nearer = [item for item in others if item.engine not in further or item.rule not in _ABOUT_DEVICES]
    found = min(nearer or wide, key=_how_fixable)
    if found.rule != DISK_RULE:
        return found
    return [item for item in rejected if (item.rule, item.engine) == (DISK_RULE, found.engine)][-1]


_ABOUT_DEVICES = tuple(rule.name for rule in DEVICE_RULES)
_LATE = ("mig", "split", "tensor-parallel", "quantization-support")
"""Where another image of an engine came so far, the hardware of the host is not what is in its way."""


def _how_fixable(item: Rejection) -> int:
    if item.rule in _FIXABLE:
        return _FIXABLE.index(item.rule)
    return len(_FIXABLE) + (item.rule in _CHOSEN) + (item.rule == "forced")


_FIXABLE = (
    "container-gpu-injection",
    "runtime",
    "ptx-driver",
    "driver",
    "last-driver",
    "model-source",
    "disk",
    "image-unavailable",
    "context",
    "workload",
    "tensor-parallel",
    "mig",
    "quantization-support",
    "compute-capability",
    "jetson",
    "security",
)
"""Rules by how easily a person can do something about them; the first is the nearest miss."""


_CHOSEN = ("forced", "format", "quantization", "legacy", "container-first", "vendor")
"""Rules that say only that something else was asked for, or that an engine is for other files."""


def _nearest(considered: Considered) -> NearMiss | None:
    """The candidate that lacks the least memory; the first of equal ones."""
    return min(considered.near, key=lambda item: item.shortage.missing_mib, default=None)


def _memory_hint(request: Request, would_fit: Mapping[str, object], together: Mapping[str, object]) -> str:
    table = f"the table of what fits: deployer fit {shlex.quote(request.model)}"
    if would_fit:
        any_one = " or ".join(_flags(would_fit))
        return f"{'any one of these' if len(would_fit) > 1 else 'this'} would fit: {any_one}; {table}"
    if together:
        return f"no single change is enough; these together would fit: {' '.join(_flags(together))}; {table}"
    ways = ["a smaller model or quantization"]
    if request.context is not None:
        ways.append(f"--context below {request.context}")
    if request.users > 1:
        ways.append(f"fewer than {request.users} --users")
    return "try " + ", ".join(ways) + f"; {table}"


_FLAGS = {"context": "context", "quantization": "quant", "gpus": "gpus", "kv_type": "kv-type", "slots": "slots"}


def _flags(found: Mapping[str, object]) -> list[str]:
    return [f"--{_FLAGS[name]} {_typed(value)}" for name, value in found.items()]


def _typed(value: object) -> str:
    if isinstance(value, list):
        return ",".join(str(index) for index in value) or "none"
    return str(value)
