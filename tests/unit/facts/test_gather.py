"""All probes together, on this machine."""

import re
from pathlib import Path

import msgspec
import pytest

from deployer import facts
from deployer.facts import gather, gathering, load_host_file
from deployer.facts.gathering import PROBES, Probe
from deployer.types import Gpu, OsFacts


def test_gather_fills_every_fact(tmp_path: Path) -> None:
    host = gather(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", host.captured_at or "")
    assert host.fingerprint == facts.fingerprint(host)
    assert host.hostname
    assert host.os.system
    assert host.cpu.cores
    assert host.memory.total_mib
    assert host.disk.path == str(tmp_path)
    assert host.container is not None
    assert host.programs is not None


def test_what_gather_prints_is_a_host_file(tmp_path: Path) -> None:
    host = gather(tmp_path)
    path = tmp_path / "host.json"
    path.write_bytes(msgspec.json.encode(host))
    assert load_host_file(path) == host


def test_each_probe_fills_a_field_of_the_host() -> None:
    named = {probe.fact for probe in PROBES}
    assert named == set(gathering._Found.__struct_fields__)
    assert len(named) == len(PROBES)


def test_a_probe_that_fails_leaves_its_fact_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> object:
        raise ValueError(path)

    kept = tuple(probe for probe in PROBES if probe.fact != "os")
    monkeypatch.setattr(gathering, "PROBES", (Probe("os", fail), *kept))
    host = gather(tmp_path)
    assert host.os == OsFacts()
    assert host.cpu.cores


def test_gpus_of_all_makers_are_numbered_through() -> None:
    own, other = (Gpu(index=0, vendor="nvidia"), Gpu(index=1, vendor="nvidia")), (Gpu(index=0, vendor="amd"),)
    joined = gathering.in_one_list(own, other, (Gpu(index=0, vendor="intel"),))
    assert [(gpu.index, gpu.vendor) for gpu in joined] == [(0, "nvidia"), (1, "nvidia"), (2, "amd"), (3, "intel")]
