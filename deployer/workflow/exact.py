"""Exact memory: the engine build that a plan would start says what it would take, from the model's header alone.

The header goes into a sparse file of the model's full length (from the hub by range: no weights are downloaded), the
engine's own program looks at it in a shut container, and its answer stands beside our estimate.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer import catalog, images, models
from deployer.errors import PreconditionError
from deployer.execution import Completed, run
from deployer.images.ask import NoSuchProgramError, Question, ask_image
from deployer.models.skeleton import Skeleton, write_narrow
from deployer.paths import Home
from deployer.render.compose import image_name
from deployer.render.devices import device_access
from deployer.types import ExactMemory, ExactTool, ModelVariant, Plan
from deployer.workflow.exact_answer import Answer, differences, named, of_copies, one_copy, passed, read
from deployer.workflow.report import Reporter, timed

TIMEOUT_S = 120.0
_MODELS = "/models"
_RECIPE = "io.deployer.recipe"
_NO_PROGRAM = 127
_NO_OTHER = "the estimate is all there is: leave --exact out"


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask: a program of an image that is here (its id), or of this host (None)."""

    tool: ExactTool
    image: str | None


def availability(plan: Plan) -> str | None:
    """Why `exact` cannot be asked about this plan, in one sentence; None: it can. Looks at this machine only."""
    try:
        _asked(plan)
    except PreconditionError as error:
        return error.message
    return None


def exact(plan: Plan, home: Home, report: Reporter) -> ExactMemory:
    """What the engine itself plans for this plan's model, devices and settings, and how far the estimate is from it.

    Nothing is downloaded but the model's header, and no server is started. Raises PreconditionError (no image here, no
    such program in it, no space for a sparse file), HubError, ModelFileError.
    """
    asked, begin, whole = _asked(plan), time.monotonic(), plan
    plan = one_copy(plan)
    home.state.mkdir(parents=True, exist_ok=True)
    with (
        timed(report, f"ask {plan.engine} what it takes") as outcome,
        tempfile.TemporaryDirectory(prefix="exact-", dir=home.state) as folder,
    ):
        skeleton = _skeleton(plan, home, Path(folder))
        tool, found = _ask(asked, plan, skeleton.paths)
        compute = _compute(asked, plan, skeleton, found)
        outcome(f"{tool} answered for {len(found)} devices")
    devices = of_copies(whole, named(plan, asked.tool, found, compute or found))
    return ExactMemory(
        devices=devices,
        differences=tuple(differences(whole, devices)),
        tool=tool,
        image=asked.image,
        seconds=round(time.monotonic() - begin, 3),
        compute_is_bound=compute is None,
    )


def _asked(plan: Plan) -> _Asked:
    tool = catalog.load_engine(plan.engine).exact
    if tool is None:
        raise PreconditionError(
            f"{plan.engine} has no program that says what it takes before it starts",
            hint=_NO_OTHER,
        )
    if (reason := tool.without.get(plan.image.profile)) is not None:
        raise PreconditionError(f"image {plan.image.profile} cannot be asked: {reason}", hint=_other_image(tool))
    return _Asked(tool=tool, image=None if plan.image.source == "none" else _image_here(plan))


def _image_here(plan: Plan) -> str:
    """Id of the image that the plan would start. Raises PreconditionError when it is not on this machine."""
    name = plan.image.image_id or image_name(plan)
    found = images.inspect_image(name)
    get = "build" if plan.image.source == "build" else "pull"
    if found is None:
        raise PreconditionError(
            f"image {plan.image.profile} ({name}) is not on this machine, so it cannot be asked",
            hint=f"`deployer up` will {get} it; until then the estimate is all there is",
        )
    if plan.image.image_id is None and plan.image.source == "build" and found.labels.get(_RECIPE) != plan.image.recipe:
        raise PreconditionError(
            f"image {name} on this machine was built from another recipe than the plan's",
            hint="`deployer up` builds it again",
        )
    return found.id


def _skeleton(plan: Plan, home: Home, folder: Path) -> Skeleton:
    variant = ModelVariant(
        format=plan.model.format,
        quantization=plan.model.quantization,
        source=plan.model.ref,
        files=plan.model.files,
    )
    try:
        return models.write_header(variant, home.models, folder)
    except OSError as error:
        raise PreconditionError(
            f"{folder.parent}: a sparse file as long as the model cannot be written: {error.strerror}",
            hint="move the state with DEPLOYER_HOME to a file system with sparse files, such as ext4 or xfs",
        ) from error


def _compute(asked: _Asked, plan: Plan, skeleton: Skeleton, found: Answer) -> Answer | None:
    """Answers with the server's own compute buffers; None where only those for every output can be had.

    With `rows` words the program reserves as many logits for a micro-batch as the server does for its slots.
    """
    if not asked.tool.every_output or plan.request.workload == "embedding":
        return found
    settings = plan.settings
    tokens = min(settings.micro_batch, settings.batch, settings.context * settings.slots)
    rows = -(-skeleton.vocabulary * settings.slots // max(tokens, 1))
    if not 0 < rows < skeleton.vocabulary:
        return found
    path = skeleton.paths[0].with_name("narrow.gguf")
    write_narrow(skeleton, rows, path)
    try:
        return _ask(asked, plan, (path,))[1]
    except PreconditionError:
        return None  # an architecture that cannot be loaded without its words


def _ask(asked: _Asked, plan: Plan, paths: Sequence[Path]) -> tuple[str, Answer]:
    """The program that answered, and its answer for each device by its own name. Raises PreconditionError."""
    for words in asked.tool.programs:
        program = words[0]
        try:
            found = _run(asked, plan, words, paths)
        except NoSuchProgramError:
            continue
        if found.returncode == _NO_PROGRAM and asked.image is None:
            continue
        answer = read(asked.tool, found)
        if not answer:
            raise _unanswered(program, found)
        return " ".join(words), answer
    tried = " nor ".join(words[0] for words in asked.tool.programs)
    where = f"image {plan.image.profile}" if asked.image is not None else "this host's PATH"
    raise PreconditionError(f"{where} has neither {tried}", hint=_other_image(asked.tool))


def _run(asked: _Asked, plan: Plan, words: Sequence[str], paths: Sequence[Path]) -> Completed:
    folder = plan.command[0].rpartition("/")[0]
    program = f"{folder}/{words[0]}" if folder else words[0]
    inside = {f"{_MODELS}/{path.name}": path for path in paths}
    first = str(paths[0]) if asked.image is None else next(iter(inside))
    argv = (program, *words[1:], asked.tool.model_flag, first, *passed(plan.command, asked.tool), *asked.tool.args)
    if asked.image is None:
        return run(argv, timeout_s=TIMEOUT_S, env=plan.environment)
    access = device_access(plan)
    question = Question(
        image=asked.image,
        argv=argv,
        files=inside,
        user=plan.container_user,
        environment={**access.environment, **plan.environment},
        nvidia_ids=access.nvidia_ids,
        device_paths=access.paths,
        groups=access.groups,
    )
    return ask_image(question, timeout_s=TIMEOUT_S)


def _unanswered(program: str, found: Completed) -> PreconditionError:
    lines = [line.strip() for line in found.stderr.splitlines() if line.strip()]
    said = lines[-1][-300:] if lines else f"exit status {found.returncode}"
    reason = "it took too long" if found.timed_out else said
    return PreconditionError(f"{program} gave no answer: {reason}", hint=_NO_OTHER)


def _other_image(tool: ExactTool) -> str:
    lacking = ", ".join(tool.without) or "none"
    return f"any image of this engine but {lacking} may have it; without it the estimate is all there is"
