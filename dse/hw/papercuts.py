"""Values that are allowed and probably a slip: warnings with file and line, never errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.files import Document
    from dse.hw.file_form import AcceleratorFile

FASTEST_CLOCK_MHZ: Final = 5000
SLOWEST_CLOCK_MHZ: Final = 10
LARGEST_BUFFER_KIB: Final = 1024**2
"""1 GiB on chip: somebody wrote bytes."""
DRAM_PJ_PER_BIT: Final = (1.0, 40.0)
"""Usual range, stacked to commodity DRAM with its link; outside it a warning, no more."""


def papercuts(form: AcceleratorFile, prices: Mapping[str, float], document: Document) -> tuple[str, ...]:
    """One line per doubt, `file:line: what and why`; `prices` has all price paths with the technology's filled in."""
    return tuple(f"{document.where(tuple(path.split('.')))}: {text}" for path, text in _doubts(form, prices))


def _doubts(form: AcceleratorFile, prices: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    sram, dram = f"memories.{form.buffer[0]}", f"memories.{form.dram[0]}"
    clock = form.clock_mhz
    if not SLOWEST_CLOCK_MHZ <= clock <= FASTEST_CLOCK_MHZ:
        yield "clock_mhz", f"clock_mhz {clock:g} is outside {SLOWEST_CLOCK_MHZ} to {FASTEST_CLOCK_MHZ} MHz; is it in MHz?"
    capacity = form.buffer[1].capacity_kib
    if capacity >= LARGEST_BUFFER_KIB:
        yield f"{sram}.capacity_kib", f"capacity_kib {capacity:g} is {capacity / 1024**2:g} GiB on chip; it looks like bytes in a KiB field"
    rate = form.dram[1].bandwidth_gb_per_s
    for way in ("read", "write"):
        path = f"{sram}.{way}_gb_per_s"
        if prices[path] < rate:
            yield path, f"{way}_gb_per_s {prices[path]:g} of the buffer is below the DRAM's {rate:g}; are both in GB/s?"
        on_chip, off_chip = (prices[f"{m}.{way}_energy_pj_per_byte"] for m in (sram, dram))
        path = f"{dram}.{way}_energy_pj_per_byte"
        if off_chip < on_chip:
            yield path, f"a DRAM byte ({way}: {off_chip:g} pJ) costs less than a byte of the buffer ({on_chip:g} pJ)"
        per_bit = off_chip / BITS_PER_BYTE
        if not DRAM_PJ_PER_BIT[0] <= per_bit <= DRAM_PJ_PER_BIT[1]:
            low, high = DRAM_PJ_PER_BIT
            yield path, f"{way} energy of DRAM is {per_bit:g} pJ/bit, outside the usual {low:g} to {high:g}; the key is per byte"
