import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import ledger
from deployer.errors import StateError
from deployer.paths import Home
from deployer.types import DeviceMemory, MeasuredMemory, Observation, Settings, SpeedEstimate

FINGERPRINT = "0123456789ab"


def observation(**changes: Any) -> Observation:
    seen = Observation(
        when="2026-11-20T10:00:00Z",
        deployment="demo",
        release=1,
        fingerprint=FINGERPRINT,
        formulas="1",
        engine="llama.cpp",
        engine_version="b1",
        image="server",
        accelerator="cpu",
        model="hf:a/b",
        architecture="llama",
        parameters=1,
        quantization="Q4_1",
        settings=Settings(context=2048, slots=1, gpu_layers=0, tensor_parallel=1, kv_cache_type="f16", threads=1),
        predicted=(
            DeviceMemory(
                device="host",
                weights_mib=1,
                kv_cache_mib=1,
                compute_mib=1,
                overhead_mib=1,
                total_mib=4,
                margin_mib=1,
                available_mib=100,
            ),
        ),
        measured=(MeasuredMemory(device="host", used_mib=5, how="resident", parts={"kv": 1}),),
        speed=SpeedEstimate(prompt_tokens_per_s=1, decode_tokens_per_s=1, total_tokens_per_s=1, basis=""),
    )
    return msgspec.structs.replace(seen, **changes)


def index(home: Home) -> Path:
    return home.ledger / "observations" / f"{FINGERPRINT}.json"


def test_nothing_is_known_of_a_host_at_first(home: Home) -> None:
    assert ledger.observations(home, FINGERPRINT) == ()
    assert ledger.all_observations(home) == ()


def test_observations_come_back_numbered_and_oldest_first(home: Home) -> None:
    first = ledger.add_observation(home, observation(release=1))
    second = ledger.add_observation(home, observation(release=2))
    assert (first.serial, second.serial) == (1, 2)
    assert ledger.observations(home, FINGERPRINT) == (first, second)
    assert ledger.observations(home, "ba9876543210") == ()


def test_each_class_keeps_its_newest(home: Home) -> None:
    other = ledger.add_observation(home, observation(quantization="Q8_0"))
    added = [ledger.add_observation(home, observation(release=number)) for number in range(1, 12)]
    assert ledger.observations(home, FINGERPRINT) == (other, *added[-8:])
    assert ledger.add_observation(home, observation()).serial == 13


def test_the_index_is_bounded(home: Home) -> None:
    for number in range(70):
        ledger.add_observation(home, observation(quantization=f"Q{number}"))
    known = ledger.observations(home, FINGERPRINT)
    assert [item.serial for item in known] == list(range(7, 71))


def test_reading_a_full_index_is_reading_one_small_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `plan` reads it: 64 entries are 128 KiB, which take 2 ms on two slow cores."""
    for number in range(64):
        ledger.add_observation(home, observation(quantization=f"Q{number}"))
    opened, really = [], os.open

    def counted(path: Any, *args: Any, **more: Any) -> int:
        opened.append(Path(path))
        return really(path, *args, **more)

    monkeypatch.setattr(os, "open", counted)
    assert len(ledger.observations(home, FINGERPRINT)) == 64
    assert opened == [index(home)]
    assert index(home).stat().st_size < 192 * 1024


def test_all_observations_are_newest_first_over_all_hosts(home: Home) -> None:
    old = ledger.add_observation(home, observation(when="2026-11-19T10:00:00Z"))
    new = ledger.add_observation(home, observation(when="2026-11-20T10:00:00Z", fingerprint="ba9876543210"))
    assert ledger.all_observations(home) == (new, old)


def test_a_damaged_index_is_set_aside_and_begun_anew(home: Home) -> None:
    ledger.add_observation(home, observation())
    index(home).write_text("{")
    said: list[str] = []
    assert ledger.observations(home, FINGERPRINT, said.append) == ()
    assert "damaged" in said[0]
    assert index(home).with_name(f"{FINGERPRINT}.json.corrupt-1").exists()
    assert ledger.add_observation(home, observation()).serial == 1


def test_an_index_of_a_newer_version_is_left_alone(home: Home) -> None:
    index(home).parent.mkdir(parents=True)
    index(home).write_text('{"format_version": 99}')
    assert ledger.observations(home, FINGERPRINT, lambda _: None) == ()
    with pytest.raises(StateError, match="99"):
        ledger.add_observation(home, observation())
    assert index(home).read_text() == '{"format_version": 99}'


@pytest.mark.parametrize("fingerprint", ["", "../../etc/passwd", "0123/4567", "ABCDEF012345"])
def test_what_is_no_fingerprint_names_no_file(home: Home, fingerprint: str) -> None:
    assert ledger.observations(home, fingerprint) == ()
    assert ledger.add_observation(home, observation(fingerprint=fingerprint)).serial == 0
    assert not home.ledger.exists()
