"""Pictures and page: the numbers behind them, the same bytes every time, nothing from outside."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import matplotlib as mpl
import pytest

from dse.campaign.folder import FolderRequest
from dse.campaign.session import SessionRequest, run_session
from dse.campaign.summary import winners
from dse.report import data
from dse.report.figures import pictures, write_pictures
from dse.report.page import page
from dse.report.style import styled
from tests.search_fakes import BYTES, MACS, FakeFactory, fake_plan

if TYPE_CHECKING:
    from pathlib import Path

    from dse.campaign.view import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run") / "a"
    plan = fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 120"), ("  workload.batch: {linear: [1, 4, 4]}\n", ""))
    return run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=folder))).run


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_picture_has_its_numbers(run: Run) -> None:
    drawn = {picture.name: picture for picture in pictures(run)}
    assert list(drawn) == ["pareto", "schemes", "crossover", "roofline", "hypervolume"]
    front = [row for row in rows(drawn["pareto"].csv) if row["on_front"] == "true"]
    assert len(front) == len(run.archive)
    assert sum(row["knee"] == "true" for row in front) == 1
    assert len(rows(drawn["roofline"].csv)) == 2 * 3
    assert len(rows(drawn["schemes"].csv)) == 2 * 3 * 2
    assert len(rows(drawn["hypervolume"].csv)) == len(run.hypervolumes)


def test_the_same_run_gives_the_same_bytes(run: Run) -> None:
    first, second = pictures(run), pictures(run)
    assert first == second
    for picture in first:
        assert "<dc:date>" not in picture.svg
        assert "<?xml" in picture.svg


def test_units_are_on_the_axes(run: Run) -> None:
    svg = next(p.svg for p in pictures(run) if p.name == "pareto")
    assert "<!-- tokens_per_s [token/s] -->" in svg
    assert "<!-- joules_per_token [J/token] -->" in svg
    assert "<!-- better -->" in svg
    assert re.search(r"<title>trial \d+: tokens_per_s", svg)


def test_every_dot_of_the_front_tells_its_own_values(run: Run) -> None:
    # sorted by throughput, the dots of one look go to the right, and so must the values in their texts
    svg = next(p.svg for p in pictures(run) if p.name == "pareto")
    groups = re.findall(r'<g id="tips-[^"]*">(.*?)</g>', svg, re.DOTALL)
    dots = [re.findall(r'<use [^>]* x="([-\d.]+)"[^>]*><title>trial \d+: tokens_per_s ([-+.\de]+) ', group) for group in groups]
    assert sum(map(len, dots)) == len(run.archive)
    for group in dots:
        places, values = ([float(dot[i]) for dot in group] for i in (0, 1))
        assert places == sorted(places)
        assert values == sorted(values)


def test_the_crossover_of_the_closed_forms_by_hand(run: Run) -> None:
    # fake: recompute has 20e9 MACs, reuse moves 1.4e8 bytes at least: 2 x 20e9 / 1.4e8 = 285.7
    found = data.crossover(run, ("reuse", "recompute"))
    assert found is not None
    assert found.ridge_operations_per_byte == pytest.approx(2 * 20 * MACS / (1.4 * BYTES))


def test_reuse_wins_below_the_crossover_and_recompute_above_it(run: Run) -> None:
    closed = data.crossover(run, ("reuse", "recompute"))
    assert closed is not None
    points = data.crossover_points(run, ("reuse", "recompute"))
    assert {p.accelerator for p in points} == {"chip_a", "chip_b"}
    for point in points:
        if point.ridge_operations_per_byte < closed.ridge_operations_per_byte / 1.5:
            assert point.ratio < 1
        if point.ridge_operations_per_byte > closed.ridge_operations_per_byte * 1.5:
            assert point.ratio > 1


def test_winners_are_the_best_of_each_accelerator(run: Run) -> None:
    table = winners(run)
    assert {(row["accelerator"], row["objective"]) for row in table} >= {("chip_a", "tokens_per_s"), ("chip_b", "joules_per_token")}
    assert all(float(row["lead"]) >= 1 for row in table)


def test_drawing_changes_no_global_style(run: Run) -> None:
    with mpl.rc_context({"font.size": 23.0}):
        pictures(run)
        assert mpl.rcParams["font.size"] == 23.0
        with styled():
            assert mpl.rcParams["font.size"] == 9.0


class _Page(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action") and not (value or "").startswith("#"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_the_page_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    del tmp_path
    drawn = pictures(run)
    html = page(run, drawn, config="question: <script>alert(1)</script>")
    parsed = _Page()
    parsed.feed(html)
    assert parsed.loads == []
    assert not parsed.tags & {"script", "link", "iframe", "img"}
    assert "Which &lt;b&gt;scheme&lt;/b&gt; wins?" in html
    assert "&lt;script&gt;" in html
    for name in ("Best designs", "Assumptions", "Failures", "Manifest", "hypervolume", "the front is exact", "knee"):
        assert name in html
    assert len(parsed.ids) == len(set(parsed.ids))


def test_a_run_without_feasible_designs_has_a_page(tmp_path: Path) -> None:
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path))
    empty = run_session(fake_plan(("max: 120", "max: 0.5")), FakeFactory(), request).run
    assert pictures(empty) == []
    write_pictures(empty, [])
    assert "No design is feasible" in page(empty, [], config="")


@pytest.mark.parametrize("metrics", [["latency_s"], ["tokens_per_s", "joules_per_token", "area_mm2"]])
def test_one_and_three_objectives(tmp_path: Path, metrics: list[str]) -> None:
    text = "objectives:\n  - metric: tokens_per_s\n  - metric: joules_per_token\n"
    plan = fake_plan((text, "objectives:\n" + "".join(f"  - metric: {name}\n" for name in metrics)))
    found = run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path))).run
    names = [picture.name for picture in pictures(found)]
    assert ("pareto" in names) == (len(metrics) > 1)
    assert "roofline" in names
    assert page(found, pictures(found), config="")


def test_crossings_lie_between_the_points_that_bracket_them() -> None:
    ratios = ((10.0, 0.5), (100.0, 1.5), (1000.0, 2.0))
    points = [data.CrossoverPoint("a", "reuse", "recompute", 1.0, ridge, ratio) for ridge, ratio in reversed(ratios)]
    points += [data.CrossoverPoint("b", "reuse", "recompute", 1.0, ridge, 0.25) for ridge, _ in ratios]
    a, b = data.crossings(points)
    # Half way from 0.5 to 1.5, so half way between 10 and 100 on a logarithmic axis.
    assert a.ridge_operations_per_byte == pytest.approx(10**1.5)
    assert (a.faster_at_lowest_ridge, a.faster_at_highest_ridge, a.largest_ratio) == ("reuse", "recompute", 2.0)
    assert (b.ridge_operations_per_byte, b.faster_at_highest_ridge, b.largest_ratio) == (None, "reuse", 0.25)
