"""An array of one to four dimensions in the two forms of an accelerator file: rows, columns and equal arrays, or by name."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from dse.hw.importers.report import Said

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dse.hw.importers.report import Report

FLOWS: Final = {"right": ("weight_stationary", "k", "n"), "left": ("input_stationary", "k", "m"), "out": ("output_stationary", "m", "n")}
"""Dataflow in which the operand stays, and the loops along rows and columns."""


@dataclass(frozen=True, slots=True)
class ShortArray:
    """Rows, columns and count, and which dimension of the source each of them is."""

    rows: int
    columns: int
    count: int
    dataflows: tuple[str, ...]
    sides: tuple[tuple[str, tuple[str, ...]], ...]
    """(rows, columns or arrays; dimensions of the source along it)."""

    def serves(self, served: Iterable[str]) -> list[str]:
        """The sides that an instance feeds if it feeds these dimensions of the source."""
        known = set(served)
        return [side for side, dims in self.sides if set(dims) <= known]


def short_array(
    dims: tuple[tuple[str, int], ...], loops: Mapping[str, tuple[str, ...]], stays: list[str], cores: int, report: Report
) -> ShortArray:
    """The array as rows and columns: the two dimensions that the dataflow needs; all others, and the cores, are arrays side by side."""
    sizes = dict(dims)
    largest = sorted(sizes, key=lambda d: -sizes[d])
    pairs = [(r, c) for r in largest for c in largest if r != c]
    fits = {
        (r, c): [FLOWS[o][0] for o in stays if FLOWS[o][1] in loops[r] and FLOWS[o][2] in loops[c]]
        for r, c in sorted(pairs, key=pairs.index)
    }
    chosen = next((pair for pair, flows in fits.items() if flows), None)
    if chosen is None:
        chosen = (largest[0], largest[1] if len(largest) > 1 else "")
        flows = [FLOWS[o][0] for o in stays]
        report.add(Said.ASSUMED, f"dataflows {', '.join(flows)}; no two array dimensions have the loops of one of them")
    else:
        flows = fits[chosen]
    row, column = chosen
    rest = tuple(d for d, _ in dims if d not in chosen)
    count = prod(sizes[d] for d in rest) * cores
    parts = [f"rows {row}", f"columns {column or 'none'}"]
    if count > 1:
        parts.append(f"{count} arrays of {', '.join((*rest, *(['the cores'] if cores > 1 else [])))}, each with a part of the passes")
    report.add(Said.ASSUMED, f"array: {', '.join(parts)}; {', '.join(flows)}")
    arrays = (*rest, "cores") if cores > 1 else rest
    sides = (("rows", (row,)), ("columns", (column,) if column else ()), ("arrays", arrays))
    return ShortArray(sizes[row], sizes.get(column, 1), count, tuple(flows), sides)


@dataclass(frozen=True, slots=True)
class LongArray:
    """The array with its dimensions by name."""

    dims: tuple[tuple[str, int, tuple[str, ...]], ...]
    """(name, size, loops that may be spread over it)."""
    stays: tuple[str, ...]

    def serves(self, served: Iterable[str]) -> list[str]:
        """The dimensions that an instance feeds, by the names of the file."""
        return [d.lower() for d in served]
