"""Host files: what is accepted, and what each refusal says."""

from pathlib import Path

import msgspec
import pytest

from deployer.errors import BadInputError, ProfileError
from deployer.facts import fingerprint, load_host_file
from deployer.paths import data_dir
from deployer.types import Gpu, HostFacts

HOSTS = sorted((data_dir("profiles") / "hosts").glob("*.json"))


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "host.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> BadInputError:
    with pytest.raises(BadInputError) as raised:
        load_host_file(path)
    assert raised.value.hint
    return raised.value


@pytest.mark.parametrize(
    "text", ["{}", '{"gpus": null, "os": null, "nvidia": null}', b"\xef\xbb\xbf{}", '{"new_fact": [1]}']
)
def test_everything_may_be_left_out(tmp_path: Path, text: str | bytes) -> None:
    host = load_host_file(write(tmp_path, text))
    assert host == msgspec.structs.replace(HostFacts(), fingerprint=fingerprint(HostFacts()))


def test_gpus_are_numbered_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path, '{"gpus": [{"name": "Tesla P40"}, {"index": null}, {"index": 7}]}')
    assert load_host_file(path).gpus == (Gpu(index=0, name="Tesla P40"), Gpu(index=1), Gpu(index=7))


def test_a_given_fingerprint_is_kept(tmp_path: Path) -> None:
    assert load_host_file(write(tmp_path, '{"fingerprint": "0123456789ab"}')).fingerprint == "0123456789ab"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"gpus": [{"memory_total_mib": "24 GB"}]}', "gpus/0/memory_total_mib: expected int, got str"),
        ('{"gpus": [{}, {"index": 1.5}]}', "gpus/1/index: expected int, got float"),
        ('{"gpus": ["P40"]}', "gpus/0: expected object, got str"),
        ('{"gpus": {"index": 0}}', "gpus: expected array, got object"),
        ('{"cpu": {"flags": "avx"}}', "cpu/flags: expected array, got str"),
        ('{"gpus": [{"processes": [{"name": "x"}]}]}', "gpus/0/processes/0: missing required field pid"),
        ('{"programs": {"llama-server": 5}}', "programs: expected str, got int"),
        ('{"memory": {"total_mib": -1}}', "memory/total_mib: must not be negative"),
        ('{"gpus": [{"index": -1}]}', "gpus/0/index: must not be negative"),
        ('{"format_version": "1"}', "format_version: expected int, got str"),
        ('{"format_version": 2, "gpus": "?"}', "format_version: 2 is not known here; this deployer reads up to 1"),
        ('{"format_version": 0}', "format_version: 0 is not known here; this deployer reads up to 1"),
        ('{"gpuz": []}', "gpuz: unknown key; did you mean gpus?"),
        ("[]", "expected object, got array"),
        ("5", "expected object, got number"),
        ("true", "expected object, got bool"),
    ],
)
def test_a_wrong_shape_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    error = refusal(path)
    assert isinstance(error, ProfileError)
    assert error.message == f"{path}: {message}"


def test_a_key_of_another_tool_is_left_alone(tmp_path: Path) -> None:
    assert load_host_file(write(tmp_path, '{"gpus": [], "gpu_notes": 1, "site": "rack 7"}')).gpus == ()


@pytest.mark.parametrize("text", ["", "gpus: []", '{"a": ', b"\xff\xfe{\x00", "[" * 100_000, '{"hostname": "\\ud800"}'])
def test_what_is_not_json_says_so(tmp_path: Path, text: str | bytes) -> None:
    error = refusal(write(tmp_path, text))
    assert isinstance(error, ProfileError)
    assert ": not JSON: " in error.message


def test_missing_folder_and_too_large(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json").message == f"{tmp_path / 'none.json'}: no such file"
    assert refusal(tmp_path).message == f"{tmp_path} is a folder, not a host file"
    assert "is larger than 4 MiB" in refusal(write(tmp_path, b" " * (4 * 1024 * 1024 + 1))).message
    assert "cannot be read" in refusal(write(tmp_path, "{}") / "below").message


def test_the_sample_hosts_are_there() -> None:
    assert {path.stem for path in HOSTS} >= {
        "2080ti-3090-mixed",
        "a100-80-580",
        "arc-a770",
        "cpu-avx512",
        "cpu-no-avx",
        "gb10",
        "h100x8-580",
        "jetson-orin",
        "k80x2-470",
        "mi210x2",
        "p40-3090-mixed",
        "p40x2-535",
        "p40x2-580",
        "rtx4090-580",
        "rx7900xtx",
        "strix-halo",
        "t4-580",
        "v100x4-535",
        "wsl2-rtx3060",
    }


@pytest.mark.parametrize("path", HOSTS, ids=[path.stem for path in HOSTS])
def test_a_sample_host_round_trips_and_knows_its_fingerprint(path: Path) -> None:
    host = load_host_file(path)
    assert host.fingerprint == fingerprint(host)
    assert host.hostname == path.stem
    assert msgspec.json.format(msgspec.json.encode(host), indent=2) + b"\n" == path.read_bytes()
