"""Get an image onto this machine with the docker command: pull by digest, or build from a Dockerfile.

What comes is named by content and gets a local tag of its own, since `docker image prune` removes images without one:
an image that once worked must still be here on the night it is needed.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from deployer.errors import BadInputError, ImageUnavailableError, PreconditionError, VerificationError
from deployer.execution import Completed, run, stream
from deployer.images.causes import UNKNOWN, Cause, cause_of, log_tail
from deployer.images.engine import EngineSettings, engine_settings
from deployer.images.inspect import RECIPE_LABEL, LocalImage, inspect_image
from deployer.images.reference import ImageReference, parse_reference
from deployer.images.registry import RegistryAnswer, registry_digest

PREFLIGHT_S = 4.0
RETRY_AFTER_S = (1.0, 4.0)
KEPT = "deployer.local/kept"
_TAG_TIMEOUT_S = 30
_NO_SUCH_PROGRAM = 127
_MAX_REASON = 300
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FINAL = frozenset({"unreachable", "not-found", "unauthorised"})
_STEP = re.compile(r"^ > \[(?P<place>[^\]]*)\] (?P<command>.*?):?$", re.MULTILINE)
_OUTPUT = re.compile(r"#\d+ \d+\.\d+ (?P<text>.*)")
_COMPLAINT = re.compile(r"^E: |\b(?:error|fatal|failed|cannot|not found|no such)\b", re.IGNORECASE)
_REFUSED = re.compile(r"^ERROR: (?:failed to (?:solve|build): )*(?P<reason>.*)$", re.MULTILINE)

OnLine = Callable[[str], None]


def pull(
    reference: str, on_line: OnLine, *, timeout_s: float = 3600, retry_after_s: tuple[float, ...] = RETRY_AFTER_S
) -> LocalImage:
    """Pull an image by digest, a tag being resolved first, and prove that what came has that digest.

    A registry that is down, or has no such image, is an answer within 5 s. A transfer that breaks is tried again after
    each pause of `retry_after_s`; layers that came are kept by the Engine. In the result the pulled digest is first.

    ImageUnavailableError (`details["cause"]`, `["log_tail"]`), VerificationError, PreconditionError without Engine.
    """
    parsed = parse_reference(reference)
    settings = engine_settings()
    digest = _resolve(parsed, reference, settings)
    name = parsed.at(digest) if digest else f"{parsed.name}:{parsed.selector}"
    _pull_with_retries(name, on_line, time.monotonic() + timeout_s, retry_after_s)
    return keep(_proven(name, digest, settings))


def build(
    dockerfile_text: str,
    tag: str,
    build_args: Mapping[str, str],
    on_line: OnLine,
    *,
    timeout_s: float = 3600,
    recipe: str | None = None,
) -> LocalImage:
    """Build an image from a Dockerfile alone: the context is an empty folder of its own.

    The image carries `recipe` (by default made from text and arguments) in the label `io.deployer.recipe`.
    ImageUnavailableError names the step that failed and has the last lines in `details["log_tail"]`; BadInputError
    for a tag or an argument name that Docker would not take; PreconditionError without Engine or BuildKit. When it is
    interrupted the build ends with its processes, and neither image nor folder is left.
    """
    import tempfile

    parse_reference(tag)
    for argument in build_args:
        if not _ARGUMENT.fullmatch(argument):
            raise BadInputError(f"{argument!r} cannot name a build argument", hint="use letters, digits and '_'")
    with tempfile.TemporaryDirectory(prefix="deployer-build-") as folder:
        context = Path(folder) / "context"
        context.mkdir()
        (Path(folder) / "Dockerfile").write_text(dockerfile_text, encoding="utf-8")
        label = recipe or recipe_of(dockerfile_text, build_args)
        argv = _build_argv(Path(folder), context, tag, label, build_args)
        done = stream(argv, on_line, timeout_s=timeout_s, env={"DOCKER_BUILDKIT": "1"})
        if done.returncode != 0:
            raise _build_error(done, tag, timeout_s)
        image_id = (Path(folder) / "image-id").read_text(encoding="ascii").strip()
    built = inspect_image(image_id) or inspect_image(tag)
    if built is None:
        raise VerificationError(f"{tag} was built, and the Engine does not have {image_id}", hint="run it again")
    return keep(built)


def keep(image: LocalImage) -> LocalImage:
    """Give the image a local tag made from its id, so that `docker image prune` leaves it. Never fails for that."""
    tag = f"{KEPT}:{image.id.removeprefix('sha256:')[:12]}"
    run(("docker", "tag", image.id, tag), timeout_s=_TAG_TIMEOUT_S)
    return image


def recipe_of(dockerfile_text: str, build_args: Mapping[str, str]) -> str:
    """`dockerfile:<sha256>` of the text without comment and blank lines, and the arguments in order of name."""
    lines = [
        line.rstrip() for line in dockerfile_text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    arguments = ",".join(f"{name}={build_args[name]}" for name in sorted(build_args))
    return f"dockerfile:{digest}" + (f":{arguments}" if arguments else "")


def _resolve(parsed: ImageReference, reference: str, settings: EngineSettings) -> str | None:
    """The digest to pull; None where the registry cannot be asked from here and the Engine may know better."""
    answer = registry_digest(reference, PREFLIGHT_S, settings)
    if answer.digest is None and _is_final(answer, settings):
        raise ImageUnavailableError(
            f"{reference} cannot be pulled: {answer.error}",
            hint=answer.hint,
            details={"cause": answer.cause, "reference": reference},
        )
    if parsed.digest is not None and answer.digest not in {None, parsed.digest}:
        raise _not_as_promised(reference, parsed.digest, str(answer.digest))
    return parsed.digest or answer.digest


def _is_final(answer: RegistryAnswer, settings: EngineSettings) -> bool:
    return answer.cause in _FINAL and not settings.remote and not (answer.cause == "unauthorised" and answer.in_helper)


def _pull_with_retries(name: str, on_line: OnLine, deadline: float, pauses: tuple[float, ...]) -> None:
    for pause in (*pauses, None):
        started = time.monotonic()
        done = stream(("docker", "pull", name), on_line, timeout_s=max(1.0, deadline - started))
        if done.returncode == 0:
            return
        cause = cause_of(done.stdout)
        if pause is None or done.timed_out or not cause.retry or time.monotonic() + pause > deadline:
            raise _pull_error(name, done, cause)
        on_line(f"{cause.sentence}; once more in {pause:g} s")
        time.sleep(pause)


def _pull_error(name: str, done: Completed, cause: Cause) -> Exception:
    tail = log_tail(done.stdout)
    details = {"cause": "timeout" if done.timed_out else cause.name, "log_tail": tail, "reference": name}
    if (missing := _no_docker(done, cause)) is not None:
        return missing
    if done.timed_out:
        return ImageUnavailableError(
            f"{name} did not come in the time given", hint="run it again: what came is kept", details=details
        )
    text = f"{name} cannot be pulled: {cause.sentence}{f' ({tail[-1]})' if tail else ''}"
    kind = VerificationError if cause.name == "digest-mismatch" else ImageUnavailableError
    return kind(text, hint=cause.hint, details=details)


def _proven(name: str, digest: str | None, settings: EngineSettings) -> LocalImage:
    image = inspect_image(name)
    if image is None:
        raise VerificationError(f"{name} was pulled, and the Engine does not have it", hint="run the command again")
    mine = [found for found in image.digests if digest is None or found.endswith(f"@{digest}")]
    if not mine:
        raise _not_as_promised(name, digest or "", ", ".join(image.digests) or "no digest")
    if settings.architecture and image.architecture not in {None, settings.architecture}:
        raise ImageUnavailableError(
            f"{name} is made for {image.architecture}; this machine is {settings.architecture}",
            hint="choose another image, or build it on this machine",
            details={"cause": "wrong-platform", "reference": name},
        )
    others = tuple(found for found in image.digests if found != mine[0])
    return msgspec.structs.replace(image, digests=(mine[0], *others))


def _build_argv(folder: Path, context: Path, tag: str, recipe: str, build_args: Mapping[str, str]) -> tuple[str, ...]:
    arguments = [part for name in sorted(build_args) for part in ("--build-arg", f"{name}={build_args[name]}")]
    labels = ("--label", f"{RECIPE_LABEL}={recipe}", "--tag", tag, "--iidfile", str(folder / "image-id"))
    plain = ("docker", "build", "--progress=plain", "--provenance=false")
    return (*plain, *labels, *arguments, "--file", str(folder / "Dockerfile"), str(context))


def _build_error(done: Completed, tag: str, timeout_s: float) -> Exception:
    tail = log_tail(done.stdout, lines=40)
    text = "\n".join(tail)
    step = next((f"{found['place']} {found['command']}" for found in _STEP.finditer(text)), None)
    reason = next((found["reason"] for found in _REFUSED.finditer(text)), "")
    cause = _build_cause(reason, text)
    if (missing := _no_docker(done, cause)) is not None:
        return missing
    where = f"step [{step.replace(' ', '] ', 1)}" if step else "before its first step"
    what = (
        f"not done after {timeout_s:g} s"
        if done.timed_out
        else (cause.sentence if cause.pattern else _said(tail) or reason[:_MAX_REASON])
    )
    return ImageUnavailableError(
        f"{tag} cannot be built: {where}: {what or 'it failed'}",
        hint=cause.hint if cause.pattern else "the last lines of the build say more; the Dockerfile is in `render`",
        details={"cause": "timeout" if done.timed_out else cause.name, "step": step, "log_tail": tail},
    )


def _said(tail: Sequence[str]) -> str:
    """The failing command's own complaint: the last line of its output that reads like one, prefix removed."""
    lines = (_OUTPUT.fullmatch(line) for line in tail)
    complaints = [found["text"] for found in lines if found and _COMPLAINT.search(found["text"])]
    return complaints[-1][:_MAX_REASON] if complaints else ""


def _build_cause(reason: str, text: str) -> Cause:
    """What a command inside the build printed says nothing of registries; only a full disk is the same everywhere."""
    if "no space left on device" in text.lower():
        return cause_of("no space left on device")
    return UNKNOWN if reason.startswith('process "') else cause_of(reason or text)


def _no_docker(done: Completed, cause: Cause) -> PreconditionError | None:
    if done.returncode == _NO_SUCH_PROGRAM:
        return PreconditionError("the program `docker` is not on PATH", hint="install Docker's command line")
    if cause.name in {"no-engine", "no-buildkit"}:
        return PreconditionError(cause.sentence, hint=cause.hint)
    return None


def _not_as_promised(name: str, wanted: str, found: str) -> VerificationError:
    return VerificationError(
        f"{name}: {wanted} was asked for, and {found} came",
        hint="do not use this registry until its owner has explained it",
        details={"expected": wanted, "found": found},
    )
