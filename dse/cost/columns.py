"""What the columns of a count matrix cost: seconds and picojoules of each count, the resource it keeps busy, how resources overlap.

A count matrix [R, C] has, in this order, DRAM bytes read and written, bytes read from and written to the outermost buffer, array
cycles, and bytes read from and written to each memory inside that buffer, from inner to outer. Footprints are kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

    FloatArray = NDArray[np.float64]

DRAM_READ, DRAM_WRITE, BUFFER_READ, BUFFER_WRITE, ARRAY, FIRST_INNER = range(6)
OUTER_NAMES: Final = ("dram_read_bytes", "dram_write_bytes", "buffer_read_bytes", "buffer_write_bytes", "array_cycles")


@dataclass(frozen=True, slots=True)
class Busy:
    """One resource of a chip: its busy time is the sum of its columns times their seconds per count, the same for all of them."""

    name: str
    """`dram`, `buffer_read`, ...; of an inner memory with its place from the inside, `inner0_read`."""
    resource: Resource
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Resources that work at the same time; `overlaps` says whether the transfers of the next stage hide behind them."""

    resources: tuple[Busy, ...]
    overlaps: bool


def column_names(geometry: Geometry) -> tuple[str, ...]:
    """Names of the columns [C]."""
    return OUTER_NAMES + tuple(f"inner{i}_{way}_bytes" for i in range(len(geometry.inner)) for way in ("read", "write"))


@lru_cache(maxsize=256)
def stages(geometry: Geometry) -> tuple[Stage, ...]:
    """Resources from the array to DRAM.

    The array works with the buffers next to it, all those inside the outermost one. Transfers into them overlap if each of them says
    so, and so on outwards. Latency is found from the inside: t = max or sum of t and the busiest resource of the next stage.
    """
    found: list[Stage] = []
    nearest: tuple[Busy, ...] = (Busy("array", Resource.ARRAY, (ARRAY,)),)
    for i, memory in enumerate(geometry.inner):
        if memory.registers:
            continue  # as fast as the array
        read = FIRST_INNER + 2 * i
        nearest += _ports(f"inner{i}", (Resource.INNER, Resource.INNER), (read, read + 1), shared=memory.shared_port)
    if len(nearest) > 1:
        found.append(Stage(nearest, all(memory.overlapped for memory in geometry.inner if not memory.registers)))
        nearest = ()
    outer = geometry.outer
    nearest += _ports("buffer", (Resource.BUFFER_READ, Resource.BUFFER_WRITE), (BUFFER_READ, BUFFER_WRITE), shared=outer.shared_port)
    found += [Stage(nearest, outer.overlapped), Stage((Busy("dram", Resource.DRAM, (DRAM_READ, DRAM_WRITE)),), overlaps=True)]
    return tuple(found)


def _ports(name: str, resources: tuple[Resource, Resource], columns: tuple[int, int], *, shared: bool) -> tuple[Busy, ...]:
    if shared:
        return (Busy(f"{name}_port", resources[0], columns),)
    return tuple(Busy(f"{name}_{way}", r, (c,)) for way, r, c in zip(("read", "write"), resources, columns, strict=True))


def counts_per_second(geometry: Geometry, table: DesignTable) -> FloatArray:
    """How many counts of each column its resource does in a second, [C, D]; infinite for registers."""
    dram = table.dram_bytes_per_s * table.dram_sustained_fraction
    array = table.clock_hz * table.array_sustained_fraction
    rows = [dram, dram, table.buffer_read_bytes_per_s, table.buffer_write_bytes_per_s, array]
    assert len(table.inner) == len(geometry.inner), "the table is of another geometry"
    for memory in table.inner:
        rows += [memory.read_bytes_per_s, memory.write_bytes_per_s]
    return np.stack(rows)


def seconds_per_count(geometry: Geometry, table: DesignTable) -> FloatArray:
    """Seconds that one count of each column keeps its resource busy, [C, D]; 0 for registers."""
    return np.asarray(1.0 / counts_per_second(geometry, table))


def pj_per_count(geometry: Geometry, table: DesignTable) -> FloatArray:
    """Picojoules of one count of each column, [C, D]; array cycles cost nothing beyond the MACs."""
    rows = [table.dram_read_pj_per_byte, table.dram_write_pj_per_byte, table.buffer_read_pj_per_byte, table.buffer_write_pj_per_byte]
    rows.append(np.zeros(table.size))
    assert len(table.inner) == len(geometry.inner), "the table is of another geometry"
    for memory in table.inner:
        rows += [memory.read_pj_per_byte, memory.write_pj_per_byte]
    return np.stack(rows)


def busy_latency_s(
    geometry: Geometry, counts: FloatArray, seconds: Sequence[FloatArray] | FloatArray, on_array: FloatArray | None = None
) -> FloatArray:
    """Seconds [R, D] of count rows [R, C]; `on_array` [D] or [R, D] is other work beside the array's, the vector unit's.

    `seconds` has the C columns of `seconds_per_count`, each [D] or, where all points charge the same, [1]; the result is [R, 1] where
    all of them are.
    """
    total: FloatArray | None = None
    overlaps = True
    for stage in stages(geometry):
        here: FloatArray | None = None
        for busy in stage.resources:
            time = counts[:, busy.columns].sum(axis=1)[:, None] * seconds[busy.columns[0]]
            here = time if here is None else larger(here, time)
        assert here is not None
        if total is None:
            total = here if on_array is None else larger(here, on_array)
        elif overlaps:
            total = larger(total, here)
        else:
            total = total + here
        overlaps = stage.overlaps
    assert total is not None
    return total


def larger(mine: FloatArray, other: FloatArray) -> FloatArray:
    """The larger of the two, broadcast, in the memory of `mine` where it is large enough."""
    fits = mine.shape == np.broadcast_shapes(mine.shape, other.shape)
    return np.maximum(mine, other, out=mine) if fits else np.maximum(mine, other)


def moved_pj(counts: FloatArray, pj: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """Picojoules [R, D] of the bytes of count rows [R, C]; `pj` as `seconds` in `busy_latency_s`.

    Columns are added one after another, so that a row costs the same to the last bit whichever rows and points it is priced with.
    """
    total: FloatArray | None = None
    for column in range(counts.shape[1]):
        if column == ARRAY:
            continue  # array cycles cost nothing beyond the MACs
        here = counts[:, column, None] * pj[column]
        total = here if total is None else total + here
    assert total is not None
    return total
