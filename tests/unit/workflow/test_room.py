"""Room on the disks: the model and the copy that an engine makes of it, each on its own file system."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import ledger
from deployer.errors import ImageUnavailableError, PreconditionError
from deployer.paths import Home
from deployer.types import Bundle, Plan
from deployer.workflow import room
from tests.unit.images.conftest import FakeEngine
from tests.unit.plans import build_plan

COMMIT = "0" * 40
GIB = 1024


class Heard:
    def __init__(self) -> None:
        self.notes = list[str]()

    def step(self, text: str) -> None: ...

    def done(self, text: str, seconds: float) -> None: ...

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


class Engine(FakeEngine):
    """The same, with volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.volumes = set[str]()

    def answer(self, command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        if "/volumes/" not in path:
            return super().answer(command, path, headers)
        name = path.rpartition("/")[2]
        found = json.dumps({"Name": name}).encode()
        return (200, {}, found) if name in self.volumes else (404, {}, b'{"message": "no such volume"}')


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    site = Engine()
    site.info["DockerRootDir"] = str(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{site.host}")
    yield site
    site.stop()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def free(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    import shutil

    real = shutil.disk_usage

    def usage(path: object) -> Any:
        return real("/")._replace(free=mib * 1024 * 1024)

    monkeypatch.setattr(shutil, "disk_usage", usage)


def plan(tmp_path: Path, *, store: str | None = "/var/tmp", mib: int = 4 * GIB, **changes: Any) -> Plan:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x")
    model = {
        "ref": str(file), "revision": None, "format": "gguf", "quantization": "Q4_1", "files": ["m.gguf"],
        "size_mib": mib, "path": str(file), "name": "m",
    }  # fmt: skip
    made = build_plan(
        engine="ollama", runtime="compose", store=store, model=model | changes.pop("model", {}), **changes
    )
    image = {"source": "pull", "reference": "example/own:v1", "size_mib": changes.get("image_mib", 3 * GIB)}
    return msgspec.structs.replace(made, image=msgspec.structs.replace(made.image, **image))


def served(made: Plan, home: Home, status: Any = "healthy") -> None:
    ledger.mark(home, ledger.create(home, made, Bundle(files={})), status)


def test_the_copy_is_counted_beside_what_is_here(
    engine: Engine, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add("example/own:v1")
    heard = Heard()
    free(monkeypatch, 5 * GIB + 1)
    room.check(plan(tmp_path), home, heard)
    assert heard.notes == [f"ollama makes its own copy of the model: 4096 MiB more, in {tmp_path}"]
    free(monkeypatch, 5 * GIB - 1)
    with pytest.raises(PreconditionError, match="4096 MiB for the copy that ollama makes of it, and 1024") as caught:
        room.check(plan(tmp_path), home, heard)
    assert not isinstance(caught.value, ImageUnavailableError)
    assert "--engine llama.cpp" in caught.value.hint
    assert caught.value.details["needed_mib"] == 4096


def test_model_copy_and_image_share_one_file_system(
    engine: Engine, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.host
    place = home.models / "hub/org--see/main"
    model = {"ref": "hf:org/see", "path": str(place / "m.gguf"), "projector": str(place / "mmproj.gguf")}
    made = plan(tmp_path, model=model | {"projector_mib": 512})
    free(monkeypatch, 10 * GIB)
    parts = "4608 MiB for the model and 4096 MiB for the copy that ollama makes of it and 3072 MiB for the image"
    with pytest.raises(ImageUnavailableError, match=parts):  # without the image it would fit
        room.check(made, home, Heard())
    free(monkeypatch, 9 * GIB)
    with pytest.raises(PreconditionError, match="9216 MiB free") as caught:
        room.check(made, home, Heard())
    assert not isinstance(caught.value, ImageUnavailableError)
    free(monkeypatch, 13 * GIB)
    room.check(made, home, Heard())


@pytest.mark.parametrize(
    ("before", "counted"),
    [
        (("healthy", True, True), 0),
        (("superseded", True, True), 0),
        (("healthy", False, True), 4 * GIB),
        (("healthy", True, False), 4 * GIB),
        (("failed", True, True), 4 * GIB),
    ],
)
def test_a_copy_that_is_there_already_is_not_counted_again(
    engine: Engine, home: Home, tmp_path: Path, before: tuple[str, bool, bool], counted: int
) -> None:
    status, volume, same = before
    made = plan(tmp_path)
    other = msgspec.structs.replace(made, model=msgspec.structs.replace(made.model, ref="hf:org/another"))
    served(made if same else other, home, status)
    engine.volumes = {"deployer-demo_store"} if volume else set()
    assert room.copy_mib(made, home) == counted


def test_an_engine_without_a_store_of_its_own_needs_no_engine_to_answer(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    free(monkeypatch, 0)
    room.check(plan(tmp_path, store=None), home, Heard())
    assert room.copy_mib(plan(tmp_path, store=None), home) == 0


def test_each_file_system_counts_for_itself(tmp_path: Path) -> None:
    needs = [room.Need(tmp_path / "a", 1, "a"), room.Need(Path("/proc/none"), 2, "b"), room.Need(tmp_path, 3, "c")]
    found = {folder: [need.mib for need in group] for folder, group in room.by_file_system(needs)}
    assert found == {tmp_path: [1, 3], Path("/proc"): [2]}


def test_the_plan_s_files_are_fetched_with_the_projector(home: Home, tmp_path: Path) -> None:
    place = home.models / "hub/org--see" / COMMIT
    seeing = {"path": str(place / "m.gguf"), "projector": str(place / "mmproj.gguf")}
    assert room.variant_of(plan(tmp_path, model=seeing), home).files == ("m.gguf", "mmproj.gguf")
    beside = {"projector": "/elsewhere/mmproj.gguf"}
    assert room.variant_of(plan(tmp_path, model=beside), home).files == ("m.gguf",)
