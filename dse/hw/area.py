"""Silicon area of a chip from its technology, over whole tables of design points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.units import BYTES_PER_GB, BYTES_PER_MIB, MM2_PER_UM2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry
    from dse.hw.technology import Technology


def element_area_um2(array: ArrayGeometry, technology: Technology) -> float:
    """um2 of one processing element: the largest over its data types of MACs per cycle times area per MAC.

    Source: derived here. One datapath serves all types, so the largest demand counts, not the sum.
    Example: 1 bf16 MAC at 600 um2 or 2 fp8 MACs at 250 um2 take 600 um2. A type without an area in the technology
    takes that of the technology's widest one.
    """
    widest = max(technology.mac_area_um2.values())
    return max(rate * technology.mac_area_um2.get(dtype, widest) for dtype, rate in array.macs_per_pe_per_cycle)


def area_columns(
    array: ArrayGeometry,
    technology: Technology,
    *,
    lanes: NDArray[np.float64],
    buffer_bytes: NDArray[np.float64],
    dram_bytes_per_s: NDArray[np.float64],
    other_mm2: Mapping[str, NDArray[np.float64]],
) -> dict[str, NDArray[np.float64]]:
    """mm2 by component, each [D], with the names of `AreaBreakdown`.

    array = rows * columns * count * element; vector = lanes * lane; buffer = MiB * mm2 per MiB; DRAM interface =
    GB/s * mm2 per GB/s; other as given. Source: derived here, constants with their sources in the technology files.
    `buffer_bytes` are all on-chip memories, inner ones and registers of their own included, at one density.
    Left out: wiring between the components, ports beyond the usual ones (bandwidth of the buffer costs no area),
    control, links to other chips, I/O; `area.other_mm2` of an accelerator file can add them.
    Worked number: 128 x 128 elements of 600 um2 take 9.83 mm2.
    """
    elements = array.elements
    none = np.zeros(1)
    return {
        "array_mm2": np.array([elements * element_area_um2(array, technology) * MM2_PER_UM2]),
        "vector_mm2": lanes * (technology.vector_lane_area_um2 * MM2_PER_UM2),
        "buffer_mm2": buffer_bytes * (technology.buffer_area_mm2_per_mib / BYTES_PER_MIB),
        "dram_interface_mm2": dram_bytes_per_s * (technology.dram_interface_area_mm2_per_gb_per_s / BYTES_PER_GB),
        "other_mm2": sum(other_mm2.values(), start=none),
    }
