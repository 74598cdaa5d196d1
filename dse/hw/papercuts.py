"""Values that are allowed and probably a slip: warnings with file and line, never errors."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Final

from dse.hw.geometry import array_dims
from dse.hw.memory_form import BufferForm
from dse.units import BITS_PER_BYTE, BYTES_PER_GIB, BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.files import Document
    from dse.hw.file_form import AcceleratorFile

FASTEST_CLOCK_MHZ: Final = 5000
SLOWEST_CLOCK_MHZ: Final = 10
KIB_PER_GIB: Final = BYTES_PER_GIB // BYTES_PER_KIB
LARGEST_BUFFER_KIB: Final = KIB_PER_GIB
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
    for name, memory in form.memories.items():
        if isinstance(memory, BufferForm) and memory.capacity_kib >= LARGEST_BUFFER_KIB:
            yield f"memories.{name}.capacity_kib", huge_buffer(memory)
    yield from _inner_doubts(form, prices)
    rate = form.dram[1].bandwidth_gb_per_s
    for way in ("read", "write"):
        key = "bandwidth_gb_per_s" if form.buffer[1].shared_port else f"{way}_gb_per_s"
        path = f"{sram}.{key}"
        if prices[path] < rate and (way == "write" or not form.buffer[1].shared_port):
            yield path, f"{key} {prices[path]:g} of the buffer is below the DRAM's {rate:g}; are both in GB/s?"
        on_chip, off_chip = (prices[f"{m}.{way}_energy_pj_per_byte"] for m in (sram, dram))
        path = f"{dram}.{way}_energy_pj_per_byte"
        if off_chip < on_chip:
            yield path, f"a DRAM byte ({way}: {off_chip:g} pJ) costs less than a byte of the buffer ({on_chip:g} pJ)"
        per_bit = off_chip / BITS_PER_BYTE
        if not DRAM_PJ_PER_BIT[0] <= per_bit <= DRAM_PJ_PER_BIT[1]:
            low, high = DRAM_PJ_PER_BIT
            yield path, f"{way} energy of DRAM is {per_bit:g} pJ/bit, outside the usual {low:g} to {high:g}; the key is per byte"


def huge_buffer(memory: BufferForm) -> str:
    """What is doubtful about a buffer of at least `LARGEST_BUFFER_KIB`."""
    return f"capacity_kib {memory.capacity_kib:g} is {memory.capacity_kib / KIB_PER_GIB:g} GiB on chip; it looks like bytes in a KiB field"


def _inner_doubts(form: AcceleratorFile, prices: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Buffers inside the outermost: smaller, and cheaper to access, than the one around them."""
    buffers = [(name, m) for name, m in form.memories.items() if isinstance(m, BufferForm)]
    dims = dict(array_dims(form.core.array))
    for (name, memory), (outside, around) in pairwise(buffers):
        instances = prod(size for dim, size in dims.items() if memory.serves is not None and dim not in memory.serves)
        if memory.capacity_kib * instances >= around.capacity_kib:
            path = f"memories.{name}.capacity_kib"
            total = f"{memory.capacity_kib * instances:g} KiB over all instances"
            limit = f"{around.capacity_kib:g} KiB of '{outside}', which is outside it"
            yield path, f"{total} is not below {limit}; do they run from inner to outer?"
        for way in ("read", "write"):
            near, far = (prices[f"memories.{m}.{way}_energy_pj_per_byte"] for m in (name, outside))
            if near > far:
                path = f"memories.{name}.{way}_energy_pj_per_byte"
                yield path, f"a byte of '{name}' ({way}: {near:g} pJ) costs more than one of '{outside}', which is outside it ({far:g} pJ)"
