"""Which images a prune may remove: Docker's API and program are stand-ins, records and decisions are real."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from deployer import ledger
from deployer.errors import LockedError
from deployer.images.inspect import RECIPE_LABEL
from deployer.paths import Home
from deployer.types import Bundle, HealthReport, Plan, ReleaseStatus, VerifiedImage
from deployer.types.inventory import PrunedImage
from deployer.workflow import imported, pruning
from tests.unit.images.conftest import FakeEngine
from tests.unit.plans import build_plan
from tests.unit.workflow.test_room import Heard

DOCKER = """#!/bin/sh
printf '%s\\n' "$*" >> "$PRUNE_FAKE/calls"
[ "$1 $2" = "image rm" ] || exit 0
[ -f "$PRUNE_FAKE/refuses" ] && { echo "Error response: conflict: something has it" >&2; exit 1; }
echo "$3" | sed 's/.*://' >> "$PRUNE_FAKE/gone"
"""


def digest(number: int) -> str:
    return f"sha256:{number:02x}" + f"{number:02x}" * 31


def kept(number: int) -> str:
    return f"deployer.local/kept:{digest(number)[7:19]}"


class Engine(FakeEngine):
    """The same, with containers, and without what the stand-in for `docker` removed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.containers = folder, list[str]()

    def put(self, number: int, *tags: str, labels: dict[str, str] | None = None, digests: tuple[str, ...] = ()) -> str:
        found = {
            "Id": digest(number), "RepoTags": list(tags), "RepoDigests": list(digests), "Size": number << 20,
            "Config": {"Labels": labels},
        }  # fmt: skip
        self.images[digest(number)] = found
        return digest(number)

    def answer(self, command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        if "/containers/json" in path:
            return 200, {}, json.dumps([{"Id": "c", "ImageID": image} for image in self.containers]).encode()
        gone = self.folder / "gone"
        removed = gone.read_text().split() if gone.exists() else []
        name = unquote(path.partition("/images/")[2].removesuffix("/json"))
        if name in self.images and any(tag.endswith(end) for end in removed for tag in self.images[name]["RepoTags"]):
            return 404, {}, b'{"message": "No such image"}'
        return super().answer(command, path, headers)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    site = Engine(folder)
    monkeypatch.setenv("DOCKER_HOST", f"tcp://{site.host}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PRUNE_FAKE", str(folder))
    yield site
    site.stop()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


def plan(number: int, *, gateway: int | None = None) -> Plan:
    made = build_plan(runtime="compose", gateway=None)
    front = {"why": "w", "routes": ["GET /x"], "image": "x", "image_id": None if gateway is None else digest(gateway)}
    made = build_plan(runtime="compose", gateway=None if gateway is None else front)
    return msgspec.structs.replace(made, image=msgspec.structs.replace(made.image, image_id=digest(number)))


def release(home: Home, number: int, status: ReleaseStatus, **more: Any) -> None:
    ledger.mark(home, ledger.create(home, plan(number, **more), Bundle(files={})), status)


def entry(number: int, *, profile: str = "cpu", recipe: str = "r") -> VerifiedImage:
    return VerifiedImage(
        engine="llama.cpp", engine_version="1", profile=profile, recipe=recipe, reference="example/own:v1",
        image_id=digest(number), digest=None, fingerprint="f", model="m", quantization="Q4_1", deployment="demo",
        release=1, verified_at="2026-11-20T12:00:00Z", evidence=HealthReport(ready_after_s=1, checks=()),
    )  # fmt: skip


def judged(home: Home) -> dict[str, PrunedImage]:
    return {item.image_id: item for item in pruning.look(home).images}


def test_what_no_release_and_no_record_needs_any_more_may_go(engine: Engine, home: Home) -> None:
    for number in (1, 2, 3):
        engine.put(number, kept(number))
        ledger.add_verified(home, entry(number, recipe=f"r{number}"))
    release(home, 4, "failed")
    engine.put(4, kept(4))
    found = judged(home)
    assert {image for image, item in found.items() if item.status == "removed"} == {digest(n) for n in (1, 2, 4)}
    assert found[digest(3)].why == "the newest one verified for its profile"


@pytest.mark.parametrize("status", ["healthy", "superseded", "stopped", "pending"])
def test_what_a_rollback_can_reach_stays(engine: Engine, home: Home, status: ReleaseStatus) -> None:
    engine.put(1, kept(1))
    engine.put(2, kept(2))
    release(home, 1, status, gateway=2)
    found = judged(home)
    assert [found[digest(n)].status for n in (1, 2)] == ["kept", "kept"]
    assert found[digest(1)].why == "release 1 of demo can serve again"


def test_what_is_not_ours_is_never_touched(engine: Engine, home: Home) -> None:
    engine.put(1, kept(1), "mine/own:v1")
    engine.put(2)
    engine.put(3, kept(3))
    engine.put(4, kept(4))
    engine.put(5, kept(5))  # of another installation: no record of it here
    for number in (1, 2, 3):
        release(home, number, "failed")
    engine.containers = [digest(3)]
    found = judged(home)
    assert digest(5) not in found
    assert digest(4) not in found
    assert [found[digest(n)].status for n in (1, 2, 3)] == ["kept"] * 3
    assert found[digest(1)].why == "it has a name that is not ours: mine/own:v1"
    assert found[digest(3)].why == "a container has it"


def test_our_builds_and_pulls_go_by_all_of_our_names(engine: Engine, home: Home) -> None:
    pulled = f"ghcr.io/org/app@{digest(9)}"
    engine.put(1, kept(1), "deployer/llama.cpp:cpu", labels={RECIPE_LABEL: "dockerfile:1"})
    engine.put(2, kept(2), digests=(pulled,))
    engine.put(3, kept(3), "deployer/llama.cpp:other")
    for number in (1, 2, 3):
        release(home, number, "failed")
    found = judged(home)
    assert found[digest(1)].names == (kept(1), "deployer/llama.cpp:cpu")
    assert found[digest(2)].names == (kept(2), pulled)
    assert found[digest(3)].status == "kept"
    done = pruning.prune(home, Heard())
    assert {item.image_id for item in done.images if item.status == "removed"} == {digest(1), digest(2)}
    calls = (engine.folder / "calls").read_text().splitlines()
    assert sorted(calls) == [f"image rm {kept(1)} deployer/llama.cpp:cpu", f"image rm {kept(2)} {pulled}"]
    assert not [call for call in calls if "prune" in call or "force" in call or "-f" in call.split()]


def test_records_go_with_the_image_and_it_is_written_down(engine: Engine, home: Home) -> None:
    engine.put(1, kept(1))
    engine.put(2, kept(2))
    for number in (1, 2):
        ledger.add_verified(home, entry(number, recipe=f"r{number}"))
    assert len(pruning.prune(home, Heard()).images) == 2
    assert [item.image_id for item in ledger.entries(home)] == [digest(2)]
    (line,) = ledger.audit_entries(home)
    assert (line.action, line.detail) == ("images prune", digest(1))


def test_what_docker_keeps_stays_with_its_reason_and_its_record(engine: Engine, home: Home) -> None:
    for number in (1, 2):
        engine.put(number, kept(number))
        ledger.add_verified(home, entry(number, recipe=f"r{number}"))
    (engine.folder / "refuses").touch()
    found = {item.image_id: item for item in pruning.prune(home, Heard()).images}
    assert found[digest(1)].status == "kept"
    assert "conflict: something has it" in found[digest(1)].why
    assert len(ledger.entries(home)) == 2


def test_a_change_under_way_is_waited_for_by_refusal(engine: Engine, home: Home) -> None:
    engine.put(1, kept(1))
    release(home, 1, "failed")
    with ledger.lock(home, "up demo"), pytest.raises(LockedError):
        pruning.prune(home, Heard())
    assert not (engine.folder / "calls").exists()


# --- imported images


def of_plan(number: int, **changes: Any) -> Plan:
    made = plan(number)
    image = {"source": "pull", "recipe": "r", "profile": "cpu", "image_id": None} | changes
    return msgspec.structs.replace(made, engine="llama.cpp", image=msgspec.structs.replace(made.image, **image))


def test_the_newest_imported_image_of_the_same_recipe_is_used(engine: Engine, home: Home) -> None:
    assert imported.matching(of_plan(1), home) is None
    engine.put(1, kept(1))
    record = ledger.add_imported(home, digest(1), entry(7), {"plan.json": b"{}"})
    assert imported.matching(of_plan(1), home) == record
    assert "not yet on this one" in str(imported.caution(of_plan(1), home))
    for changes in ({"recipe": "another"}, {"profile": "cuda"}, {"source": "verified"}, {"source": "none"}):
        assert imported.matching(of_plan(1, **changes), home) is None
    del engine.images[digest(1)]
    assert imported.matching(of_plan(1), home) is None
    engine.broken = True
    assert imported.caution(of_plan(1), home) is None


def test_an_imported_image_is_kept_until_a_newer_one_comes(engine: Engine, home: Home) -> None:
    for number in (1, 2):
        engine.put(number, kept(number))
    ledger.add_imported(home, digest(1), entry(7), {})
    assert judged(home)[digest(1)].status == "kept"
    first = home.ledger / "imported" / digest(1)[7:19] / "image.json"
    first.write_text(first.read_text().replace("2026-", "2025-"))
    ledger.add_imported(home, digest(2), entry(8), {"plan.json": b"x"})
    found = judged(home)
    assert (found[digest(1)].status, found[digest(2)].status) == ("removed", "kept")
    pruning.prune(home, Heard())
    assert [item.image_id for item in ledger.imported(home)] == [digest(2)]
