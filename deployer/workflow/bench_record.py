"""The record of a run: of what it is, besides the figures."""

import secrets
import socket
import time
from pathlib import Path

import msgspec

from deployer import __version__, bench, ledger
from deployer.errors import BadInputError, DeployerError
from deployer.types import Plan
from deployer.types.benchmark import BenchError, BenchImage, BenchLoad, BenchModel, BenchRun, Slo, Suite
from deployer.workflow.bench_subject import Subject
from deployer.workflow.model_hash import hashes

UNKNOWN_USERS = 8
_FEWEST_USERS = 4
_BEYOND = 2
"""Twice as many users as the server has slots show where more of them bring nothing."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; `users` None: by the server's slots."""

    suites: tuple[Suite, ...]
    seconds: float
    slo: Slo
    users: int | None = None
    input_tokens: int = 128
    output_tokens: int = 64
    prompt_output_tokens: int = 16


def load(found: Subject, wish: Wish) -> BenchLoad:
    """The wish for this server. Raises BadInputError for what does not fit in its context."""
    _refuse_too_long(wish, found.target.context)
    slots = None if found.plan is None else found.plan.settings.slots
    users = UNKNOWN_USERS if slots is None else max(_BEYOND * slots, _FEWEST_USERS)
    return BenchLoad(
        suites=wish.suites,
        seconds=wish.seconds,
        input_tokens=wish.input_tokens,
        output_tokens=wish.output_tokens,
        prompt_output_tokens=wish.prompt_output_tokens,
        batch_at_once=wish.users or slots or UNKNOWN_USERS,
        users=wish.users or users,
        slo=wish.slo,
        seed=secrets.randbits(31),
        context=found.target.context,
    )


def _refuse_too_long(wish: Wish, context: int | None) -> None:
    asked, answered = wish.input_tokens, wish.output_tokens
    if context is not None and asked + answered > context:
        raise BadInputError(
            f"{asked} tokens of prompt and {answered} of answer do not fit in its context of {context} tokens",
            hint="deployer bench --input-tokens N --output-tokens N",
        )


def record(found: Subject, asked: BenchLoad) -> BenchRun:
    """All that is known before the first request; of our own servers also image, hashes, settings and devices."""
    now = time.gmtime()
    run = BenchRun(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{secrets.token_hex(4)}",
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
        deployer=__version__,
        definitions_version=bench.VERSION,
        definitions=bench.DEFINITIONS,
        whose=found.whose,
        name=found.target.name,
        base_url=found.target.base_url,
        client=socket.gethostname(),
        engine=found.engine,
        model=BenchModel(name=found.model),
        load=asked,
        complete=False,
        took_s=0.0,
    )
    return run if found.plan is None else _planned(run, found, found.plan)


def _planned(run: BenchRun, found: Subject, plan: Plan) -> BenchRun:
    """What the plan of the running release says."""
    release = ledger.current(found.home, plan.name)
    image = plan.image
    return msgspec.structs.replace(
        run,
        engine_version=plan.engine_version,
        image=BenchImage(
            profile=image.profile,
            reference=image.reference,
            digest=image.digest,
            id=image.image_id or (None if release is None else release.image),
        ),
        model=_model(found, plan),
        devices=tuple(device.name or f"GPU {device.index}" for device in plan.devices) or ("CPU",),
        settings=plan.settings,
        release=None if release is None else release.number,
        host_fingerprint=plan.host_fingerprint,
    )


def _model(found: Subject, plan: Plan) -> BenchModel:
    model = plan.model
    return BenchModel(
        name=model.name,
        ref=model.ref,
        revision=model.revision,
        format=model.format,
        quantization=model.quantization,
        sha256=hashes(Path(model.path), found.home.models),
    )


def ended(
    run: BenchRun, measured: bench.Measured, asked: BenchLoad, *, took_s: float, error: DeployerError | None
) -> BenchRun:
    """The record with everything that was measured."""
    return msgspec.structs.replace(
        run,
        load=asked,
        complete=error is None,
        took_s=round(took_s, 1),
        first_request=measured.first,
        results=measured.results,
        marks=(*run.marks, *measured.marks(asked)),
        error=None if error is None else BenchError(kind=error.kind, message=error.message, hint=error.hint),
    )
