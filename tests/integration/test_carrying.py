"""An image goes to another machine in a file, serves there without a registry, and is pruned when nothing needs it."""

import hashlib
import json
import shutil
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from deployer import images, ledger
from deployer.errors import VerificationError
from deployer.paths import Home
from deployer.types import HealthReport, VerifiedImage
from deployer.types.inventory import ImageExport
from deployer.workflow import carrying, pruning
from tests.integration.conftest import Deployer, free_port

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

LABEL = "io.deployer.test-carrying"


class Quiet:
    """Nobody reads the progress."""

    def step(self, text: str) -> None: ...

    def done(self, text: str, seconds: float) -> None: ...

    def detail(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture(autouse=True)
def no_images_left(docker_engine: "docker.DockerClient") -> Iterator[None]:
    yield
    for image in docker_engine.images.list(filters={"label": LABEL}):
        docker_engine.images.remove(str(image.id), force=True)


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def forget(engine: "docker.DockerClient", image_id: str) -> None:
    engine.images.remove(image_id, force=True)
    assert images.inspect_image(image_id) is None


def tiny() -> images.LocalImage:
    unique = uuid.uuid4().hex
    text = f"FROM scratch\nWORKDIR /{unique}\nLABEL {LABEL}=1\n"
    return images.build(text, f"deployer/tiny:{unique}", {}, lambda _: None)


def entry(image: images.LocalImage) -> VerifiedImage:
    return VerifiedImage(
        engine="llama.cpp", engine_version="1", profile="cpu", recipe=image.id, reference=None, image_id=image.id,
        digest=None, fingerprint="f", model="m", quantization="Q4_1", deployment="demo", release=1,
        verified_at="2026-11-20T12:00:00Z", evidence=HealthReport(ready_after_s=1, checks=()),
    )  # fmt: skip


def test_the_same_image_comes_back_out_of_the_file(
    docker_engine: "docker.DockerClient", place: Home, tmp_path: Path
) -> None:
    image = tiny()
    ledger.add_verified(place, entry(image))
    head = carrying.export("demo", tmp_path / "x.tar", place, Quiet())
    forget(docker_engine, image.id)
    record = carrying.import_(tmp_path / "x.tar", place, Quiet())
    assert record.image_id == image.id
    found = images.inspect_image(image.id)
    assert found is not None
    assert found.tags == (f"deployer.local/kept:{image.id[7:19]}",)
    with tarfile.open(tmp_path / "x.tar") as tar:
        archive = tar.extractfile("image.tar")
        assert archive is not None
        assert hashlib.sha256(archive.read()).hexdigest() == head.image_sha256
    lines = [(line.action, line.detail) for line in ledger.audit_entries(place)]
    assert sorted(lines) == [("images export", str(tmp_path / "x.tar")), ("images import", image.id)]


@pytest.mark.parametrize("where", [0.2, 0.6, 0.99])
def test_a_file_with_one_other_bit_loads_nothing(
    docker_engine: "docker.DockerClient", place: Home, tmp_path: Path, where: float
) -> None:
    image = tiny()
    ledger.add_verified(place, entry(image))
    head = carrying.export(image.id[7:19], tmp_path / "x.tar", place, Quiet())
    forget(docker_engine, image.id)
    data = bytearray((tmp_path / "x.tar").read_bytes())
    data[512 + int(head.image_bytes * where)] ^= 1
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(VerificationError):
        carrying.import_(tmp_path / "x.tar", place, Quiet())
    assert images.inspect_image(image.id) is None
    assert ledger.imported(place) == ()


def test_an_image_with_a_name_in_its_archive_is_not_loaded(
    docker_engine: "docker.DockerClient", place: Home, tmp_path: Path
) -> None:
    image = tiny()
    archive = b"".join(docker_engine.images.get(image.id).save(named=image.tags[0]))
    documents = ImageExport(
        deployer="0", exported_at="", entry=entry(image), image_bytes=len(archive),
        image_sha256=hashlib.sha256(archive).hexdigest(),
    )  # fmt: skip
    with images.Packing(tmp_path / "x.tar") as packing:
        packing.image(iter([archive]))
        packing.finish({carrying.HEAD: msgspec.json.encode(documents)})
    forget(docker_engine, image.id)
    with pytest.raises(VerificationError):
        carrying.import_(tmp_path / "x.tar", place, Quiet())
    assert images.inspect_image(image.id) is None


def test_prune_takes_ours_alone_and_says_what_was_freed(docker_engine: "docker.DockerClient", place: Home) -> None:
    old, newest, named, foreign = (tiny() for _ in range(4))
    for image in (old, named, newest):
        ledger.add_verified(place, entry(image))
    docker_engine.images.get(named.id).tag("deployer-testbed/carrying", "mine")
    done = pruning.prune(place, Quiet())
    status = {item.image_id: item.status for item in done.images}
    assert status == {old.id: "removed", named.id: "kept", newest.id: "kept"}
    assert images.inspect_image(old.id) is None
    assert all(images.inspect_image(image.id) is not None for image in (newest, named, foreign))
    assert done.freed_mib is not None
    assert {item.image_id for item in ledger.entries(place)} == {named.id, newest.id}


def test_a_pulled_image_is_pruned_by_its_digest(
    docker_engine: "docker.DockerClient", place: Home, registry: Any
) -> None:
    image = tiny()
    pinned = registry.push(image.id, "carried", "v1")
    forget(docker_engine, image.id)
    pulled = images.pull(pinned, lambda _: None)
    ledger.add_verified(place, entry(pulled))
    ledger.add_verified(place, entry(tiny()))
    (item,) = (item for item in pruning.prune(place, Quiet()).images if item.image_id == pulled.id)
    assert item.status == "removed", item.why
    assert images.inspect_image(pulled.id) is None


@pytest.fixture
def own_llama(docker_engine: "docker.DockerClient", llama_image: str) -> str:
    """The real engine in an image of this test alone."""
    unique = uuid.uuid4().hex
    name = f"deployer-testbed/carried:b11669-{unique[:8]}"
    text = f"FROM {llama_image}\nLABEL {LABEL}={unique}\n"
    images.build(text, name, {}, lambda _: None)
    return name


def test_an_air_gapped_machine_serves_from_the_file_and_verifies_it_there(
    docker_engine: "docker.DockerClient", deployer: Deployer, own_llama: str, model_file: Path
) -> None:
    here = str(docker_engine.images.get(own_llama).id)
    asked = (str(model_file), "--name", "carried", "--image", f"debian={own_llama}", "--engine", "llama.cpp")
    words = (*asked, "--context", "2048", "--port", str(free_port()), "--yes", "--json")
    first = deployer("up", *words).ok().json()
    assert first["image"]["id"] == here
    file = deployer.home.parent / "work" / "engine.tar"
    told = deployer("images", "export", "carried", str(file), "--json").ok().json()
    assert told["export"]["release"]["number"] == first["release"]
    assert set(told["export"]["files"]) == {"plan.json", "compose.yaml"}
    key = Path(first["key_file"]).read_text().strip()
    with tarfile.open(file) as tar:
        documents = [tar.extractfile(name) for name in tar.getnames() if name != "image.tar"]
        assert key.encode() not in b"".join(item.read() for item in documents if item is not None)
    deployer("down", "carried", "--yes").ok()
    docker_engine.images.remove(here, force=True)

    there = Deployer(deployer.home.with_name("there"))
    there.home.mkdir(mode=0o755)
    assert there("images", "import", str(file), "--json").exited(3).json()["error"]["hint"] == "add --yes"
    assert there("images", "import", str(file), "--dry-run", "--json").ok().json()["changed"] is False
    assert images.inspect_image(here) is None
    record = there("images", "import", str(file), "--yes", "--json").ok().json()["imported"]
    assert record["image_id"] == here
    listed = there("images", "ls", "--json").ok().json()
    assert (listed["images"], [item["image_id"] for item in listed["imported"]]) == ([], [here])
    planned = there("plan", *words[:-2], "--json").ok().json()
    assert any("was imported on" in warning for warning in planned["warnings"])
    try:
        second = there("up", *words, "--verbose").ok()
        assert second.json()["image"]["id"] == here
    finally:
        there("down", "carried", "--yes")
    listed = there("images", "ls", "--json").ok().json()
    assert ([item["image_id"] for item in listed["images"]], listed["imported"]) == ([here], [])
    shutil.rmtree(there.home)


def test_the_verbs_refuse_what_makes_no_sense(deployer: Deployer) -> None:
    cases: tuple[tuple[tuple[str, ...], int], ...] = (
        (("images", "export", "nobody", "x.tar"), 2),
        (("images", "import", "absent.tar", "--yes"), 2),
        (("images", "import", "/dev/zero", "--yes"), 2),
        (("images", "import", "/", "--yes"), 2),
    )
    for words, code in cases:
        error = deployer(*words, "--json").exited(code).json()["error"]
        assert error["hint"], words
    assert json.loads(deployer("images", "prune", "--json").ok().stdout)["images"] == []
