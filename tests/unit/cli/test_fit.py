"""`deployer fit` from end to end, on sample hosts: the table, the document, refusals, and the page at 80 columns."""

import json
from pathlib import Path

import msgspec
import pytest
from syrupy.assertion import SnapshotAssertion

from deployer.cli import fit_table
from deployer.types.fit import FitTable
from tests.unit.cli.test_bad_input import deployer, refused

ROOT = Path(__file__).parents[3]
SEVENTY = "llama-3.3-70b-instruct"
TABLES = Path(__file__).parent / "tables"


def sample(name: str) -> str:
    return str(ROOT / f"profiles/hosts/{name}.json")


def document(*args: str, home: Path) -> FitTable:
    """The one document of `--json`, decoded strictly."""
    done = deployer("fit", *args, "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return msgspec.json.decode(done.stdout.encode(), type=FitTable)


def test_the_document_has_every_cell(tmp_path: Path) -> None:
    found = document(SEVENTY, "--host", sample("p40-3090-mixed"), "--users", "2", home=tmp_path)
    assert (found.format_version, found.model, found.users) == (1, SEVENTY, 2)
    assert found.contexts == (2048, 4096, 8192, 16384, 32768, 65536, 131072)
    assert {row.place for row in found.rows} == {"one GPU", "all GPUs", "CPU"}
    for row in found.rows:
        assert tuple(cell.context for cell in row.cells) == found.contexts
        assert all(cell.room_mib is not None and cell.memory is not None for cell in row.cells)
    assert any(cell.fits for row in found.rows for cell in row.cells)
    assert any(cell.fits is False for row in found.rows for cell in row.cells)
    assert not list(tmp_path.rglob("*.gguf"))


def test_the_keys_of_a_cell_are_those_of_the_contract(tmp_path: Path) -> None:
    done = deployer("fit", SEVENTY, "--host", sample("p40x2-535"), "--json", home=tmp_path)
    row = json.loads(done.stdout)["rows"][0]
    assert {"engine", "image", "quantization", "format", "devices", "cells", "max_context"} <= set(row)
    keys = {"context", "fits", "room_mib", "gpu_layers", "layers", "kv_cache_type", "memory"}
    assert keys <= set(row["cells"][0])
    assert set(row["cells"][0]["memory"]["devices"][0]) >= {"device", "weights_mib", "kv_cache_mib", "total_mib"}


def test_what_was_asked_for_is_all_there_is(tmp_path: Path) -> None:
    flags = ("--quant", "q4_k_m", "--gpus", "none", "--slots", "2", "--kv-type", "Q8_0", "--context", "5000")
    found = document(SEVENTY, "--host", sample("p40x2-535"), *flags, home=tmp_path)
    assert [(row.quantization, row.devices) for row in found.rows] == [("Q4_K_M", ())]
    assert found.context == 5000
    assert 5000 in found.contexts
    assert {(cell.slots, cell.kv_cache_type) for row in found.rows for cell in row.cells if cell.fits} == {(2, "q8_0")}


def test_where_nothing_fits_the_table_is_shown_and_the_status_is_4(tmp_path: Path) -> None:
    small = tmp_path / "host.json"
    small.write_text(
        '{"cpu": {"architecture": "x86_64", "cores": 2, "flags": ["avx2"]}, "memory": {"total_mib": 1000, '
        '"available_mib": 800}, "container": {"engine": "docker", "version": "28.5.1", "compose": "2.40.2"}}'
    )
    error = refused("fit", SEVENTY, "--host", str(small), home=tmp_path, code=4)
    assert "lacks" in str(error["message"])
    details = error["details"]
    assert isinstance(details, dict)
    assert all(not cell["fits"] for row in details["fit"]["rows"] for cell in row["cells"])
    shown = deployer("fit", SEVENTY, "--host", str(small), home=tmp_path)
    assert shown.returncode == 4
    assert "too large: Q8_0 -" in shown.stdout


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ((SEVENTY, "--quant", "Q4_K_X"), "Q4_K_M"),
        ((SEVENTY, "--kv-type", "q8"), "q8_0"),
        ((SEVENTY, "--engine", "lama.cpp"), "llama.cpp"),
        ((), "which model"),
        ((SEVENTY, "--exact"), "--exact"),
    ],
)
def test_a_wrong_word_is_told(args: tuple[str, ...], word: str, tmp_path: Path) -> None:
    error = refused("fit", *args, "--host", sample("p40x2-535"), home=tmp_path)
    assert word in str(error["message"])


def test_the_plan_takes_the_same_words(tmp_path: Path) -> None:
    flags = ("--slots", "3", "--kv-type", "q4_0", "--engine", "llama.cpp")
    done = deployer("plan", "qwen2.5-7b-instruct", "--host", sample("p40x2-580"), *flags, "--json", home=tmp_path)
    made = json.loads(done.stdout)
    assert (made["settings"]["slots"], made["settings"]["kv_cache_type"]) == (3, "q4_0")
    assert "q4_0" in made["command"]
    shown = deployer("plan", "qwen2.5-7b-instruct", "--host", sample("p40x2-580"), *flags, home=tmp_path)
    assert "--slots=3" in shown.stdout
    assert "--kv-type=q4_0" in shown.stdout


def test_without_any_measurement_the_history_says_so(tmp_path: Path) -> None:
    done = deployer("fit", "--history", "--json", home=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["measurements"] == []


@pytest.mark.parametrize("name", ["p40-3090-mixed", "t4-580"])
@pytest.mark.parametrize("width", [80, 130])
def test_the_page(name: str, width: int, snapshot: SnapshotAssertion) -> None:
    """The layout of tables that were made once: other estimates change no golden."""
    table = msgspec.json.decode((TABLES / f"{name}.json").read_bytes(), type=FitTable)
    page = list(fit_table.lines(table, width))
    assert max(len(line) for line in page if line.startswith("  ") and "too large" not in line) <= width
    assert "\n".join(page) == snapshot


def test_the_page_has_a_line_for_every_form_and_explains_its_signs() -> None:
    table = msgspec.json.decode((TABLES / "p40-3090-mixed.json").read_bytes(), type=FitTable)
    page = "\n".join(fit_table.lines(table, 80))
    for row in table.rows:
        assert row.quantization in page
    assert "a of the b layers are on the GPUs" in page
    assert "the largest context, in tokens" in page
    assert "experts" not in page


def test_a_type_of_keys_and_values_that_was_asked_for_has_no_star() -> None:
    table = msgspec.json.decode((TABLES / "p40-3090-mixed.json").read_bytes(), type=FitTable)
    assert "else it would not fit" in "\n".join(fit_table.lines(table, 80))
    asked = "\n".join(fit_table.lines(table, 80, asked="q8_0"))
    assert "*" not in asked
    assert "else it would not fit" not in asked


def test_unknown_memory_is_a_question_mark() -> None:
    table = msgspec.json.decode((TABLES / "p40-3090-mixed.json").read_bytes(), type=FitTable)
    row = table.rows[0]
    cells = tuple(msgspec.structs.replace(cell, fits=None, room_mib=None) for cell in row.cells)
    blind = msgspec.structs.replace(table, rows=(msgspec.structs.replace(row, cells=cells, max_context=None),))
    page = "\n".join(fit_table.lines(blind, 80))
    assert page.count("?") > len(cells)
    assert "unknown" in page
    assert "+" not in page.split("at 8k")[1].split("\n\n")[0]
