"""The roofline evaluation of one chip: per kernel the larger of compute, vector work and bytes, plus its launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from dse.errors import InputError, UsageError
from dse.hw.many_core_read import ChipDescription
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
    Hardware: TypeAlias = AcceleratorDescription | ChipDescription
    """What the chips of a system may be: accelerators of one core, or chips of many cores."""


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


PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Einsum"})
"""Operator types of the products of a layer: arrays of cores that may run none of them do not count."""


def chip_rates(chip: Hardware, columns: Mapping[str, FloatArray] | None = None) -> ChipRates:
    """Sustained rates and prices of a chip; DRAM energy is the mean of reading and writing.

    Of a chip of many cores the rates of all cores together, that may run products where arrays are concerned; a MAC or vector
    operation costs the mean over them, weighted by their rates, and the memory off chip has the rate of its port.
    With `columns` of price paths, [D] each, every rate and price is [D]: many chips of one geometry at once.

    Raises:
        UsageError: a path that is unknown or no price, a value that is not allowed, or a chip of many cores without a vector unit.
    """
    if isinstance(chip, ChipDescription):
        return _many_core_rates(chip, columns)
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


def _many_core_rates(chip: ChipDescription, columns: Mapping[str, FloatArray] | None) -> ChipRates:
    table = chip.table(columns)
    macs: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
    vectors: list[tuple[FloatArray, FloatArray]] = []
    for kind, form in chip.file.cores.items():
        one, array = table.kinds[kind], chip.kinds[kind].geometry.array
        if form.array is not None and (form.op_types is None or PRODUCTS & set(form.op_types)):
            for dtype, each in array.macs_per_pe_per_cycle:
                rate = form.count * array.elements * each * one.clock_hz * one.array_sustained_fraction
                macs.setdefault(dtype, []).append((rate, one.mac_pj[dtype]))
        if form.vector is not None:
            vectors.append((form.count * one.vector_ops_per_cycle * one.clock_hz, one.vector_pj_per_op))
    if not vectors:
        raise UsageError(
            f"{chip.name}: no kind of core has a vector unit, which every layer of a model needs; give one under cores.KIND.vector"
        )
    memory = next(iter(table.kinds.values()))

    def number(values: FloatArray) -> Rate:
        return np.broadcast_to(values, (table.size,)) if columns else float(np.ravel(values)[0])

    return ChipRates(
        name=chip.name,
        macs_per_s={dtype: number(_total(units)) for dtype, units in macs.items()},
        vector_ops_per_s=number(_total(vectors)),
        dram_bytes_per_s=number(table.dram_bytes_per_s),
        launch_s=number(memory.launch_latency_s),
        mac_pj={dtype: number(_mean_pj(units)) for dtype, units in macs.items()},
        vector_pj=number(_mean_pj(vectors)),
        dram_pj_per_byte=number((memory.dram_read_pj_per_byte + memory.dram_write_pj_per_byte) / 2),
        leakage_w=number(table.leakage_w),
        area_mm2=number(table.area_mm2),
    )


def _total(units: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Operations per second of units given as (rate, energy)."""
    return np.asarray(sum(rate for rate, _ in units))


def _mean_pj(units: list[tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Energy of one operation where each unit does its share."""
    return np.asarray(sum(rate * pj for rate, pj in units) / _total(units))


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
