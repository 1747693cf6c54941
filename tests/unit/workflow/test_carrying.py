"""A file with an image from another machine: refused where anything is not as it was exported."""

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import ledger
from deployer.errors import BadInputError, DeployerError, PreconditionError, VerificationError
from deployer.images import Packing
from deployer.paths import Home
from deployer.types import Bundle, HealthReport
from deployer.types.inventory import ImageExport
from deployer.workflow import carrying
from tests.unit.workflow.test_pruning import digest, entry, plan
from tests.unit.workflow.test_room import Heard

ARCHIVE = Path(__file__).parents[1] / "images/answers/classic.tar"
ID = "sha256:c8ae740bc9f870f800544248e5a782c791d95bc6814fea4aebd698ba289b66fd"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def head(**changes: Any) -> ImageExport:
    data = ARCHIVE.read_bytes()
    made = ImageExport(
        deployer="0", exported_at="2026-11-20T12:00:00Z", entry=msgspec.structs.replace(entry(1), image_id=ID),
        image_bytes=len(data), image_sha256=hashlib.sha256(data).hexdigest(),
        files={"plan.json": hashlib.sha256(b"{}").hexdigest()},
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def written(tmp_path: Path, said: ImageExport, files: dict[str, bytes] | None = None) -> Path:
    path = tmp_path / "image.tar"
    with Packing(path) as packing:
        packing.image(iter([ARCHIVE.read_bytes()]))
        files = {"plan.json": b"{}"} if files is None else files
        packing.finish({"export.json": msgspec.json.encode(said)} | {f"release/{n}": d for n, d in files.items()})
    return path


def test_a_file_is_read_with_everything_checked(tmp_path: Path) -> None:
    path = written(tmp_path, head())
    found, files, parcel = carrying.read(path)
    assert (found, files) == (head(), {"plan.json": b"{}"})
    assert ID in carrying._examined(path, found, parcel).ids


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"image_sha256": "0" * 64}, "the image's sha256 is"),
        ({"image_bytes": 1}, "1 were exported"),
        ({"files": {}}, "files of the release are not those"),
        ({"files": {"plan.json": "0" * 64}}, "files of the release are not those"),
        ({"entry": entry(1)}, "the ledger's entry names sha256:0101"),
    ],
)
def test_what_is_not_as_it_was_exported_is_refused(
    tmp_path: Path, home: Home, changes: dict[str, Any], why: str
) -> None:
    path = written(tmp_path, head(**changes))
    with pytest.raises(VerificationError, match=why) as caught:
        carrying.import_(path, home, Heard())
    assert caught.value.exit_code == 6
    assert ledger.imported(home) == ()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="newer deployer"):
        carrying.read(written(tmp_path, head(format_version=2)))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    for data in (b"", b"x" * 2000, ARCHIVE.read_bytes()):
        bad.write_bytes(data)
        with pytest.raises(VerificationError):
            carrying.read(bad)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(BadInputError):
            carrying.read(path)


@pytest.mark.parametrize("name", ["../../x", "a/b", ".hidden", "x" * 200])
def test_a_release_file_with_a_bad_name_is_never_written(tmp_path: Path, home: Home, name: str) -> None:
    with pytest.raises(DeployerError):
        ledger.add_imported(home, ID, entry(1), {name: b"x"})
    assert not list(tmp_path.rglob("x*"))


def test_what_can_be_exported_is_named_by_deployment_or_id(home: Home) -> None:
    with pytest.raises(BadInputError) as nothing:
        carrying.entry_of("demo", home)
    assert "none yet" in nothing.value.hint
    ledger.add_verified(home, entry(0xAB))
    ledger.add_verified(home, entry(0xDE, profile="other"))
    assert carrying.entry_of("demo", home).profile == "other"
    ledger.make_current(home, ledger.create(home, plan(0xAB), Bundle(files={})))
    assert carrying.entry_of("demo", home).profile == "cpu"
    assert carrying.entry_of(digest(0xDE)[7:19], home).profile == "other"
    for name in ("", "nobody", "zz"):
        with pytest.raises(BadInputError) as caught:
            carrying.entry_of(name, home)
        assert "demo" in caught.value.hint


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("mine")
    with pytest.raises(BadInputError, match="is there already"):
        carrying._refuse_place(tmp_path / "x.tar", 1)
    with pytest.raises(BadInputError, match="no such folder"):
        carrying._refuse_place(tmp_path / "no" / "x.tar", 1)
    with pytest.raises(PreconditionError, match="MiB free"):
        carrying._refuse_place(tmp_path / "y.tar", 1 << 40)


def test_an_image_goes_by_the_name_of_each_deployment_that_it_serves(home: Home) -> None:
    proof = HealthReport(ready_after_s=7, checks=())
    for name in ("first", "second"):
        release = ledger.create(home, msgspec.structs.replace(plan(1), name=name), Bundle(files={}))
        ledger.make_current(home, ledger.mark(home, release, "healthy", health=proof))
    ledger.add_verified(home, msgspec.structs.replace(entry(1), deployment="second"))
    found = carrying.entry_of("first", home)
    assert (found.image_id, found.deployment, found.release, found.evidence) == (digest(1), "first", 1, proof)
    assert carrying.entry_of("second", home).verified_at == entry(1).verified_at
