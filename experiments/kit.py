"""What all experiments share: finding and running them, comparing with expected values, writing numbers, picture and results.

An experiment is a folder with `run.py`, `expected.json` and `README.md`. `run.py` has a function `run(smoke)` that gives
an `Outcome`; the kit does the rest.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dse.errors import ExitCode
from dse.report.style import new_figure, styled, to_svg
from experiments.moved import Told, moves, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOT: Final = Path(__file__).parent
BEGIN, END = "<!-- results: written by run.py -->", "<!-- end of results -->"
Value = float | bool | str
_PATH: Final = re.compile(r' d="[^"]*"')
_DIGITS: Final = re.compile(r"(\d\.\d\d)\d+")
"""Coordinates of paths beyond a hundredth of a point, which nobody sees."""


@dataclass(frozen=True)
class Table:
    """Numbers behind a picture."""

    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]

    def csv(self) -> str:
        """As CSV text; floats with six digits, which is what a picture shows."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in self.rows)
        return out.getvalue()


@dataclass(frozen=True)
class Outcome:
    """What an experiment found."""

    values: dict[str, Value]
    """Compared with `expected.json` by name."""
    tables: dict[str, Table] = field(default_factory=dict)
    """CSV files by name."""
    picture: Callable[[], Figure] | None = None
    """Draws the picture, inside the house style."""


@dataclass(frozen=True)
class Check:
    """One expected value against ours."""

    claim: str
    source: str
    expected: str
    ours: str
    deviation: str
    ok: bool


def experiments(under: str = "") -> list[str]:
    """Names of the experiments, as folders below `experiments/`, in order."""
    found = sorted(str(p.parent.relative_to(ROOT)) for p in ROOT.rglob("run.py"))
    return [name for name in found if name == under or not under or name.startswith(under.rstrip("/") + "/")]


def outcome(name: str, *, smoke: bool) -> Outcome:
    """Run an experiment."""
    module: Any = importlib.import_module("experiments." + name.replace("/", ".") + ".run")  # Any: found by name
    found: Outcome = module.run(smoke=smoke)
    return found


def compare(name: str, found: Outcome, *, smoke: bool) -> list[Check]:
    """Expected values of the experiment against `found`; those of the full size only are left out of a smoke run.

    An entry of `expected.json` has `value` (name of ours), `claim`, `source`, and one of `equals` (with `relative_tolerance`),
    `at_least` and/or `at_most`, `is`; `full_only` where a smoke run does not reach it.
    """
    entries = json.loads((ROOT / name / "expected.json").read_text(encoding="utf-8"))["checks"]
    return [_check(e, found.values[e["value"]]) for e in entries if not (smoke and e.get("full_only"))]


def _check(entry: dict[str, Any], ours: Value) -> Check:  # Any: JSON
    claim, source = entry["claim"], entry["source"]
    if "is" in entry:
        return Check(claim, source, str(entry["is"]), str(ours), "", ours == entry["is"])
    number = float(ours)
    if "equals" in entry:
        wanted, tolerance = float(entry["equals"]), float(entry["relative_tolerance"])
        away = abs(number - wanted) / abs(wanted) if wanted else abs(number)
        return Check(claim, source, f"{wanted:.9g} ± {tolerance:.2g}", f"{number:.9g}", f"{100 * away:.2g} %", away <= tolerance)
    low, high = float(entry.get("at_least", "-inf")), float(entry.get("at_most", "inf"))
    text = " to ".join(f"{v:.6g}" for v in (low, high) if abs(v) != float("inf"))
    if "at_least" not in entry or "at_most" not in entry:
        text = f"{'at least' if 'at_least' in entry else 'at most'} {text}"
    return Check(claim, source, text, f"{number:.6g}", "", low <= number <= high)


def figure(width: float = 7.0, height: float = 3.6, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure with plots side by side, size in inches."""
    made, first = new_figure(width, height)
    if columns * rows == 1:
        return made, [first]
    first.remove()
    grid = made.subplots(rows, columns, squeeze=False)
    return made, [axes for row in grid for axes in row]


def write(name: str, found: Outcome, checks: Sequence[Check], cpu_s: float) -> None:
    """CSV files and picture.svg into the experiment's folder; the table of results into its README."""
    folder = ROOT / name
    for table, content in found.tables.items():
        (folder / f"{table}.csv").write_text(content.csv(), encoding="utf-8")
    if found.picture is not None:
        with styled():
            drawn = found.picture()
        (folder / "picture.svg").write_text(_shortened(to_svg(drawn)), encoding="utf-8")
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {name}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + "\n\n" + _markdown(checks, found, cpu_s) + "\n" + END + after, encoding="utf-8")


def _shortened(svg: str) -> str:
    return _PATH.sub(lambda path: _DIGITS.sub(r"\1", path[0]), svg)


def _markdown(checks: Sequence[Check], found: Outcome, cpu_s: float) -> str:
    lines = ["| claim | source | expected | ours | deviation | within |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {c.claim} | {c.source} | {c.expected} | {c.ours} | {c.deviation} | {'yes' if c.ok else '**no**'} |" for c in checks]
    rounded = max(1, round(cpu_s))
    lines.append(f"\nFull size: about {rounded} s of CPU time.")
    if found.picture is not None:
        lines.append("\n![picture](picture.svg)")
    return "\n".join(lines) + "\n"


def run_one(name: str, *, smoke: bool, keep: bool) -> Told:
    """Run one experiment and print its checks; with `keep` its page, tables and picture are written anew."""
    start = time.process_time()
    found = outcome(name, smoke=smoke)
    cpu_s = time.process_time() - start
    checks = compare(name, found, smoke=smoke)
    print(f"{name}: {sum(c.ok for c in checks)} of {len(checks)} as expected, {cpu_s:.1f} s of CPU time")
    wrong = [f"{c.claim}: expected {c.expected}, ours {c.ours} ({c.source})" for c in checks if not c.ok]
    for line in wrong:
        print(f"  NOT as expected: {line}")
    moved: list[str] = []
    if keep:
        moved = moves(ROOT / name, {c.claim: c.ours for c in checks}, {table: t.csv() for table, t in found.tables.items()}, (BEGIN, END))
        write(name, found, checks, cpu_s)
    for line in moved:
        print(f"  moved: {line}")
    return Told(name, len(checks), tuple(wrong), tuple(moved), cpu_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit code 6 where a value is outside its band, 2 where there is no such experiment."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("folder", nargs="?", default="", help="one experiment or a folder of them; all if left out")
    parser.add_argument("--smoke", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--tell", metavar="FILE", help="write what the summary needs as JSON")
    given = parser.parse_args(arguments)
    names = experiments(given.folder.removeprefix("experiments/").rstrip("/"))
    if not names:
        parser.error(f"no experiment {given.folder!r}; there are: {', '.join(experiments())}")
    if given.list:
        print("\n".join(names))
        return int(ExitCode.DONE)
    if len(names) > 1 and not given.smoke:  # a process each: times in the READMEs are of the experiment alone
        told = [_apart(name) for name in names]
    else:
        told = [run_one(name, smoke=given.smoke, keep=not given.smoke) for name in names]
    if given.tell:
        Path(given.tell).write_text(json.dumps([asdict(one) for one in told]), encoding="utf-8")
    elif len(told) > 1:
        print(summary(told))
    return int(ExitCode.DONE if all(one.good for one in told) else ExitCode.OUTSIDE_BAND)


def _apart(name: str) -> Told:
    """Run an experiment in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "told.json"
        code = subprocess.run([sys.executable, "-m", "experiments", name, "--tell", str(file)], check=False).returncode
        if not file.exists():
            return Told(name, 0, (), (), 0.0, f"ended with exit code {code} before its values were compared")
        (one,) = json.loads(file.read_text(encoding="utf-8"))
    return Told(**one)
