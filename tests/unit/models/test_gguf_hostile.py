"""Hostile files: typed error, under one second, under 100 MB, nothing unprintable in the message."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import ModelFileError
from deployer.models.gguf import GgufHeader, read_header
from deployer.models.source import BytesSource
from tests.unit.models.gguf_files import tiny
from tests.unit.models.hostile import OURS, PUBLISHED, corpus

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("hostile")
    for name, data in corpus().items():
        (folder / name).write_bytes(data)
    argv = [sys.executable, "-m", "tests.unit.models.read_corpus", str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(PUBLISHED) == 23
    assert len(OURS) >= 40


def test_every_hostile_file_is_refused_by_name(readings: list[dict[str, Any]]) -> None:
    assert len(readings) == len(corpus())
    assert [entry["name"] for entry in readings if entry["kind"] != "ModelFileError"] == []


def test_every_hostile_file_is_refused_quickly(readings: list[dict[str, Any]]) -> None:
    assert [(entry["name"], entry["s"]) for entry in readings if entry["s"] >= 1] == []


def test_hostile_files_take_little_memory(readings: list[dict[str, Any]]) -> None:
    assert max(entry["peak_mib"] for entry in readings) < 100


def test_no_message_can_move_the_cursor_of_a_terminal(readings: list[dict[str, Any]]) -> None:
    assert [entry["name"] for entry in readings if not entry["message"].isprintable()] == []
    assert [entry["name"] for entry in readings if len(entry["message"]) > 600] == []


def test_the_sound_file_that_the_corpus_cuts_is_accepted() -> None:
    header = read_header(BytesSource(tiny()))
    assert [tensor.name for tensor in header.tensors] == ["token_embd.weight", "output_norm.weight"]
    assert header.arrays["tokenizer.ggml.tokens"].length == 3
    assert header.arrays["scores"].values == (0.5, 1.5)


@pytest.mark.parametrize("window", [1, 2, 7, 8, 9, 64])
def test_small_windows_read_the_same(window: int) -> None:
    assert read_header(BytesSource(tiny()), window=window) == read_header(BytesSource(tiny()))


def _read(data: bytes, window: int) -> GgufHeader | ModelFileError:
    try:
        return read_header(BytesSource(data), window=window)
    except ModelFileError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_mutated_file_is_read_or_refused_whatever_the_window(data: st.DataObject) -> None:
    mutated = bytearray(tiny())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        new = data.draw(
            st.one_of(st.binary(min_size=1, max_size=1), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f"]))
        )
        mutated[at : at + len(new)] = new
    large, small = _read(bytes(mutated), 1 << 20), _read(bytes(mutated), 16)
    if isinstance(large, GgufHeader):
        assert repr(large) == repr(small)  # NaN differs from itself
    else:
        assert isinstance(small, ModelFileError)
        assert large.message.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_after_a_good_start_are_read_or_refused(rest: bytes) -> None:
    found = _read(tiny()[:24] + rest, 1 << 20)
    assert isinstance(found, GgufHeader) or found.message.isprintable()
