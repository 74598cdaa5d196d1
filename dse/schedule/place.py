"""Placed operators: each operator of a plan with what it still moves, how often it runs, and its frontier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind
from dse.ir.product_costs import beside_product
from dse.mapping.cache import cached_frontier
from dse.mapping.frontier import Frontier, vector_frontier
from dse.mapping.problem import MatmulProblem, VectorProblem
from dse.schedule.masks import touched_share
from dse.schedule.problems import contraction_problem, sliced_along
from dse.schedule.storage import touched_bytes
from dse.schedule.streams import SOFTMAX
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operand, Operator
    from dse.ir.tensor import Role
    from dse.schedule.plan import Plan, PlanBook
    from dse.schedule.segments import Segment


STATISTICS_OPS_PER_ROW: Final = 6
"""Per row and slice of a softmax in pieces: larger maximum, difference, exponential, correction of the sum, addition, and the
reciprocal at the end. Counted here from FlashAttention-2, arXiv 2307.08691, algorithm 1."""


@dataclass(frozen=True, slots=True)
class Port:
    """One operand of a placed operator, per slice."""

    tensor: str
    role: Role
    size_bytes: float
    on_chip: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes that a held tensor brings in or sends out, once for all slices."""

    tensor: str
    role: Role
    size_bytes: float


@dataclass(frozen=True, slots=True)
class Work:
    """What determines the counts of a placed operator; equal work is priced once."""

    problem: MatmulProblem | VectorProblem
    slices: int
    """Times that the problem is run."""
    fill_bytes: float
    drain_bytes: float
    reserved_bytes: float
    launches: int
    touches_dram: bool
    beside_ops: float = 0.0
    """Vector operations of one slice beside its products: stored formats widened before they are multiplied, biases."""

    @property
    def macs(self) -> float:
        """Multiply-accumulates of all slices that are computed."""
        return self.slices * self.problem.macs * self.problem.work_share if isinstance(self.problem, MatmulProblem) else 0.0

    @property
    def vector_ops(self) -> float:
        """Vector operations of all slices."""
        own = self.problem.vector_ops if isinstance(self.problem, VectorProblem) else 0.0
        return self.slices * (own + self.beside_ops)

    @property
    def dtype(self) -> str | None:
        """Data type of the MACs; None on the vector unit."""
        return self.problem.dtype if isinstance(self.problem, MatmulProblem) else None


@dataclass(frozen=True, slots=True)
class PlacedOperator:
    """One operator of a plan."""

    name: str
    op_type: str
    work: Work
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    fills: tuple[Transfer, ...]
    drains: tuple[Transfer, ...]
    stream: str | None


class Products:
    """Matrix products of the slices of contractions, each made once for all plans of a book."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._made: dict[tuple[int, str, tuple[tuple[str, int], ...]], MatmulProblem] = {}
        self.placed: dict[tuple[int, int, int, frozenset[str], float], PlacedOperator] = {}
        """By numbers of builder and segment, position, residents that it touches, and bytes held; plans keep these segments."""

    def of(self, graph: OperatorGraph, operator: Operator, loops: tuple[tuple[str, int], ...]) -> MatmulProblem:
        """The product of one slice, all operands in DRAM; `graph` outlives this, `loops` are cut into so many parts each."""
        key = id(graph), operator.name, loops
        if key not in self._made:
            self._made[key] = contraction_problem(graph, operator, dict(loops), self.geometry)
        return self._made[key]


def place(book: PlanBook, plan: Plan, geometry: Geometry, products: Products | None = None) -> tuple[PlacedOperator, ...]:
    """The operators of `plan` in its order; after a contraction whose sum is cut the operator that adds up its parts.

    `products` are those of all plans of the book, where several are placed.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute.
    """
    found: list[PlacedOperator] = []
    book, products = book.of(plan), products or Products(geometry)
    for s in plan.segments:
        found += [_placed_once(book, plan, s, position, products) for position in range(s.first, s.last + 1)]
        if s.reducer is not None:
            found.append(_combine(book, plan, s, s.reducer))
    return tuple(found)


def frontier_of(work: Work, geometry: Geometry) -> Frontier:
    """The frontier of one slice of `work`; cached by problem and geometry, in memory and on disk."""
    if isinstance(work.problem, MatmulProblem):
        return cached_frontier(work.problem, geometry)
    return _vector_frontier(work.problem, geometry.double_buffered)


@lru_cache(maxsize=4096)
def _vector_frontier(problem: VectorProblem, double_buffered: bool) -> Frontier:
    return vector_frontier(problem, double_buffered=double_buffered)


def _placed_once(book: PlanBook, plan: Plan, segment: Segment, position: int, products: Products) -> PlacedOperator:
    """`_place_one`; the same object for plans that have the segment, the builder and what stays on chip in common."""
    touched = plan.resident.intersection([s.name for s in book.builder.touched[position]]) if plan.resident else plan.resident
    key = id(book.builder), id(segment), position, touched, plan.reserved_bytes[position]
    if key not in products.placed:
        products.placed[key] = _place_one(book, plan, segment, position, products)
    return products.placed[key]


def _place_one(book: PlanBook, plan: Plan, segment: Segment, position: int, products: Products) -> PlacedOperator:
    operator = book.order[position]
    on_chip = segment.held | plan.resident
    inputs = tuple(_port(book, segment, x, on_chip) for x in operator.inputs if x.elements)
    outputs = tuple(_port(book, segment, x, on_chip) for x in operator.outputs if x.elements)
    fills, drains = _transfers(book, plan, segment, position)
    loops = book.builder.loops(position, segment.cuts)
    parts = dict(loops)
    problem: MatmulProblem | VectorProblem
    if operator.kind is Kind.CONTRACTION:
        problem = replace(
            products.of(book.graph, operator, loops),
            left_on_chip=inputs[0].on_chip,
            right_on_chip=inputs[1].on_chip,
            out_on_chip=outputs[0].on_chip,
        )
        if segment.reducer == position:
            problem = replace(problem, out_bits=problem.partial_bits, out_on_chip=True)
    else:
        problem = vector_problem(
            sliced_along(operator, parts),
            inputs,
            outputs,
            vector_ops=operator.vector_ops * touched_share(book.graph, operator, products.geometry) / prod(parts.values()),
        )
    work = Work(
        problem=problem,
        slices=segment.slices,
        fill_bytes=sum(t.size_bytes for t in fills),
        drain_bytes=sum(t.size_bytes for t in drains),
        reserved_bytes=plan.reserved_bytes[position],
        launches=int(position == segment.first),
        touches_dram=bool(fills or drains or not all(p.on_chip for p in (*inputs, *outputs))),
        beside_ops=_beside_ops(book, operator, parts, problem.work_share) if isinstance(problem, MatmulProblem) else 0.0,
    )
    return PlacedOperator(operator.name, operator.op_type, work, inputs, outputs, fills, drains, segment.stream)


def _beside_ops(book: PlanBook, operator: Operator, parts: Mapping[str, int], share: float) -> float:
    """Vector operations of one slice of a contraction, of which it computes `share`: a narrow operand is widened again in every
    slice that reads it, work on results is cut with them."""
    if operator.vector_ops == 0:
        return 0.0
    whole = beside_product(operator, book.graph.tensors)
    over = prod(n for dim, n in parts.items() if whole.widened is not None and dim in whole.widened.axes)
    return whole.widening / over + whole.on_results * share / prod(parts.values())


def _combine(book: PlanBook, plan: Plan, segment: Segment, position: int) -> PlacedOperator:
    """Adds what a slice gives to a running sum: two reads and a write per element, an addition and, after a softmax in pieces,
    a multiplication by the correction of its maximum, with the statistics of each row.

    The first slice and the final division count as additions as well. Unfinished sums of a cut that another one is inside of are
    written to DRAM and read again, `SegmentBuilder.spilled_bytes` in all. Source: FlashAttention-2, arXiv 2307.08691, algorithm 1.
    """
    operator = book.order[position]
    output = operator.outputs[0]
    tensor = book.graph.tensors[output.tensor]
    share = prod(c.slices for c in segment.cuts if c.stream in book.builder.streams.axes[output.tensor])
    elements = output.elements / share
    size = elements * max(book.graph.accumulation.stored_bits, tensor.dtype.stored_bits) / BITS_PER_BYTE
    softmax = next((p for p in range(segment.first, position) if book.order[p].op_type == SOFTMAX), None)
    operations = elements
    if softmax is not None:
        rows = _rows(sliced_along(book.order[softmax], dict(book.builder.loops(softmax, segment.cuts))))
        operations = 2 * elements + STATISTICS_OPS_PER_ROW * rows
    moved = book.builder.spilled_bytes(range(segment.first, segment.last + 1), segment.spilled_parts) / 2 / segment.slices
    problem = VectorProblem(moved, moved, 2 * size, size, operations, 0.0, rereads=False)
    work = Work(problem, segment.slices, 0.0, 0.0, plan.reserved_bytes[position], 0, touches_dram=moved > 0)
    port = Port(output.tensor, tensor.role, size, on_chip=True)
    away = (Port(output.tensor, tensor.role, moved, on_chip=False),) if moved else ()
    return PlacedOperator(f"{operator.name}.combine", "Combine", work, (port, port, *away), (port, *away), (), (), segment.stream)


def _port(book: PlanBook, segment: Segment, operand: Operand, on_chip: frozenset[str]) -> Port:
    tensor = book.graph.tensors[operand.tensor]
    share = prod(c.slices for c in segment.cuts if c.stream in book.builder.streams.axes[operand.tensor])
    return Port(operand.tensor, tensor.role, touched_bytes(book.graph, operand) / share, tensor.storage in on_chip)


def _transfers(book: PlanBook, plan: Plan, segment: Segment, position: int) -> tuple[tuple[Transfer, ...], tuple[Transfer, ...]]:
    """What held storages bring in before, and send out after, the operator at `position`: at their first reader inside
    the segment, and at each of their writers."""
    fills, drains = [], []
    operator = book.order[position]
    for name in sorted(segment.held - plan.resident):
        storage = book.builder.storages[name]
        readers = [r for r in storage.readers if segment.first <= r <= segment.last]
        filled = book.builder.fill_bytes(storage, segment.first, segment.last, segment.cuts)
        if filled and readers and readers[0] == position:
            fills.append(Transfer(name, storage.role, filled))
        if position in storage.writers and book.builder.drain_bytes(storage, segment.first, segment.last):
            drains.append(Transfer(name, storage.role, _written_bytes(book, operator, name)))
    for name in sorted(plan.resident):
        storage = book.builder.storages[name]
        if storage.to_outside and position in storage.writers:
            drains.append(Transfer(name, storage.role, _written_bytes(book, operator, name)))
    return tuple(fills), tuple(drains)


def _written_bytes(book: PlanBook, operator: Operator, storage: str) -> float:
    return sum(touched_bytes(book.graph, x) for x in operator.outputs if book.graph.tensors[x.tensor].storage == storage)


def vector_problem(sliced: Operator, inputs: tuple[Port, ...], outputs: tuple[Port, ...], *, vector_ops: float) -> VectorProblem:
    """The problem of one slice of a vector operator, `sliced`, with `vector_ops` operations."""
    rows = max(1, _rows(sliced))
    return VectorProblem(
        read_bytes=sum(p.size_bytes for p in inputs if not p.on_chip),
        write_bytes=sum(p.size_bytes for p in outputs if not p.on_chip),
        on_chip_read_bytes=sum(p.size_bytes for p in inputs if p.on_chip),
        on_chip_write_bytes=sum(p.size_bytes for p in outputs if p.on_chip),
        vector_ops=vector_ops,
        row_bytes=sum(p.size_bytes for p in (*inputs, *outputs) if not p.on_chip) / rows,
        rereads=bool(sliced.reduced_dims) and sliced.reduced_elements > 1,
    )


def _rows(sliced: Operator) -> int:
    """Rows of a softmax, norm or reduction: the product of the dimensions that are not reduced."""
    rows = 1
    for dim, size in sliced.dims:
        if dim not in sliced.reduced_dims:
            rows *= size
    return rows
