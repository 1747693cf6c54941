"""Where only a container engine is missing, that is said with its repair, as a precondition and not as a misfit."""

from pathlib import Path

import msgspec
import pytest

from deployer import decide, facts
from deployer.errors import NoFitError, PreconditionError, StalePlanError
from deployer.paths import Home
from deployer.types import ContainerFacts, HostFacts, MemoryFacts, Request
from deployer.workflow import container_engine, planning, staleness
from tests.unit.cli.test_bad_input import ROOT
from tests.unit.plans import build_plan

OFF = "The Docker Engine is not running: there is no socket /x. Start it with `sudo systemctl start docker`."
NONE = "No container engine: install Docker Engine and its Compose plugin, or serve with `--runtime process`."
SMALL, LARGE = "qwen2.5-0.5b-instruct", "llama-3.1-405b-instruct"


def without(error: str | None) -> HostFacts:
    host = facts.load_host_file(ROOT / "profiles/hosts/cpu-avx512.json")
    return msgspec.structs.replace(host, container=ContainerFacts(error=error))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


@pytest.mark.parametrize(
    ("error", "repair"),
    [
        (OFF, "sudo systemctl start docker"),
        ("Permission denied. Run `sudo usermod -aG docker $USER`.", "sudo usermod -aG docker $USER"),
        (NONE, "install Docker Engine"),
        (None, "install Docker Engine"),
    ],
)
@pytest.mark.parametrize("wish", [{"runtime": "compose"}, {"engine": "vllm"}])
def test_a_model_that_would_fit_in_a_container(
    wish: dict[str, str], error: str | None, repair: str, home: Home
) -> None:
    request = msgspec.convert({"model": SMALL, **wish}, Request)
    with pytest.raises(PreconditionError, match="no container engine can be used here") as caught:
        planning.plan(request, home, share=without(error))
    assert (caught.value.exit_code, caught.value.kind) == (3, "precondition")
    assert caught.value.hint.startswith(repair)
    assert (error or "there is none") in caught.value.message
    assert caught.value.details["rejected"]


def test_one_that_fits_in_none_is_still_a_misfit(home: Home) -> None:
    request = Request(model=LARGE, runtime="compose")
    small = msgspec.structs.replace(without(OFF), memory=MemoryFacts(total_mib=8000, available_mib=7000))
    with pytest.raises(NoFitError):
        planning.plan(request, home, share=small)


def test_an_engine_that_answers_is_not_missing() -> None:
    host = msgspec.structs.replace(without(None), container=ContainerFacts(engine="docker"))
    assert container_engine.missing(host) is None
    error = NoFitError("too small")
    assert container_engine.blamed(error, host, lambda _: None) is error


def test_a_saved_plan_names_it_beside_the_fingerprint(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "probe", lambda _: without(OFF))
    plan = build_plan()
    plan = msgspec.structs.replace(plan, plan_hash=decide.plan_hash(plan))
    with pytest.raises(StalePlanError, match="there is no socket /x") as caught:
        staleness.check(plan, home)
    assert caught.value.hint == "sudo systemctl start docker"
