"""Which numbers of two mappings are compared: their counts, sums of counts that every price only ever adds up, or both to a given
accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.accelerator import OperandName
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry

    FloatArray = NDArray[np.float64]

_READ: Final = COUNT_NAMES.index("dram_read_bytes")
_WRITE: Final = COUNT_NAMES.index("dram_write_bytes")


@dataclass(frozen=True)
class Comparison:
    """Mappings with C counts, compared in `width` columns.

    Bytes read from and written to DRAM share its rate, so a latency has their sum. Where both also cost the same energy
    (`Geometry.dram_alike`), an energy has their sum as well, and no price tells two mappings with one sum apart.

    With `excess` above 0 what is compared of all but footprints are whole powers of `1 + excess` (`coarse`). Comparing them is
    transitive, so for every mapping left out, at whatever step, one stays that needs no more room and is within the excess.
    """

    counts: int
    """C."""
    dram_alike: bool
    excess: float = 0.0
    same: tuple[int, ...] = ()
    """Counts that are equal to another one in every mapping: what is written to a buffer for sums alone is read again, all of it."""

    @staticmethod
    def of(geometry: Geometry, counts: int) -> Comparison:
        """For mappings on `geometry` with so many counts."""
        same = [
            len(COUNT_NAMES) + INNER_COLUMNS * (i + 1) - 1
            for i, memory in enumerate(geometry.inner)
            if memory.operands == (OperandName.OUT,) and not memory.registers
        ]
        return Comparison(counts, geometry.dram_alike, geometry.mapping_excess, tuple(same))

    @property
    def width(self) -> int:
        """Columns that are compared, the first ones of what `laid` gives."""
        return self.counts - self.dram_alike - len(self.same)

    @property
    def footprint(self) -> int:
        """Which of the compared columns is the footprint in the outermost buffer."""
        return self._order.index(0)

    @cached_property
    def _order(self) -> list[int]:
        """Counts in the order in which they are compared: footprints and what DRAM reads (or moves), the rest. Comparing takes a third of
        the time that it takes in the order of `Counts` where several memories hold tiles. There DRAM comes first, else the footprint."""
        inside = list(range(len(COUNT_NAMES), self.counts, INNER_COLUMNS))
        first = [_READ, 0, *inside] if inside else [0, _READ]
        left = [*self.same, *([_WRITE] if self.dram_alike else [])]
        return [*first, *(i for i in range(self.counts) if i not in (*first, *left)), *left]

    def laid(self, rows: FloatArray) -> FloatArray:
        """Counts [R, C] with the compared columns in front, [R, C or more]; the rest is carried along."""
        if self.excess:
            return np.concatenate((self.columns(rows), rows), axis=1)
        found = np.empty((self.counts + self.dram_alike, len(rows)))
        np.take(rows.T, self._order, axis=0, out=found[: self.counts], mode="clip")
        if self.dram_alike:
            moved = self._order.index(_READ)
            found[self.counts] = found[moved]
            found[moved] += found[self.counts - 1]
        return found.T

    def counted(self, laid: FloatArray) -> FloatArray:
        """The counts [R, C] of which `laid` was made."""
        if self.excess:
            return laid[:, self.width :]
        order = self._order
        found = np.empty((self.counts, len(laid)))
        found[order] = laid.T[: self.counts]
        if self.dram_alike:
            found[_READ] = laid.T[self.counts]
        return found.T

    def columns(self, rows: FloatArray) -> FloatArray:
        """What is compared of counts [R, C], [R, width]."""
        if self.excess:
            exact = replace(self, excess=0.0)
            footprints = (0, *range(len(COUNT_NAMES), self.counts, INNER_COLUMNS))
            return coarse(exact.columns(rows), self.excess, tuple(self._order.index(i) for i in footprints))
        return self.laid(rows)[:, : self.width]


def coarse(rows: FloatArray, excess: float, exact: tuple[int, ...]) -> FloatArray:
    """`rows` [R, C] with one plus each count in whole powers of `1 + excess`, but for the columns `exact`.

    If one row is at most as large as another in this form, it is at most as large in the columns `exact` and, plus one, less than
    `1 + excess` times as large in the others.
    """
    found = np.floor(np.log1p(rows) / np.log1p(excess))
    held = list(exact)
    found[:, held] = rows[:, held]
    return np.asarray(found)
