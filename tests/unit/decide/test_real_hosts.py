"""Real hosts from public issue threads, and what is the right decision on them today.

Each file of `cases/` is one host: its source, the lesson, the facts that the thread states (nothing else; `assumed`
names what had to be added), what was asked for, and what is expected. `also` asks the same host for something else, or
asks again after the operator did what the lesson says. What is expected follows from the lesson and from what the
images were compiled for, not from what the program prints.
"""

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deployer import catalog, models
from deployer.decide import make_plan
from deployer.errors import NoFitError
from deployer.render import render
from deployer.types import ModelSpec, ModelVariant, Plan, Rejection, Request
from tests.unit.decide.cases.shape import Ask, Expect, asks, load
from tests.unit.decide.hosts import SITE, knowledge

STORE = "/nonexistent/models"
FORMS = (
    ("safetensors", "BF16", ""),
    ("awq", "AWQ", "-AWQ"),
    ("gptq", "GPTQ", "-GPTQ-Int4"),
    ("fp8", "FP8", "-FP8-dynamic"),
)
"""Published forms of the Qwen2.5 models besides GGUF: with them every engine has something that it can read."""
OBVIOUS = ("format", "forced", "runtime")
SWITCHED_OFF = r"NVIDIA_DISABLE_REQUIRE\W+(1|true)"
DRIVER_CUDA = (
    *((525, (12, 0)), (530, (12, 1)), (535, (12, 2)), (545, (12, 3)), (550, (12, 4)), (555, (12, 5)), (560, (12, 6))),
    *((565, (12, 7)), (570, (12, 8)), (575, (12, 9)), (580, (13, 0)), (590, (13, 1)), (595, (13, 2)), (610, (13, 3))),
)
"""Driver branch and the CUDA version it reports."""

LOADED = load()
ASKS = {name + when: ask for name, case in LOADED.items() for when, ask in asks(case)}
REFUSALS = [(name, key) for name, ask in ASKS.items() for key in ask.expect.refused]


def spec(ask: Ask) -> ModelSpec:
    """The model asked for; a Qwen2.5 model has the forms that vLLM and its like read, too."""
    if ask.model is not None:
        return ask.model
    found = models.resolve(str(ask.request["model"]), catalog.load_models(), Path(STORE))
    if not found.name.startswith("qwen2.5"):
        return found
    have = {variant.format for variant in found.variants}
    title = found.title.replace(" ", "-")
    more = [
        {
            "format": form,
            "quantization": name,
            "source": f"hf:{'RedHatAI' if form == 'fp8' else 'Qwen'}/{title}{suffix}",
            "files": ["model.safetensors"],
            "path": f"{STORE}/{title}{suffix}",
        }
        for form, name, suffix in FORMS
        if form not in have
    ]
    added = msgspec.convert(more, tuple[ModelVariant, ...])
    return msgspec.structs.replace(found, variants=(*found.variants, *added))


def decide(ask: Ask, **forced: object) -> Plan | NoFitError:
    model = spec(ask)
    request = msgspec.convert({**ask.request, "model": model.name, **forced}, Request)
    try:
        return make_plan(request, ask.host, model, knowledge(), verified=(), site=SITE, unavailable={})
    except NoFitError as error:
        return error


def rejections(found: Plan | NoFitError) -> tuple[Rejection, ...]:
    if isinstance(found, Plan):
        return found.rejected
    return msgspec.convert(found.details["rejected"], tuple[Rejection, ...])


def told(found: Plan | NoFitError) -> list[str]:
    """Every sentence that the user can read."""
    refused = [f"{item.engine}/{item.image}: {item.rule}: {item.reason}" for item in rejections(found)]
    if isinstance(found, Plan):
        return [*found.warnings, *found.reasons, *refused]
    warnings = msgspec.convert(found.details.get("warnings", []), list[str])
    return [found.message, found.hint, *warnings, *refused]


def picture(found: Plan | NoFitError) -> str:
    """The decision in a few lines, for a failed test: what was chosen, what it warns of, the refusals that matter."""
    lines = [f"NoFitError: {found.message}"] if isinstance(found, NoFitError) else [summary(found), *found.warnings]
    said = [text for item in rejections(found) if item.rule not in OBVIOUS for text in [refusal_line(item)]]
    return "\n  ".join(["", *lines, *list(dict.fromkeys(said))[:40]])


def refusal_line(item: Rejection) -> str:
    return f"refused {item.engine}/{item.image} {item.rule}: {item.reason[:200]}"


def summary(plan: Plan) -> str:
    devices = ",".join(str(device.index) for device in plan.devices) or "cpu"
    return (
        f"{plan.engine} {plan.engine_version}, {plan.image.profile} (CUDA {plan.image.cuda}), "
        f"{plan.model.quantization}, devices {devices}, tensor parallel {plan.settings.tensor_parallel}, "
        f"{plan.settings.slots} x {plan.settings.context}; next: "
        + ", ".join(f"{item.engine}/{item.image}" for item in plan.runner_up)
    )


@pytest.mark.parametrize("name", ASKS)
def test_the_decision_on_a_real_host(name: str) -> None:
    ask = ASKS[name]
    found = decide(ask)
    wrong = disagreements(found, ask.expect)
    assert not wrong, f"{name}: {'; '.join(wrong)}{picture(found)}"


@pytest.mark.parametrize(("name", "key"), REFUSALS)
def test_what_is_ruled_out_is_refused_and_says_why(name: str, key: str) -> None:
    ask = ASKS[name]
    text = ask.expect.refused[key]
    engine, _, version = key.partition("/")[0].partition(">=")
    image = key.partition("/")[2]
    known = [item.engine for item in knowledge().engines]
    assert engine in known, f"there is no profile for {engine}; there are: {', '.join(known)}"
    found = decide(ask) if image else decide(ask, engine=engine, quantization=None)
    refused = [
        item for item in rejections(found) if item.engine == engine and fnmatch.fnmatch(item.image, image or "*")
    ]
    assert says([f"{item.rule}: {item.reason}" for item in refused], text), (
        f"{name}: nothing of {key} is refused with /{text}/{picture(found)}"
    )
    if not image and isinstance(found, Plan):
        older = bool(version) and numbers(found.engine_version) < numbers(version)
        assert older or not found.devices, f"{name}: {key} may not run on these GPUs{picture(found)}"


def composed(plan: Plan) -> str:
    """The compose file, with a UUID for every GPU, which few threads print."""
    devices = tuple(
        msgspec.structs.replace(device, uuid=device.uuid or f"GPU-{device.index:08d}-0000-4000-8000-000000000000")
        for device in plan.devices
    )
    return render(msgspec.structs.replace(plan, devices=devices)).files.get("compose.yaml", "")


def test_an_image_that_asks_for_a_newer_cuda_is_told_that_this_driver_will_do() -> None:
    """NVIDIA's images refuse to start below their own CUDA version (`unsatisfied condition: cuda>=12.4`).

    Their compiled code runs on older drivers all the same, so a plan that relies on it has to switch the check off.
    Ollama's image has no such check.
    """
    forgotten = []
    for name, ask in ASKS.items():
        found, now = decide(ask), driver_cuda(ask)
        if not isinstance(found, Plan) or found.image.accelerator != "cuda" or found.engine == "ollama" or now is None:
            continue
        asks_for = numbers(found.image.cuda or "0")
        if found.runtime == "compose" and now < asks_for and not re.search(SWITCHED_OFF, composed(found)):
            forgotten.append(f"{name}: {found.image.profile} asks for CUDA {found.image.cuda}, the driver has {now}")
    assert not forgotten, "\n".join(forgotten)


def driver_cuda(ask: Ask) -> tuple[int, ...] | None:
    """The newest CUDA version that the host's driver knows."""
    facts = ask.host.nvidia
    if facts is None or (facts.cuda is None and facts.driver is None):
        return None
    if facts.cuda is not None:
        return numbers(facts.cuda)
    branch = numbers(facts.driver or "0")[0]
    return max((cuda for since, cuda in DRIVER_CUDA if since <= branch), default=(11, 4))


def disagreements(found: Plan | NoFitError, expect: Expect) -> list[str]:
    """Everything in which a decision is not the expected one."""
    wrong = [f"no sentence says /{text}/" for text in expect.sentence if not says(told(found), text)]
    if isinstance(found, NoFitError):
        wrong += [] if expect.error is not None else ["a plan is expected"]
        wrong += [] if says([found.message], expect.headline or "") else [f"no /{expect.headline}/ at the top"]
    elif expect.error == "no-fit":
        wrong.append("nothing may run here")
    else:
        wrong += [*choice(found, expect), *placement(found, expect), *written(found, expect)]
    return wrong


def choice(plan: Plan, expect: Expect) -> Iterator[str]:
    """What is wrong with the engine, the image and the form of the model."""
    if expect.engine and plan.engine not in expect.engine:
        yield f"engine {plan.engine}, expected {' or '.join(expect.engine)}"
    if plan.image.profile not in expect.image.get(plan.engine, (plan.image.profile,)):
        yield f"image {plan.image.profile}, expected {' or '.join(expect.image[plan.engine])}"
    if plan.image.profile in expect.not_image:
        yield f"image {plan.image.profile} must not be chosen"
    if expect.accelerator and plan.image.accelerator not in expect.accelerator:
        yield f"accelerator {plan.image.accelerator}, expected {' or '.join(expect.accelerator)}"
    if (
        expect.cuda is not None
        and plan.image.accelerator == "cuda"
        and not re.search(expect.cuda, plan.image.cuda or "")
    ):
        yield f"CUDA {plan.image.cuda}, expected {expect.cuda}"
    if expect.runtime is not None and plan.runtime != expect.runtime:
        yield f"runtime {plan.runtime}, expected {expect.runtime}"
    if expect.not_version is not None and re.search(expect.not_version, plan.engine_version):
        yield f"version {plan.engine_version} is known to fail"
    if expect.quantization and plan.model.quantization not in expect.quantization:
        yield f"{plan.model.quantization}, expected {' or '.join(expect.quantization)}"
    if plan.model.quantization in expect.not_quantization:
        yield f"{plan.model.quantization} must not be chosen"


def placement(plan: Plan, expect: Expect) -> Iterator[str]:
    """What is wrong with the GPUs, the split and the memory."""
    indexes = tuple(device.index for device in plan.devices)
    wanted = () if expect.devices == "cpu" else expect.devices
    if wanted is not None and indexes != wanted:
        yield f"devices {indexes}, expected {wanted}"
    if expect.device_count is not None and not expect.device_count[0] <= len(indexes) <= expect.device_count[1]:
        yield f"{len(indexes)} devices, expected {expect.device_count[0]} to {expect.device_count[1]}"
    if (
        expect.tensor_parallel
        and plan.engine != "llama.cpp"
        and plan.settings.tensor_parallel not in expect.tensor_parallel
    ):
        yield f"tensor parallel {plan.settings.tensor_parallel}, expected one of {expect.tensor_parallel}"
    if expect.context_below is not None and plan.settings.context >= expect.context_below:
        yield f"context {plan.settings.context}, expected less than {expect.context_below}"
    if not plan.memory.fits:
        yield "it does not fit"
    for device, memory in zip(plan.devices, plan.memory.devices, strict=False):
        most = expect.budget.get(str(device.index))
        if most is not None and (memory.available_mib is None or memory.available_mib > most):
            yield f"GPU {device.index} is counted with {memory.available_mib} MiB free; there are at most {most}"


def written(plan: Plan, expect: Expect) -> Iterator[str]:
    """What is wrong with the command, the environment and the compose file."""
    pattern = expect.command.get(plan.engine)
    if pattern is not None and not re.search(pattern, " ".join(plan.command)):
        yield f"the command has no {pattern}: {' '.join(plan.command)}"
    for name, value in expect.when_rocm.items() if plan.image.accelerator == "rocm" else ():
        if plan.environment.get(name) != value:
            yield f"{name}={value} is not in the environment"
    text = composed(plan) if expect.compose else ""
    for pattern in expect.compose:
        if not re.search(pattern, text):
            yield f"compose.yaml has no {pattern}"


def says(sentences: list[str], text: str) -> bool:
    return any(re.search(text, sentence, re.IGNORECASE) for sentence in sentences)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def test_every_case_says_where_it_is_from() -> None:
    assert len(LOADED) == 53
    assert all(re.fullmatch(r"https://github\.com/\S+", case.source) and case.lesson for case in LOADED.values())
