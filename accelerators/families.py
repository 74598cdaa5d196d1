"""Parametrised families: chips that follow from one number or two, each a function on top of a catalogue entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accelerators.catalogue import CATALOGUE
from dse.errors import UsageError
from dse.hw.array_form import ArrayForm

if TYPE_CHECKING:
    from dse.hw.read import AcceleratorDescription


def flat_like(side: int, *, ops_per_dram_byte: float | None = None, base: str = "flat_cloud") -> AcceleratorDescription:
    """`base` with one square array of `side` x `side`, one vector lane per column and the buffer's bandwidth per column kept.

    The DRAM keeps its bandwidth, unless `ops_per_dram_byte` fixes the ridge: operations (two per MAC) per DRAM byte; then
    its bandwidth follows from the peak rate. Source: the sweep of arXiv 2506.02523, "Hardware-Centric Analysis of DeepSeek's
    Multi-Head Latent Attention", whose x axis is this ratio. Worked number: side 256 at 940 MHz does 123.2 TOP/s, so a
    ridge of 308.0 is 400 GB/s.

    Raises:
        UsageError: a side or a ratio that is not positive, or an unknown base.
    """
    if side < 1 or (ops_per_dram_byte is not None and not ops_per_dram_byte > 0):
        raise UsageError(f"a family member needs side >= 1 and a positive ratio, not {side} and {ops_per_dram_byte}")
    description = CATALOGUE.load(base)
    file = description.file
    array = file.core.array
    buffer_name, buffer = file.buffer
    if not isinstance(array, ArrayForm) or buffer.read_gb_per_s is None or buffer.write_gb_per_s is None:
        raise UsageError(f"a family is made of an array with rows and columns and a buffer with two ports; '{base}' has others")
    wider = side / array.columns
    changes: dict[str, float | int] = {
        "core.array.rows": side,
        "core.array.columns": side,
        "core.vector.lanes": side,
        f"memories.{buffer_name}.read_gb_per_s": buffer.read_gb_per_s * wider,
        f"memories.{buffer_name}.write_gb_per_s": buffer.write_gb_per_s * wider,
    }
    if ops_per_dram_byte is not None:
        peak_gops = 2 * side * side * array.count * file.clock_mhz / 1000
        changes[f"memories.{file.dram[0]}.bandwidth_gb_per_s"] = peak_gops / ops_per_dram_byte
    return description.with_overrides(changes, origin=f"flat_like({side})")
