"""Count vectors: what mappings of an operator need and move, with no capacity, bandwidth, energy or clock in them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of R mappings, arrays [R]; each is better when smaller and none depends on a price."""

    footprint_bytes: FloatArray
    """Bytes of the on-chip buffer that the mapping occupies."""
    dram_read_bytes: FloatArray
    dram_write_bytes: FloatArray
    buffer_read_bytes: FloatArray
    """Bytes read from the buffer: by the array or vector unit, and to write tiles back to DRAM."""
    buffer_write_bytes: FloatArray
    """Bytes written to the buffer: by the array or vector unit, and by tiles that arrive from DRAM."""
    array_cycles: FloatArray
    """Busy cycles of the MAC arrays, fill and drain included."""
    inner: FloatArray | None = None
    """[R, 3 L] for the L memories inside the outermost buffer, from inner to outer: footprint of one instance, bytes read and
    bytes written over all instances; None where there are none."""

    def __len__(self) -> int:
        return len(self.footprint_bytes)

    def take(self, index: NDArray[np.int64]) -> Counts:
        """The mappings at `index`."""
        inner = None if self.inner is None else self.inner[index]
        return Counts(**{name: getattr(self, name)[index] for name in COUNT_NAMES}, inner=inner)

    def matrix(self) -> FloatArray:
        """All counts, [R, 6 + 3 L], columns in the order of the fields."""
        outer = np.stack([getattr(self, name) for name in COUNT_NAMES], axis=1)
        return outer if self.inner is None else np.concatenate((outer, self.inner), axis=1)


COUNT_NAMES: Final = tuple(f.name for f in fields(Counts) if f.name != "inner")
INNER_COLUMNS: Final = 3
"""Count columns of one inner memory: footprint, read, written."""


def counts_of(matrix: FloatArray) -> Counts:
    """The counts whose `matrix()` is given, [R, 6 + 3 L]."""
    outer = np.ascontiguousarray(matrix[:, : len(COUNT_NAMES)].T)
    inner = matrix[:, len(COUNT_NAMES) :] if matrix.shape[1] > len(COUNT_NAMES) else None
    return Counts(**dict(zip(COUNT_NAMES, outer, strict=True)), inner=inner)


@dataclass(frozen=True, slots=True)
class OperandTraffic:
    """Bytes that one operand occupies and moves in R mappings, arrays [R]."""

    footprint_bytes: FloatArray
    """In the outermost buffer."""
    dram_read_bytes: FloatArray
    dram_write_bytes: FloatArray
    buffer_read_bytes: FloatArray
    buffer_write_bytes: FloatArray
    inner_footprint_bytes: FloatArray
    """In a buffer inside the outermost one; the bytes that it reads and writes follow."""
    inner_read_bytes: FloatArray
    inner_write_bytes: FloatArray
