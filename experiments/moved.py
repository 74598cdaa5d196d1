"""What a run of the experiments ends with: what is not as expected, and what moved since the pages were last written."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Told:
    """What one experiment tells the summary."""

    name: str
    checks: int
    wrong: Sequence[str]
    """Checks that do not hold."""
    moved: Sequence[str]
    """Values of the page and numbers of the tables that differ from those written last."""
    cpu_s: float
    crashed: str = ""

    @property
    def good(self) -> bool:
        """Whether it ran and all is as expected."""
        return not self.wrong and not self.crashed


def moves(folder: Path, values: Mapping[str, str], tables: Mapping[str, str], marks: tuple[str, str]) -> list[str]:
    """New values by claim and tables by name (as CSV) against the page and the tables that lie in `folder`."""
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    before = _values(text.partition(marks[0])[2].partition(marks[1])[0])
    lines = [f"{claim}: {before.get(claim, 'absent')} -> {ours}" for claim, ours in values.items() if before.get(claim) != ours]
    for name, content in tables.items():
        file = folder / f"{name}.csv"
        line = _table(file.read_text(encoding="utf-8") if file.exists() else "", content)
        lines += [f"{name}.csv: {line}"] if line else []
    return lines


def _values(table: str) -> dict[str, str]:
    """Column `ours` by claim of the table in a page."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("| ")]
    return {row[0]: row[3] for row in rows[2:] if len(row) > 3}


def _table(before: str, after: str) -> str:
    """How two CSV texts differ; empty where they are alike."""
    if before == after:
        return ""
    old, new = (list(csv.reader(io.StringIO(text))) for text in (before, after))
    if not old or [len(row) for row in old] != [len(row) for row in new] or old[0] != new[0]:
        return f"{max(0, len(new) - 1)} rows, other rows or columns than before ({max(0, len(old) - 1)} rows)"
    cells = [(a, b, new[0][column]) for rows in zip(old, new, strict=True) for column, (a, b) in enumerate(zip(*rows, strict=True))]
    other = [(_share(a, b), column) for a, b, column in cells if a != b]
    most, column = max(other)
    size = "" if most == float("inf") else f", most by {100 * most:.2g} % ({column})"
    return f"{len(other)} of {len(cells) - len(new[0])} cells{size}"


def _share(before: str, after: str) -> float:
    """Relative difference of two numbers; infinite where they are none."""
    try:
        a, b = float(before), float(after)
    except ValueError:
        return float("inf")
    return abs(b - a) / abs(a) if a else float("inf")


def summary(told: Sequence[Told]) -> str:
    """The last lines of a run of several experiments."""
    checks, wrong = sum(one.checks for one in told), sum(len(one.wrong) for one in told)
    lines = [
        f"\n{len(told)} experiments, {checks - wrong} of {checks} values as expected, {sum(one.cpu_s for one in told):.0f} s of CPU time"
    ]
    moved = [one for one in told if one.moved]
    if moved:
        lines.append(f"Moved since the pages were written (read the finding in their README.md again): {len(moved)} of {len(told)}")
        lines += [f"  {one.name}: {line}" for one in moved for line in one.moved]
    lines += [f"NOT as expected: {one.name}: {line}" for one in told for line in one.wrong]
    lines += [f"CRASHED: {one.name}: {one.crashed}" for one in told if one.crashed]
    lines.append("All as expected." if all(one.good for one in told) else "Not all as expected: exit code 6.")
    return "\n".join(lines)
