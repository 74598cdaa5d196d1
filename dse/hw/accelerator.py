"""The internal form of an accelerator: geometry selects a frontier, everything else only prices it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Dataflow(StrEnum):
    """What stays in the array while the third dimension streams by (rows, columns | streamed)."""

    WEIGHT_STATIONARY = "weight_stationary"
    """K, N | M."""
    OUTPUT_STATIONARY = "output_stationary"
    """M, N | K."""
    INPUT_STATIONARY = "input_stationary"
    """K, M | N."""


class OperandName(StrEnum):
    """Operands of a matrix product `C[m, n] = A[m, k] B[k, n]`."""

    LEFT = "left"
    """A, usually activations."""
    RIGHT = "right"
    """B, usually weights."""
    OUT = "out"
    """C."""


class Loop(StrEnum):
    """Loops of a matrix product."""

    GROUPS = "groups"
    M = "m"
    K = "k"
    N = "n"


class Folds(StrEnum):
    """How successive passes over the array follow each other."""

    SERIAL = "serial"
    """Each pass pays its own load, fill and drain: the closed forms of SCALE-Sim."""
    PIPELINED = "pipelined"
    """The next stationary tile loads while this one streams; fill and drain are paid once per operator."""
    BROADCAST = "broadcast"
    """Operands reach all elements in the cycle that needs them: nothing to fill, drain or load. Optimistic for large arrays."""


@dataclass(frozen=True, slots=True)
class ArrayDim:
    """One named dimension of an array and the loops that may be spread over it."""

    name: str
    size: int
    unrolls: tuple[Loop, ...]


@dataclass(frozen=True, slots=True)
class ArrayGeometry:
    """`count` equal MAC arrays of `rows` x `columns` that share the on-chip buffer."""

    rows: int
    columns: int
    count: int
    dataflows: tuple[Dataflow, ...]
    folds: Folds
    macs_per_pe_per_cycle: tuple[tuple[str, int], ...]
    """(data type name, MACs that one element does in a cycle); a type that is not listed cannot be computed."""
    load_rows_per_cycle: int = 1
    """Rows of the array whose stationary operand is exchanged in a cycle; 1 where it is shifted in row by row."""
    dims: tuple[ArrayDim, ...] = ()
    """Named dimensions of an array in the long form; then `rows` is their product, `columns` and `count` are 1, `dataflows` is empty."""
    stationary: tuple[OperandName, ...] = ()
    """Operands that may stay in an array of the long form."""
    stream: int = 1
    """Elements of the dimension that streams past what stays which the array takes side by side, each with a copy of it."""
    spread: tuple[tuple[tuple[str, ...], tuple[int, int, int, int]], ...] = ()
    """Of one way to use an array of the long form: (dimensions along which some memory is replicated; elements of m, k and n and groups
    side by side along them)."""
    groups: int = 1
    """Of one way to use an array of the long form: groups side by side, each on a part of `rows` x `columns` x `stream`."""

    @property
    def elements(self) -> int:
        """Processing elements of all arrays."""
        return self.rows * self.columns * self.count * self.stream * self.groups

    def rate(self, dtype: str) -> int | None:
        """MACs per element and cycle in `dtype`; None where the array cannot compute it."""
        return dict(self.macs_per_pe_per_cycle).get(dtype)


@dataclass(frozen=True, slots=True)
class MemoryGeometry:
    """What of an on-chip memory selects a frontier; capacity, bandwidth and energy are prices."""

    registers: bool = False
    """Beside the MACs, without tiles of its own: holds what stays in the array."""
    double_buffered: bool = False
    """Tiles that are replaced during an operator occupy twice their bytes."""
    overlapped: bool = False
    """Transfers into it overlap with compute."""
    operands: tuple[OperandName, ...] = tuple(OperandName)
    """Operands that may have a tile here."""
    capacity_shares: tuple[tuple[OperandName, float], ...] = ()
    """Part of the capacity set aside for each operand; empty where they share it."""
    shared_port: bool = False
    """Reads and writes share one port; both rates are then that port's."""
    replicated: tuple[str, ...] = ()
    """Array dimensions along which each position has its own instance."""
    instances: int = 1


@dataclass(frozen=True, slots=True)
class PointPrices:
    """What mappings are compared by at one design point, where operands may lie in so many memories that what any price could prefer is
    too much to be found."""

    terms: tuple[tuple[float, ...], ...]
    """Picojoules or seconds of one count, for each column of `Counts.matrix()`; those of one criterion stand together."""
    criterion: tuple[int, ...]
    """Of each term: a mapping costs the largest of a criterion's terms."""
    capacity_bytes: tuple[float, ...]
    """Of the outermost buffer, then of those inside it, from inner to outer."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """All that selects a frontier; hashable, the key of the frontier cache."""

    array: ArrayGeometry
    double_buffered: bool
    """Tiles in the outermost buffer that are replaced during an operator occupy twice their bytes."""
    buffer: MemoryGeometry | None = None
    """The outermost buffer where it is not plain: all operands, one pool, two ports, transfers overlap if double buffered."""
    inner: tuple[MemoryGeometry, ...] = ()
    """Memories inside the outermost buffer, from inner to outer."""
    dram_alike: bool = False
    """A byte read from DRAM costs what a written one costs, at every price that is asked for: mappings with the same sum of both are
    one (`AcceleratorDescription.geometry_for`)."""
    mapping_excess: float = 0.0
    """How far above the best the counts of mappings may be, 0.02 for 2 %: 0 for exact frontiers, more for shorter ones."""
    most_tiles: int | None = None
    """Tiles of one operand in memories on chip at a time, at most; None for as many as memories may hold it."""
    most_cells: int | None = None
    """Of one design point: cells of tilings of one product that are looked at; None for all with up to two tiles of an operand, and a fixed
    number of those with more."""
    point: PointPrices | None = None
    """Of the only design point that is asked for: frontiers have what that point could prefer. None for what any point could."""

    @property
    def outer(self) -> MemoryGeometry:
        """The outermost buffer."""
        return self.buffer or MemoryGeometry(double_buffered=self.double_buffered, overlapped=self.double_buffered)

    @property
    def overlapped(self) -> bool:
        """Transfers between DRAM and the outermost buffer overlap with compute."""
        return self.outer.overlapped


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPrices:
    """Prices of a memory inside the outermost buffer."""

    name: str
    capacity_bytes: float
    """Of one instance."""
    read_bytes_per_s: float
    """Of all instances together; infinite for registers."""
    write_bytes_per_s: float
    """Of all instances together; infinite for registers."""
    read_pj_per_byte: float
    write_pj_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """All that only prices a frontier. One chip with one core, on-chip memories and DRAM; `buffer` is the outermost of them."""

    clock_hz: float
    buffer_capacity_bytes: float
    buffer_read_bytes_per_s: float
    buffer_write_bytes_per_s: float
    buffer_read_pj_per_byte: float
    buffer_write_pj_per_byte: float
    dram_capacity_bytes: float
    dram_bytes_per_s: float
    """Reads and writes share it."""
    dram_read_pj_per_byte: float
    dram_write_pj_per_byte: float
    dram_latency_s: float
    """Paid once per operator that touches DRAM."""
    vector_ops_per_cycle: float
    vector_pj_per_op: float
    mac_pj: Mapping[str, float]
    """pJ per MAC by data type name, operand registers included."""
    launch_latency_s: float
    """Paid once per fused segment: per operator where nothing is fused."""
    leakage_w: float
    array_sustained_fraction: float
    """Attainable share of the array's peak rate, in (0, 1]."""
    dram_sustained_fraction: float
    """Attainable share of the DRAM rate, in (0, 1]."""
    inner: tuple[MemoryPrices, ...] = ()
    """Memories inside the outermost buffer, from inner to outer."""


@dataclass(frozen=True, slots=True)
class AreaBreakdown:
    """Silicon area by component in mm2."""

    array_mm2: float
    vector_mm2: float
    buffer_mm2: float
    dram_interface_mm2: float
    other_mm2: float

    @property
    def total_mm2(self) -> float:
        """Sum of all components."""
        return self.array_mm2 + self.vector_mm2 + self.buffer_mm2 + self.dram_interface_mm2 + self.other_mm2


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator, all fields resolved."""

    name: str
    summary: str
    geometry: Geometry
    prices: Prices
    area: AreaBreakdown
    technology: str
    warnings: tuple[str, ...] = ()
    """Papercuts found when the file was read, each with file and line."""
