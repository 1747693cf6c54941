"""Goldens are real files under tests/golden, so that other tools can read them too."""

from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

GOLDEN = Path(__file__).parents[2] / "golden"


class GoldenFile(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(GOLDEN)

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(index)

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return Path(snapshot_location).parent == GOLDEN


class GoldenCompose(GoldenFile):
    file_extension = "yaml"


class GoldenDockerfile(GoldenFile):
    file_extension = "Dockerfile"


class GoldenProcess(GoldenFile):
    file_extension = "json"


EXTENSIONS = {"compose.yaml": GoldenCompose, "Dockerfile": GoldenDockerfile, "process.json": GoldenProcess}


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> Callable[[str, str], SnapshotAssertion]:
    """`golden(target, file)` is the stored text of that file."""
    return lambda target, file: snapshot(name=target, extension_class=EXTENSIONS[file])


@pytest.fixture(autouse=True)
def fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release changes no golden."""
    monkeypatch.setattr("deployer.__version__", "1.2.3")
