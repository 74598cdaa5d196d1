"""The roofline evaluation of one chip: per kernel the larger of compute, vector work and bytes, plus its launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import InputError
from dse.ir.tensor import Role
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dse.hw.read import AcceleratorDescription
    from dse.system.axes import Cut
    from dse.system.kernels import Region
    from dse.system.system import NearMemory, System
    from dse.system.work import KernelWork

    FloatArray = NDArray[np.float64]
    Rate = float | FloatArray


@dataclass(frozen=True)
class ChipRates:
    """What the roofline needs of a chip: numbers, or arrays [D] for many chips of one geometry."""

    name: str
    macs_per_s: Mapping[str, Rate]
    vector_ops_per_s: Rate
    dram_bytes_per_s: Rate
    launch_s: Rate
    mac_pj: Mapping[str, Rate]
    vector_pj: Rate
    dram_pj_per_byte: Rate
    leakage_w: Rate
    area_mm2: Rate
    near_memory: NearMemory | None = None

    def of_region(self, region: Region) -> ChipRates:
        """Rates for kernels of a region: those of the near-memory unit where it runs them."""
        near = self.near_memory
        if near is None or region not in near.regions:
            return self
        return replace(
            self,
            macs_per_s=dict.fromkeys(self.macs_per_s, near.macs_per_s),
            dram_bytes_per_s=near.bytes_per_s,
            dram_pj_per_byte=self.dram_pj_per_byte if near.dram_pj_per_byte is None else near.dram_pj_per_byte,
        )

    @property
    def ridge_flops_per_byte(self) -> dict[str, Rate]:
        """Peak operations over peak bytes by format; one MAC is two operations."""
        return {dtype: 2 * rate / self.dram_bytes_per_s for dtype, rate in self.macs_per_s.items()}


def chip_rates(chip: AcceleratorDescription, columns: Mapping[str, FloatArray] | None = None) -> ChipRates:
    """Sustained rates and prices of an accelerator; DRAM energy is the mean of reading and writing.

    With `columns` of price paths, [D] each, every rate and price is [D]: many chips of one geometry at once.

    Raises:
        UsageError: a path that is unknown or no price, or a value that is not allowed.
    """
    table, array = chip.table(columns), chip.geometry.array

    def rate(values: FloatArray) -> Rate:
        return values if columns else float(values[0])

    return ChipRates(
        name=chip.name,
        macs_per_s={
            dtype: rate(array.elements * macs * table.clock_hz * table.array_sustained_fraction)
            for dtype, macs in array.macs_per_pe_per_cycle
        },
        vector_ops_per_s=rate(table.vector_ops_per_cycle * table.clock_hz),
        dram_bytes_per_s=rate(table.dram_bytes_per_s * table.dram_sustained_fraction),
        launch_s=rate(table.launch_latency_s),
        mac_pj={dtype: rate(pj) for dtype, pj in table.mac_pj.items()},
        vector_pj=rate(table.vector_pj_per_op),
        dram_pj_per_byte=rate((table.dram_read_pj_per_byte + table.dram_write_pj_per_byte) / 2),
        leakage_w=rate(table.leakage_w),
        area_mm2=rate(table.area_mm2),
    )


def system_rates(system: System, columns: Mapping[str, FloatArray] | None = None) -> ChipRates:
    """`chip_rates` of a system's chips, with their near-memory units."""
    return replace(chip_rates(system.chip, columns), near_memory=system.near_memory)


@dataclass(frozen=True)
class KernelTime:
    """A kernel over P points; all arrays [P]."""

    seconds: FloatArray
    compute_s: FloatArray
    dram_s: FloatArray
    joules: FloatArray
    macs: FloatArray
    moved_bytes: FloatArray
    """Across the kernel's boundary."""


def kernel_time(
    kernel: KernelWork, by: dict[Cut, float], rates: ChipRates, scale: FloatArray, fixed: FloatArray | float = 1.0
) -> KernelTime:
    """Time and energy of a kernel on one chip for counts fixed x `fixed` + slope x `scale`, [P] each.

    seconds = max(MACs / peak, vector operations / rate, bytes / DRAM rate) + launch; energy counts MACs, vector operations
    and DRAM bytes. Scale is the sequences of the chip (rows of experts for expert kernels, whose `fixed` is active experts).

    Raises:
        InputError: a format that the chip cannot multiply.
    """
    compute = np.zeros_like(scale)
    energy = np.zeros_like(scale)
    multiplied = np.zeros_like(scale)
    for dtype, affine in kernel.macs:
        if dtype not in rates.macs_per_s:
            known = ", ".join(rates.macs_per_s)
            raise InputError.single(
                f"{rates.name}: node '{kernel.name}'", f"cannot multiply {dtype}; it computes {known}; choose another precision"
            )
        a, b = affine.divided(by)
        macs = a * fixed + b * scale
        multiplied = multiplied + macs
        compute = compute + macs / rates.macs_per_s[dtype]
        energy = energy + macs * rates.mac_pj[dtype]
    vector = np.zeros_like(scale)
    for affine in kernel.vector_ops:
        a, b = affine.divided(by)
        vector = vector + a * fixed + b * scale
    moved = np.zeros_like(scale)
    for _, affine in kernel.moved:
        a, b = affine.divided(by)
        moved = moved + a * fixed + b * scale
    dram = moved / rates.dram_bytes_per_s
    seconds = np.maximum(np.maximum(compute, vector / rates.vector_ops_per_s), dram) + rates.launch_s
    energy = (energy + vector * rates.vector_pj + moved * rates.dram_pj_per_byte) * JOULES_PER_PJ
    return KernelTime(seconds, compute, dram, energy, multiplied, moved)


def activation_bytes(kernel: KernelWork, by: dict[Cut, float]) -> tuple[float, float]:
    """(fixed, slope) bytes of activations across a kernel's boundary, on one chip."""
    pairs = [affine.divided(by) for role, affine in kernel.moved if role not in (Role.WEIGHT, Role.CACHE)]
    return sum(a for a, _ in pairs), sum(b for _, b in pairs)
