"""The time of a chip in a system at what measured kernels sustain: launches and shares of data-sheet rates by kernel family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError
from dse.hw.many_core_read import ChipDescription
from dse.ir.lowering import Phase
from dse.ir.tensor import Role
from dse.system.axes import Cut
from dse.system.chip_time import chip_rates
from dse.system.kernels import Region
from dse.system.layer_time import timed_kernel
from dse.system.parallel import divisors_of
from dse.units import SECONDS_PER_US
from dse.validation.silicon.chip import read_chip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dse.system.chip_time import ChipRates
    from dse.system.layer_time import OperatorTime
    from dse.system.parallel import Parallel
    from dse.system.placement import GroupLoad
    from dse.system.system import System
    from dse.system.work import KernelWork, ModelWork, PartWork
    from dse.validation.silicon.chip import Chip

    FloatArray = NDArray[np.float64]

_STORED: Final = {"fp8": "fp8_block", "fp4": "nvfp4"}
"""Storage format whose kernels multiply in an arithmetic format; the calibration falls back to wider ones."""
_LIKE: Final = {"prefill_absorbed": "prefill_naive"}
"""Family whose constants stand in where one was not measured on a chip: the same kernel with other widths of keys and values."""
_EXPERT_PRODUCTS: Final = 3
"""Gate, up and down: one fused launch in the calibration."""


@dataclass(frozen=True)
class CalibratedChip:
    """A model of a chip (`layer_time.ChipModel`): the roofline of each kernel at the launch and sustained shares of its family.

    Families are those of the chip's calibration file: attention cores by phase and by whether heads share a cache, expert
    products, products per head, other products; elementwise kernels have the launch of a product and the full rates. Rounds
    of tiles, caches and quantisation, which the laws of `dse.validation.silicon` have besides, are left out.
    """

    rates: ChipRates
    chip: Chip
    prefill: bool

    @property
    def leakage_w(self) -> float | FloatArray:
        """Leakage of one chip."""
        return self.rates.leakage_w

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """As `layer_time.ChipModel.times`.

        Raises:
            UsageError: a family or format that was not fitted.
        """
        del work
        by = divisors_of(plan, part.sizes)
        return tuple(timed_kernel(k, by, plan, piece, load, self._sustained(k)) for k in part.kernels)

    def _sustained(self, kernel: KernelWork) -> ChipRates:
        if not kernel.macs:  # joined to the expert kernels, which are one launch, else a launch of its own
            launch = 0.0 if kernel.region is Region.EXPERTS else self.chip.constants("gemm", "bf16")["launch_us"]
            return replace(self.rates, launch_s=launch * SECONDS_PER_US)
        family = self._family(kernel)
        if family not in self.chip.kernels:
            family = _LIKE.get(family, family)
        dtype = kernel.macs[0][0]
        fitted = self.chip.constants(family, _STORED.get(dtype, dtype))
        launches = _EXPERT_PRODUCTS if family == "moe" else 1
        return replace(
            self.rates,
            macs_per_s={name: rate * fitted["array_fraction"] for name, rate in self.rates.macs_per_s.items()},
            dram_bytes_per_s=self.rates.dram_bytes_per_s * min(1.0, fitted["dram_fraction"]),
            launch_s=fitted["launch_us"] / launches * SECONDS_PER_US,
        )

    def _family(self, kernel: KernelWork) -> str:
        if kernel.region is Region.EXPERTS:
            return "moe"
        cuts = {cut for _, a in kernel.moved for cut in a.signature}
        if kernel.core:
            shared = not any(role is Role.CACHE and Cut.KV_HEADS in a.signature for role, a in kernel.moved)
            if self.prefill:
                return ("prefill_absorbed" if kernel.reads_cache else "prefill_naive") if shared else "prefill_gqa_128"
            return "mla_decode" if shared and kernel.reads_cache else "gqa_decode"
        heads = {Cut.KV_HEADS, Cut.QUERY_HEADS}
        ends = [a for role, a in kernel.moved if role is Role.ACTIVATION]
        per_head = bool(cuts & heads) and all(heads & set(a.signature) for a in ends)
        return "bmm" if per_head else "gemm"


def calibrated_chip(system: System, phase: Phase) -> CalibratedChip:
    """Chips of a system at what was measured of them, or of the nearest chip that their file names.

    Raises:
        UsageError: the accelerator names no calibration or has many cores, or the system has near-memory units.
    """
    if system.near_memory is not None:
        raise UsageError(f"--chip-model calibrated: nothing is measured of the near-memory unit of {system.name}; use roofline")
    if isinstance(system.chip, ChipDescription):
        raise UsageError(
            f"--chip-model calibrated: nothing is measured of {system.chip.name}, a chip of many cores; use mapped, which plans its cores, "
            "or roofline"
        )
    return CalibratedChip(chip_rates(system.chip), read_chip(system.chip), phase is Phase.PREFILL)
