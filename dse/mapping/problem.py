"""One operator as the mapper sees it: sizes, widths, and which operands the schedule already holds on chip."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dse.units import BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class MatmulProblem:
    """`groups` products C[m, n] = A[m, k] B[k, n] run one after the other on one core.

    An operand that is on chip already (kept there by the schedule, which reserves its bytes) moves nothing to or from
    DRAM and takes no tile of its own.
    """

    groups: int
    m: int
    k: int
    n: int
    left_bits: float
    right_bits: float
    out_bits: float
    partial_bits: float
    """Width of partial sums, wherever they are kept."""
    dtype: str
    """Data type name that selects the array's rate: the wider of left and right."""
    left_on_chip: bool = False
    right_on_chip: bool = False
    out_on_chip: bool = False
    left_share: float = 1.0
    """Distinct elements of A over those that the loops count; below 1 where loops meet the same element (windows of a convolution).

    Footprint and transfers between memories scale with it, what the array takes does not. Elements that two tiles share are
    counted once in all: what neighbouring tiles read again at their edges is left out.
    """
    right_share: float = 1.0
    out_share: float = 1.0
    work_share: float = 1.0
    """Share of the products that a mask leaves to compute, blocks that it cuts counted whole. Cycles, products and what crosses the
    array scale with it; tiles and transfers between memories do not."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.m * self.k * self.n

    @property
    def left_bytes(self) -> float:
        """Bytes of A, all groups."""
        return self.groups * self.m * self.k * self.left_bits * self.left_share / BITS_PER_BYTE

    @property
    def right_bytes(self) -> float:
        """Bytes of B, all groups."""
        return self.groups * self.k * self.n * self.right_bits * self.right_share / BITS_PER_BYTE

    @property
    def out_bytes(self) -> float:
        """Bytes of C, all groups."""
        return self.groups * self.m * self.n * self.out_bits * self.out_share / BITS_PER_BYTE

    def transposed(self) -> MatmulProblem:
        """The same products as C^T = B^T A^T: left and right, m and n change places."""
        return replace(
            self,
            m=self.n,
            n=self.m,
            left_bits=self.right_bits,
            right_bits=self.left_bits,
            left_on_chip=self.right_on_chip,
            right_on_chip=self.left_on_chip,
            left_share=self.right_share,
            right_share=self.left_share,
        )


@dataclass(frozen=True, slots=True)
class VectorProblem:
    """An operator of the vector unit: bytes in, bytes out, elementary operations, and the row a result depends on."""

    read_bytes: float
    """Bytes of inputs that come from DRAM."""
    write_bytes: float
    """Bytes of outputs that go to DRAM."""
    on_chip_read_bytes: float
    """Bytes of inputs that are on chip already."""
    on_chip_write_bytes: float
    """Bytes of outputs that stay on chip."""
    vector_ops: float
    row_bytes: float
    """Bytes of one row of the inputs and outputs that pass through DRAM."""
    rereads: bool
    """The whole row is needed before its first result (softmax, norm): a row that does not fit is read twice."""
