"""A chip at what measured products sustain: its calibration as settings that any evaluation takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.validation.silicon.chip import read_chip

if TYPE_CHECKING:
    from dse.hw.read import AcceleratorDescription
    from dse.ir.lowering import Precision

FAMILY: Final = "gemm"
"""Kernel family whose constants stand for all operators of a step: plain products."""
_STORED: Final = {"fp8": "fp8_block", "fp4": "nvfp4"}
"""Measured storage format of an arithmetic one that has scales."""


def sustained_settings(description: AcceleratorDescription, precision: Precision) -> dict[str, float]:
    """Launch latency of an operator and sustained shares of the array's and the DRAM's rate, as measured products have them.

    Constants of the format that products multiply in, or of the next wider one that was measured. Shares are at most 1: the laws
    that they were fitted with may have more, where data come from a cache. Rounds of tiles, quantisation and cache effects are left
    out; see decision 0025.

    Raises:
        UsageError: the chip names no calibration, or nothing was fitted for products.
    """
    activation = precision.activation
    name = activation.arithmetic
    scaled = activation.stored_bits != activation.bits
    fitted = read_chip(description).constants(FAMILY, _STORED.get(name, name) if scaled else name)
    dram = description.file.dram[0]
    return {
        "overheads.launch_latency_us": fitted["launch_us"],
        "core.array.sustained_fraction": min(1.0, fitted["array_fraction"]),
        f"memories.{dram}.sustained_fraction": min(1.0, fitted["dram_fraction"]),
    }
