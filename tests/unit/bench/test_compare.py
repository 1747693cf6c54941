import csv
import io
import re
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from deployer.bench.chart import Dot, Series, draw
from deployer.bench.compare import compare
from deployer.bench.report import CSV_HEADER, bundle, run_file, run_file_name
from deployer.bench.words import csv_cell, markdown
from deployer.types.benchmark import BenchMark, BenchModel, BenchRun
from tests.unit.bench.runs import load, run

HOSTILE = '=cmd|"/c calc"!A1 </td><script>alert(1)</script> | `x` [a](http://evil) \x1b[31m\n# head {{ 7*7 }} & ${HOME}'

_LIST = "html head meta title style body h1 h2 h3 p div table tr th td figure figcaption svg line text polyline circle"
TAGS = {*_LIST.split(), "dl", "dt", "dd"}


def places(runs: list[BenchRun], column: str) -> list[str]:
    (group,) = compare(runs)
    return [one.cells[column].place for one in group.configurations]


def test_a_clear_winner_is_named_in_each_direction() -> None:
    runs = [run(1, speed=100), run(2, speed=200, engine="vllm")]
    assert places(runs, "tpot_ms") == ["", "best"]
    assert places(runs, "users_tokens_per_s") == ["", "best"]


def test_no_ranking_within_noise() -> None:
    runs = [
        run(1, speed=100, noise=0.1),
        run(2, speed=103, noise=0.1, engine="vllm"),
        run(3, speed=50, engine="sglang"),
    ]
    assert places(runs, "tpot_ms") == ["level", "level", ""]


def test_a_marked_run_is_shown_and_not_ranked() -> None:
    dirty = run(2, speed=500, engine="vllm", marks=(BenchMark(suite="latency", text="errors"),))
    runs = [run(1, speed=100), dirty, run(3, speed=200, engine="sglang")]
    assert places(runs, "tpot_ms") == ["", "", "best"]
    assert places(runs, "users_tokens_per_s") == ["", "best", ""]
    assert places([run(1), run(2, speed=500, engine="vllm", complete=False)], "tpot_ms") == ["", ""]


def test_one_configuration_alone_is_not_the_best() -> None:
    assert places([run(1)], "tpot_ms") == [""]


def test_runs_of_one_configuration_share_a_row_and_widen_its_noise() -> None:
    (group,) = compare([run(1, speed=100, noise=0.001), run(2, speed=120, noise=0.001)])
    (one,) = group.configurations
    cell = one.cells["tpot_ms"]
    assert (cell.runs, cell.n) == (2, 60)
    assert cell.value == pytest.approx((10 + 8.333) / 2, rel=0.01)
    assert cell.low is not None
    assert cell.high is not None
    assert cell.low < 8.4
    assert cell.high > 9.9


def test_memory_is_ranked_once_it_is_known_how_much_it_varies() -> None:
    assert places([run(1), run(2, engine="vllm")], "memory_mib") == ["", ""]
    results = run().results
    assert results.memory is not None
    row = msgspec.structs.replace(results.memory.devices[0], peak_mib=900)
    heavy = msgspec.structs.replace(results, memory=msgspec.structs.replace(results.memory, devices=(row,)))
    runs = [run(1), run(2), *(run(number, results=heavy, engine="vllm") for number in (3, 4))]
    assert places(runs, "memory_mib") == ["best", ""]


def test_other_questions_are_another_table() -> None:
    groups = compare([run(1), run(2, load=load(output_tokens=128)), run(3, definitions_version=2)])
    assert len(groups) == 3
    assert [one.number for group in groups for one in group.configurations] == [1, 2, 3]


def test_how_long_was_measured_does_not_part_runs() -> None:
    (group,) = compare([run(1), run(2, load=load(seconds=60, seed=9, users=8))])
    assert len(group.configurations) == 1


def test_the_same_runs_make_the_same_bytes_in_any_order() -> None:
    runs = [run(1), run(2, speed=200, engine="vllm")]
    assert bundle(runs) == bundle(list(reversed(runs)))


def hostile() -> BenchRun:
    return run(1, model=BenchModel(name=HOSTILE, ref=HOSTILE), name=HOSTILE, engine=HOSTILE, base_url=HOSTILE,
               client=HOSTILE, marks=(BenchMark(text=HOSTILE),))  # fmt: skip


def test_the_page_is_well_formed_whatever_a_model_is_called() -> None:
    page = bundle([hostile(), run(2, speed=200)])["report.html"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in re.sub(r"https?://127|http-equiv|http://evil", "", page)
    body = page.removeprefix("<!DOCTYPE html>\n")
    body = re.sub(r"<(meta[^>]*)>", r"<\1/>", body)
    root = ET.fromstring(body.replace("\x1b", ""))
    assert {element.tag for element in root.iter()} <= TAGS
    charts = root.findall(".//figure")
    assert [chart.findtext("figcaption") for chart in charts] == [
        "Time to first token by length of prompt",
        "Throughput by users",
        "Waiting by users",
        "Speed by users",
        "Goodput by users (TTFT 200 ms, TPOT 50 ms)",
    ]
    assert all("n=" in (title.text or "") for title in root.findall(".//circle/title"))


def test_the_table_keeps_its_shape_whatever_a_model_is_called() -> None:
    text = bundle([hostile(), run(2)])["report.md"]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    width = {len(re.findall(r"(?<!\\)\|", row)) for row in rows if "configuration" in row or "llama" in row}
    assert width == {13}
    assert "<script" not in text
    assert "[a](" not in text
    assert "http://" not in text
    assert "\x1b" not in text
    assert not any(line.startswith("# head") for line in text.splitlines())


def test_no_cell_of_the_csv_is_a_formula() -> None:
    text = bundle([hostile()])["results.csv"]
    rows = list(csv.reader(io.StringIO(text)))
    assert tuple(rows[0]) == CSV_HEADER
    assert {len(row) for row in rows} == {len(CSV_HEADER)}
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for row in rows for cell in row)
    metrics = {(row[CSV_HEADER.index("suite")], row[CSV_HEADER.index("metric")]) for row in rows[1:]}
    assert {("latency", "ttft_s.p50"), ("users", "output_tokens_per_s.mean"), ("memory", "peak_mib")} <= metrics
    row = next(row for row in rows if row[CSV_HEADER.index("metric")] == "ttft_s.p50")
    assert float(row[CSV_HEADER.index("value")]) == pytest.approx(0.05)


@given(text=some.text(max_size=60))
def test_no_text_leaves_its_cell(text: str) -> None:
    safe = markdown(text)
    assert "\n" not in safe
    assert "<" not in safe
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", safe)
    assert not csv_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_definitions_stand_in_every_report() -> None:
    made = bundle([run(1)])
    for word in ("TTFT", "TPOT", "goodput", "knee"):
        assert f"- **{word}**" in made["report.md"]
        assert f"<dt>{word}</dt>" in made["report.html"]


def test_a_run_is_its_own_file() -> None:
    assert run_file_name(run(1)) == "run-20261120T000001Z-00000001.json"
    assert msgspec.json.decode(run_file(run(1)), type=BenchRun) == run(1)


def test_a_chart_has_round_axes_and_everything_inside() -> None:
    dots = (Dot(1, 12.0, 10.0, 14.0, "n=5"), Dot(8, 87.0, None, None, "n=5"), Dot(1e20, 1.0), Dot(2, float("nan")))
    chart = draw("t", "x", "y", [Series(1, dots), Series(9, dots[:1])])
    assert chart is not None
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "4", "8"]
    assert [tick.text for tick in chart.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    for line in chart.lines:
        for marker in line.markers:
            assert chart.left <= marker.x <= chart.right
            assert chart.top <= marker.top <= marker.y <= marker.bottom <= chart.bottom
    assert [line.dash for line in chart.lines] == ["", "6 3"]


@pytest.mark.parametrize("dots", [(), (Dot(0, 1.0),), (Dot(1, -1.0),), (Dot(1, float("inf")),)])
def test_nothing_to_draw_is_no_chart(dots: tuple[Any, ...]) -> None:
    assert draw("t", "x", "y", [Series(1, dots)]) is None


def test_one_point_of_nothing_still_has_axes() -> None:
    chart = draw("t", "x", "y", [Series(1, (Dot(3, 0.0),))])
    assert chart is not None
    assert [tick.text for tick in chart.x_ticks] == ["2", "4"]
