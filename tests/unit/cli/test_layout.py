"""Lines and tables in 80 columns: wrapped where words end, and every word is still there."""

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.cli import layout, show_status
from deployer.types import Live, Row
from deployer.types.several import GatewayState, Overview
from tests.unit.cli.test_bad_input import HOST, NAME

WORDS = st.lists(st.text("abc./-", min_size=1, max_size=30), min_size=1, max_size=12)
ROW = Row(
    name="several-a",
    status="running",
    release=3,
    answers=True,
    engine="llama.cpp",
    model="hf:unsloth/Qwen2.5-7B-Instruct-GGUF",
    quantization="Q4_K_M",
    base_url="http://127.0.0.1:8001/v1",
    runtime="compose",
    devices=("NVIDIA GeForce RTX 4090",) * 2,
    live=Live(memory_mib={"GPU-0e2b7f4a": 20480, "GPU-1e2b7f4a": 20480}, tokens_per_s=148.5, requests_running=2),
)


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("  - because of this and of that and of more than one line can hold", "    "),
        ("  image     ghcr.io/a/b:c and a sentence that is longer than the line", "            "),
        ("plain words that are more than what fits on one line of forty columns", ""),
    ],
)
def test_what_is_wrapped_goes_on_below_its_own_text(line: str, below: str) -> None:
    first, *others = layout.wrapped(line, 40)
    assert all(re.match(f"{below}\\S", other) for other in others), others
    assert max(len(piece) for piece in (first, *others)) <= 40
    assert layout.wrapped(line, None) == [line] == layout.wrapped(line, 100)


@given(WORDS, st.integers(20, 100))
def test_no_word_is_lost_or_broken(words: list[str], width: int) -> None:
    line = " ".join(words)
    pieces = layout.wrapped(line, width)
    assert " ".join(pieces).split() == words
    assert all(len(piece) <= width or len(piece.split()) == 1 for piece in pieces)


@given(st.lists(st.tuples(*[st.text("abc", min_size=1, max_size=40)] * 4), max_size=4), st.integers(40, 200))
def test_a_table_keeps_every_cell_in_every_width(rows: list[tuple[str, ...]], width: int) -> None:
    header = ("NAME", "STATUS", "MODEL", "MESSAGE")
    shown = list(layout.table(header, rows, width))
    assert [word for row in rows for word in row] == [word for line in shown for word in line.split() if word.islower()]
    assert all(len(line) <= width or len(line.split()) <= 2 for line in shown)


def test_a_long_last_column_is_wrapped_below_itself() -> None:
    rows = [("works", "a sentence that does not fit beside the other column at all")]
    assert list(layout.table(("STATUS", "EVIDENCE"), rows, 40)) == [
        "STATUS  EVIDENCE",
        "works   a sentence that does not fit",
        "        beside the other column at all",
    ]


def test_status_in_80_columns_shows_every_value() -> None:
    assert list(layout.table(show_status.HEADER, [show_status.cells(ROW)], 80)) == [
        "several-a",
        "  STATUS running  ANSWERS yes  RELEASE 3  ENGINE llama.cpp",
        "  MODEL hf:unsloth/Qwen2.5-7B-Instruct-GGUF/Q4_K_M  RUNTIME compose",
        "  BASE URL http://127.0.0.1:8001/v1  RESTARTS 0",
    ]
    front = GatewayState(
        status="running", answers=True, base_url="http://127.0.0.1:8000/v1", models=("several-a", "b"), down=("b",)
    )
    assert list(show_status.page(Overview(deployments=(ROW,), gateway=front), 80)) == [
        "several-a",
        "  STATUS running  ANSWERS yes  MODEL hf:unsloth/Qwen2.5-7B-Instruct-GGUF/Q4_K_M",
        "  DEVICES NVIDIA GeForce RTX 4090,NVIDIA GeForce RTX 4090",
        "  MEMORY GPU-0e2b 20.0 GiB, GPU-1e2b 20.0 GiB  TOKENS/S 148.5  RUNNING 2",
        "  WAITING -  KV CACHE -",
        "gateway running, answers: http://127.0.0.1:8000/v1 for several-a, b",
        "  ! 503 for b: not running, or not answering",
    ]
    wide = list(show_status.page(Overview(deployments=(ROW,)), 250))
    assert [line.split()[0] for line in wide] == ["NAME", "several-a"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (GatewayState(status="down", file="/srv/d.yaml", models=("a",)), "bring it up: deployer up -f /srv/d.yaml"),
        (GatewayState(status="running", models=("a",), down=("a",)), "bring it up: deployer up -f deployer.yaml"),
        (GatewayState(status="unknown"), "Docker does not answer: deployer probe"),
        (GatewayState(status="damaged"), "its record cannot be read"),
    ],
)
def test_a_gateway_that_does_not_answer_has_a_way_out(found: GatewayState, said: str) -> None:
    assert said in list(show_status.gateway(found))[-1]
    assert f"name=gateway status={found.status} answers=no" in show_status.gateway_line(found, "now")


def on_terminal(home: Path, columns: int, *words: str) -> list[str]:
    """What a verb writes to a terminal of so many columns, without colours."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", *words],
        env={**os.environ, "DEPLOYER_HOME": str(home), "COLUMNS": str(columns), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:
            break  # the other end was closed
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).replace("\r", "").splitlines()


@pytest.mark.parametrize("words", [("plan", NAME, "--explain", "--host", HOST), ("engines", "--host", HOST)])
def test_a_page_on_a_terminal_is_no_wider_than_it_and_the_same_words(words: tuple[str, ...], tmp_path: Path) -> None:
    page = on_terminal(tmp_path, 80, *words)
    long = [line for line in page if len(line) > 80 and len(line.split()) > 2 and not line.startswith("next:")]
    assert long == []
    wide = on_terminal(tmp_path, 4000, *words)
    assert " ".join(page).split() == " ".join(wide).split()
