"""Memory, disk, operating system and programs."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from deployer.facts import disk, memory, operating_system, programs
from deployer.facts.memory import Answers
from deployer.types import DiskFacts, MemoryFacts
from tests.unit.facts.conftest import plant

GIB = 1024**3
MEMINFO = """MemTotal:       16777216 kB
MemFree:         1048576 kB
MemAvailable:    8388608 kB
Cached:          2097152 kB
"""


def test_memory_without_a_limit() -> None:
    assert memory.read(Answers(MEMINFO)) == MemoryFacts(total_mib=16384, available_mib=8192, limit_mib=None)


def test_a_limit_tightens_what_is_available() -> None:
    levels = ((str(4 * GIB), str(GIB), "inactive_file 0\n"), ("max", str(2 * GIB), ""))
    assert memory.read(Answers(MEMINFO, levels)) == MemoryFacts(total_mib=16384, available_mib=3072, limit_mib=4096)


def test_a_wide_limit_does_not_hide_a_full_machine() -> None:
    levels = ((str(15 * GIB), "0", ""),)
    assert memory.read(Answers(MEMINFO, levels)) == MemoryFacts(total_mib=16384, available_mib=8192, limit_mib=15360)


def test_an_old_kernel_has_no_available_line() -> None:
    assert memory.read(Answers(MEMINFO.replace("MemAvailable", "Other"))).available_mib == 3072


def test_no_meminfo_is_unknown() -> None:
    assert memory.read(Answers("")) == MemoryFacts()


def test_this_machine_has_memory() -> None:
    facts = memory.probe()
    assert facts.total_mib is not None
    assert facts.available_mib is not None
    assert 0 < facts.available_mib <= facts.total_mib


def test_the_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    facts = disk.probe(tmp_path / "not" / "yet")
    assert facts.path == str(tmp_path / "not" / "yet")
    assert facts.total_mib == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize // 1024**2
    assert facts.free_mib is not None
    assert 0 < facts.free_mib <= facts.total_mib


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert disk.probe(tmp_path / "file" / "below").free_mib is not None


def test_a_disk_that_cannot_be_asked_is_unknown() -> None:
    assert disk.read(disk.Answers("/x", None, None)) == DiskFacts(path="/x")


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', "debian 12"),
        ("ID=arch\n", "arch"),
        ("NAME='Something'\n", None),
        ("", None),
    ],
)
def test_distribution(text: str, distribution: str | None) -> None:
    facts = operating_system.read(operating_system.Answers("Linux", "6.1.0-32-amd64", text))
    assert (facts.system, facts.distribution, facts.kernel, facts.wsl) == (
        "Linux",
        distribution,
        "6.1.0-32-amd64",
        False,
    )


def test_wsl_is_told_by_its_kernel() -> None:
    assert (
        operating_system.read(operating_system.Answers("Linux", "5.15.167.4-microsoft-standard-WSL2", "")).wsl is True
    )


def test_os_release_has_a_second_place(tmp_path: Path) -> None:
    plant(tmp_path, {"usr/lib/os-release": "ID=fedora\nVERSION_ID=44\n"})
    assert operating_system.probe(tmp_path).distribution == "fedora 44"


@pytest.mark.parametrize("name", ["llama-server", "vllm", "sglang"])
def test_llama_server_is_found_on_the_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert name not in programs.probe()
    program.chmod(0o755)
    assert programs.probe()[name] == str(program)


def test_the_package_is_found_by_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        tmp_path,
        {
            "xllamacpp/__init__.py": "raise RuntimeError('must not be imported')\n",
            "xllamacpp-2026.10.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: xllamacpp\nVersion: 2026.10.1\n",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    assert programs.probe()["xllamacpp"] == version("xllamacpp") == "2026.10.1"


def test_a_folder_of_that_name_without_metadata_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, {"not_installed_at_all/__init__.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    assert programs._package_version("not_installed_at_all") is None
    assert programs._package_version("no_such_module_here") is None
