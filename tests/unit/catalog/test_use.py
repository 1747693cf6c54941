"""What profiles say of GPU use and of monitoring, and what is refused in them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import catalog
from deployer.catalog.check import monitoring_problems
from deployer.catalog.check_use import use_problems
from deployer.errors import ProfileError
from deployer.types import EngineProfile, Loaded, Monitoring, Offloaded

GOOD = Offloaded(pattern=r"(?P<layers>\d+)/(?P<total>\d+)", source="x")


def problems(**changes: Any) -> list[tuple[str, str]]:
    engine: EngineProfile = msgspec.structs.replace(catalog.load_engine("vllm"), **changes)
    return list(use_problems(engine))


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"offloaded": msgspec.structs.replace(GOOD, pattern="(")}, "offloaded/pattern", "not a regular expression"),
        ({"offloaded": msgspec.structs.replace(GOOD, pattern="(?P<layers>x)")}, "offloaded/pattern", "?P<total>"),
        ({"offloaded": msgspec.structs.replace(GOOD, source=" ")}, "offloaded/source", ""),
        ({"loaded": Loaded(path="api", on_gpu="a", source="x")}, "loaded/path", "not a path"),
        ({"loaded": Loaded(path="/api", on_gpu="", source="x")}, "loaded/on_gpu", ""),
        ({"cpu_fallback": ("fine", "[")}, "cpu_fallback/1", "not a regular expression"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(changes: dict[str, Any], path: str, words: str) -> None:
    ((where, text),) = problems(**changes)
    assert where == path
    assert words in text


def test_what_is_right_has_no_problem() -> None:
    assert problems(offloaded=GOOD, loaded=Loaded(path="/api", on_gpu="a", source="x"), cpu_fallback=("a", "b")) == []


def test_the_packaged_monitoring_is_pinned_by_version() -> None:
    found = catalog.load_monitoring()
    assert found.prometheus.reference.startswith("docker.io/prom/prometheus:v")
    assert found.grafana.reference == f"docker.io/grafana/grafana:{found.grafana.version}"


@pytest.mark.parametrize("reference", ["prometheus", "docker.io/prom/prometheus", "docker.io/prom/prometheus:latest"])
def test_an_image_without_a_version_is_refused(reference: str, tmp_path: Path) -> None:
    found = catalog.load_monitoring()
    image = msgspec.structs.replace(found.prometheus, reference=reference)
    made: Monitoring = msgspec.structs.replace(found, prometheus=image)
    assert [path for path, _ in monitoring_problems(made)] == ["prometheus/reference"]
    (tmp_path / "monitoring.yaml").write_bytes(msgspec.json.encode(made))
    with pytest.raises(ProfileError, match="tag is its version"):
        catalog.load_monitoring(overlay=tmp_path)
