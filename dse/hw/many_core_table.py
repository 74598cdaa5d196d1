"""Many design points of one chip as columns: what is known of them before anything is planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.many_core_paths import of_kind
from dse.hw.table import widened
from dse.units import BYTES_PER_GB, BYTES_PER_GIB, BYTES_PER_KIB, BYTES_PER_MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from dse.hw.many_core_form import ChipFile
    from dse.hw.read import AcceleratorDescription
    from dse.hw.table import DesignTable, PriceFields

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChipTable:
    """Design points of one chip; every array is [D]."""

    size: int
    area_by_component: Mapping[str, FloatArray]
    """mm2 with the names of `AreaBreakdown`."""
    dram_capacity_bytes: FloatArray
    dram_bytes_per_s: FloatArray
    """What the port of the memory off chip sustains."""
    kinds: Mapping[str, DesignTable]
    """Each kind of core as an accelerator of one core."""
    file: ChipFile
    leakage_w: FloatArray
    """Of all cores and of the rest."""

    @property
    def area_mm2(self) -> FloatArray:
        """Area in all."""
        return np.asarray(sum(self.area_by_component.values(), start=np.zeros(self.size)))

    @property
    def dram_read_pj_per_byte(self) -> FloatArray:
        """Energy of a byte read off chip: one memory, of whatever kind of core asks."""
        return next(iter(self.kinds.values())).dram_read_pj_per_byte

    def peak_macs_per_s(self, dtype: str, elements: Mapping[str, int]) -> FloatArray:
        """MACs per second of all arrays that compute `dtype`; `elements`: MACs per cycle of one core of each kind that does."""
        found = np.zeros(self.size)
        for kind, each in elements.items():
            table = self.kinds[kind]
            found = found + self.file.cores[kind].count * each * table.clock_hz * table.array_sustained_fraction
        return found


def build_chip_table(
    file: ChipFile,
    fields: PriceFields,
    kinds: Mapping[str, AcceleratorDescription],
    given: Mapping[str, ArrayLike],
) -> ChipTable:
    """Design points of a chip: `{price path: scalar or [D]}` in file units; all else as described.

    Raises:
        UsageError: a path that is unknown or no price, columns of different lengths, a value that is not allowed.
    """
    columns = fields.columns(given)
    size = max((columns[path].size for path in given), default=1)
    tables = {kind: _kind_table(kind, one, file, {path: columns[path] for path in given}) for kind, one in kinds.items()}
    technology = next(iter(kinds.values())).technology
    dram = f"memories.{file.dram[0]}."

    def wide(column: FloatArray) -> FloatArray:
        return widened(column, size)

    array, vector, buffers, leakage = (np.zeros(size) for _ in range(4))
    for kind, form in file.cores.items():
        area = tables[kind].area_by_component
        array = array + form.count * area["array_mm2"] * (form.array is not None)
        vector = vector + form.count * area["vector_mm2"] * (form.vector is not None)
        buffers = buffers + form.count * area["buffer_mm2"]
        leakage = leakage + form.count * tables[kind].leakage_w
    for name, _ in file.shared:
        kib = columns[f"memories.{name}.capacity_kib"]
        buffers = buffers + kib * BYTES_PER_KIB / BYTES_PER_MIB * technology.buffer_area_mm2_per_mib
    rate = columns[dram + "bandwidth_gb_per_s"]
    other = sum((columns[f"area.other_mm2.{name}"] for name in file.area.other_mm2), start=np.zeros(1))
    areas = {
        "array_mm2": wide(array),
        "vector_mm2": wide(vector),
        "buffer_mm2": wide(buffers),
        "dram_interface_mm2": wide(rate * technology.dram_interface_area_mm2_per_gb_per_s),
        "other_mm2": wide(other),
    }
    return ChipTable(
        size,
        areas,
        wide(columns[dram + "capacity_gib"] * BYTES_PER_GIB),
        wide(rate * columns[dram + "sustained_fraction"] * BYTES_PER_GB),
        tables,
        file,
        wide(leakage + columns["leakage_w"]),
    )


def _kind_table(kind: str, one: AcceleratorDescription, file: ChipFile, given: Mapping[str, FloatArray]) -> DesignTable:
    mine = {own: column for path, column in given.items() if (own := of_kind(path, kind, file)) is not None}
    return one.table(mine)
