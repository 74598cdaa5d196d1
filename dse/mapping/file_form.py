"""The YAML form of a mapping given from outside; the descriptions of its fields are the documentation of the file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dse.files import FileForm
from dse.hw.accelerator import Dataflow, Loop, OperandName
from dse.mapping.limits import LARGEST_BITS, LARGEST_FACE, LARGEST_PRODUCT, LARGEST_SIZE

Whole = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Bits = Annotated[int, Field(ge=1, le=LARGEST_BITS)]
Level = Annotated[str, Field(min_length=1, max_length=64)]
MOST_LOOPS = 64


class GemmForm(FileForm):
    """The product that the mapping is of: `C[m, n] = A[m, k] B[k, n]`, `groups` times."""

    groups: Whole = 1
    """Independent products of that shape."""
    m: Whole
    """Rows of A and C."""
    k: Whole
    """Columns of A, rows of B."""
    n: Whole
    """Columns of B and C."""
    bits: Bits
    """Width of operands and result."""
    partial_bits: Bits | None = None
    """Width of unfinished sums; as `bits` where left out."""
    on_chip: tuple[OperandName, ...] = ()
    """Operands that lie whole in the outermost buffer, as weights that stay over steps or results that the next operator takes: they move
    nothing to or from DRAM."""

    @model_validator(mode="after")
    def _mappable(self) -> Self:
        _, middle, large = sorted((self.m, self.k, self.n))
        macs = self.groups * self.m * self.k * self.n
        if middle * large > LARGEST_FACE or macs > LARGEST_PRODUCT:
            raise ValueError(f"is too large: two sizes multiply to at most {LARGEST_FACE}, MACs are at most {LARGEST_PRODUCT}")
        if self.partial_bits is not None and self.partial_bits < self.bits:
            raise ValueError(
                f"partial_bits {self.partial_bits} is below bits {self.bits}; unfinished sums are at least as wide as the result"
            )
        return self


class CoversForm(FileForm):
    """Elements of each loop that one step of the array covers."""

    m: Whole
    """Along m."""
    k: Whole
    """Along k; elements that do several MACs in a cycle pack them along k."""
    n: Whole
    """Along n."""
    groups: Whole = 1
    """Groups side by side, where dimensions of the array take them."""


class SpreadForm(FileForm):
    """Elements of each loop that lie side by side along some dimensions of the array."""

    dims: Annotated[tuple[Level, ...], Field(min_length=1, max_length=MOST_LOOPS)]
    """Dimensions along which a memory has an instance for each position."""
    m: Whole = 1
    """Along m."""
    k: Whole = 1
    """Along k."""
    n: Whole = 1
    """Along n."""
    groups: Whole = 1
    """Groups."""


class LoopForm(FileForm):
    """One loop, as `dse map` prints it."""

    level: Level
    """Level whose tiles the loop steps through: dram; buffer, the outer tiles; inner, the tiles inside those, and inner2, inner3, inside
    these, where an operand may lie in three memories on chip or more; or array."""
    loop: Loop
    """groups, m, k or n."""
    step: Whole
    """Elements of the loop's dimension that one step covers: the side of the tile below. It need not divide the size."""
    count: Whole | None = None
    """Steps; follows from the sizes, and is checked where given."""
    spatial: bool | None = None
    """Side by side on the array; checked where given."""
    stays: Literal["left", "right", "out", ""] | None = None
    """Operand whose tile stays while the loop runs; checked where given. Where the innermost DRAM loop has one step, it says whether that
    loop's operand stays, or, left out, that of the next loop of several steps."""


class MappingFile(FileForm):
    """One mapping of a matrix product on a core: what `dse map --mapping` costs as given and `dse map --save-mapping` writes."""

    schema_version: Annotated[int, Field(ge=1, le=1)]
    """Version of this form: 1."""
    gemm: GemmForm | None = None
    """The product, instead of --gemm, --groups, --bits and --partial-bits."""
    dataflow: Dataflow
    """What stays in the array: weight_stationary, output_stationary or input_stationary."""
    covers: CoversForm | None = None
    """Elements that one step of the array covers; needed where an array of the long form can be used in several ways."""
    spread: Annotated[tuple[SpreadForm, ...], Field(max_length=MOST_LOOPS)] = ()
    """Where memories have instances along dimensions of the array: what lies side by side along those; needed where `covers` leaves several
    ways."""
    keeps: dict[Level, tuple[OperandName, ...]]
    """By level of tiles, buffer, inner, inner2, ..., the operands with a tile of that level: left (A), right (B), out (C); the others pass
    by."""
    places: dict[OperandName, Annotated[tuple[int, ...], Field(min_length=2, max_length=MOST_LOOPS)]] = Field(default_factory=dict)
    """Where an operand has several buffers: the memory of its tile in `buffer`, of that in `inner`, and so on, as places among the memories
    inside the outermost buffer, from 0 at the array; -1 is the outermost buffer. Where left out, its last ones."""
    shared_sums: bool = False
    """Output-stationary arrays that would be idle take a stretch of the others' sums."""
    loops: Annotated[tuple[LoopForm, ...], Field(min_length=1, max_length=MOST_LOOPS)]
    """Loops from the outermost to the innermost. A DRAM loop that is left out has one step; loops of buffer and array follow from the
    array and are checked where given."""
