"""What it takes a group to run slice by slice, before anything is priced: memory that it holds, array and vector unit, bytes read again."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.mapping.frontier import least_cycles
from dse.schedule.cores.part_work import divided, part_cuts, part_indices
from dse.schedule.problems import contraction_problem
from dse.schedule.streams import SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.operator import Operator
    from dse.mapping.problem import MatmulProblem
    from dse.schedule.cores.groups import Flow, Group, Work
    from dse.schedule.cores.part_price import KindPricer
    from dse.schedule.cores.shapes import Shape
    from dse.schedule.segments import Cut


class SliceCosts:
    """Of the groups of one graph in their shapes; every answer is kept."""

    def __init__(self, work: Work, kinds: Mapping[str, KindPricer], counts: dict[object, tuple[float, float]] | None = None) -> None:
        self.work, self.kinds = work, kinds
        self._counts = {} if counts is None else counts
        """Array cycles and vector operations by operator, shape and cuts."""
        self._cuts: dict[tuple[tuple[Cut, ...], tuple[tuple[str, int], ...]], tuple[Cut, ...]] = {}
        self._cycles: dict[tuple[MatmulProblem, str], float] = {}
        self._peaks: dict[object, float] = {}

    def cuts(self, group: Group, shape: Shape) -> tuple[Cut, ...]:
        """Cuts of the largest part of a group."""
        key = group.cuts, shape.splits
        if key not in self._cuts:
            self._cuts[key] = part_cuts(self.work, group, shape) if group.cuts else ()
        return self._cuts[key]

    def fits(self, group: Group, shape: Shape) -> bool:
        """Whether what the largest part holds leaves some of its core's memory to work in."""
        return self.peak_bytes(group, shape) < self.kinds[shape.kind].capacity_bytes

    def peak_bytes(self, group: Group, shape: Shape) -> float:
        """Most bytes that the largest part holds at once, sums and slices included, tiles apart."""
        if not group.cuts:
            return 0.0
        key = group.first, group.last, group.cuts, group.held, shape.splits
        if key not in self._peaks:
            self._peaks[key] = self._peak_bytes(group, shape)
        return self._peaks[key]

    def _peak_bytes(self, group: Group, shape: Shape) -> float:
        cuts, builder = self.cuts(group, shape), self.work.builder
        held = [0.0] * len(group.operators)
        for name in sorted(group.held):
            storage = self.work.storages[name]
            effect = builder.effect(storage, group.first, group.last, cuts, held=True)
            ways = shape.share(storage.streams)
            for position in range(effect.start, effect.stop + 1):
                held[position - group.first] += effect.held_bytes / ways
        sums = 0.0
        reducer = builder.reducer(group.last, cuts)
        if reducer is not None:
            sums = builder.accumulator_bytes(reducer, cuts)
            sums /= shape.share(builder.output_streams(reducer))
        return max(held) + sums

    def loaded_bytes(self, group: Group, shape: Shape, flow: Flow) -> float:
        """Bytes of `flow` that a group reads: again for every slice that does not hold it and has all of it."""
        storage = self.work.storages[flow.storage]
        cuts = self.cuts(group, shape)
        if not cuts or any(group.first <= w <= group.last for w in storage.writers):
            return flow.size_bytes
        held = flow.storage in group.held
        return max(flow.size_bytes, self.work.builder.effect(storage, group.first, group.last, cuts, held=held).dram_bytes)

    def busy_s(self, group: Group, shape: Shape) -> float:
        """Seconds that the largest part keeps its core busy, at least: in slices the array works on one while the vector unit works on
        another, where there is room for both."""
        cuts = self.cuts(group, shape)
        array = sum(self.operator_s(o, shape, cuts) for o in group.operators if o.kind is Kind.CONTRACTION)
        vector = sum(self.operator_s(o, shape, cuts) for o in group.operators if o.kind is not Kind.CONTRACTION)
        vector += self._combining_s(group, shape, cuts)
        array = max(array, self._read_s(group, shape, cuts))
        slices = prod(c.slices for c in cuts)
        in_turns = slices < 2 or 2 * self.peak_bytes(group, shape) > self.kinds[shape.kind].capacity_bytes
        return array + vector if in_turns else max(array, vector) + min(array, vector) / slices

    def _read_s(self, group: Group, shape: Shape, cuts: tuple[Cut, ...]) -> float:
        """Seconds that the read port of the memory is busy with the operands of the largest part's products, once for each slice."""
        read = 0.0
        for position, operator in enumerate(group.operators, group.first):
            for a in self.work.builder.accesses[position] if operator.kind is Kind.CONTRACTION else ():
                times = prod(c.slices for c in cuts if c.stream not in a.streams) / shape.share(a.streams)
                read += a.size_bytes * times if a.reads else 0.0
        return read / float(self.kinds[shape.kind].one.buffer_read_bytes_per_s[0])

    def operator_s(self, operator: Operator, shape: Shape, cuts: tuple[Cut, ...] = ()) -> float:
        """Seconds of the largest part of an operator, all slices of `cuts` together, at least."""
        key = operator.name, shape, cuts
        if key not in self._counts:
            self._counts[key] = self._counted(operator, shape, cuts)
        kind, (cycles, operations) = self.kinds[shape.kind], self._counts[key]
        vector = operations / (kind.lanes * kind.clock_hz) if operations else 0.0
        return max(cycles / (kind.clock_hz * float(kind.one.array_sustained_fraction[0])), vector) if cycles else vector

    def _counted(self, operator: Operator, shape: Shape, cuts: tuple[Cut, ...]) -> tuple[float, float]:
        """Array cycles, at least, and vector operations of the largest part of an operator, all slices together."""
        geometry, loops = self.kinds[shape.kind].geometry, self.work.streams.loops[operator.name]
        part = divided(self.work, operator, part_indices(self.work, shape))
        if operator.kind is not Kind.CONTRACTION:
            return 0.0, part.vector_ops
        problem = contraction_problem(self.work.graph, part, {loops[c.stream]: c.slices for c in cuts}, geometry)
        if (problem, shape.kind) not in self._cycles:
            self._cycles[problem, shape.kind] = least_cycles(problem, geometry)
        return prod(c.slices for c in cuts) * self._cycles[problem, shape.kind], part.vector_ops

    def _combining_s(self, group: Group, shape: Shape, cuts: tuple[Cut, ...]) -> float:
        kind = self.kinds[shape.kind]
        operations, size = self._combined(group, shape, cuts)
        ports = max(2 * size / float(kind.one.buffer_read_bytes_per_s[0]), size / float(kind.one.buffer_write_bytes_per_s[0]))
        return max(operations / (kind.lanes * kind.clock_hz), ports) if size else 0.0

    def _combined(self, group: Group, shape: Shape, cuts: tuple[Cut, ...]) -> tuple[float, float]:
        """Operations of the largest part that add what its slices give to running sums, corrected after a softmax in pieces; bytes of the
        sums that they write, and read twice."""
        builder = self.work.builder
        reducer = builder.reducer(group.last, cuts)
        if reducer is None:
            return 0.0, 0.0
        streams = builder.output_streams(reducer)
        again = prod(c.slices for c in cuts if c.stream not in streams) / shape.share(streams)
        each = 2 if any(o.op_type == SOFTMAX for o in group.operators) else 1
        return again * each * group.operators[-1].outputs[0].elements, again * builder.accumulator_sums(reducer, copies=1)

    def busy_pj(self, group: Group, shape: Shape) -> float:
        """Picojoules of all parts in their cores, at least: arithmetic, operands once for each slice, sums of slices."""
        one, cuts = self.kinds[shape.kind].one, self.cuts(group, shape)
        mac = max((float(v[0]) for v in one.mac_pj.values()), default=0.0)
        operations, sums = self._combined(group, shape, cuts)
        reads, writes = 2 * sums * shape.ways, sums * shape.ways
        for position in range(group.first, group.last + 1):
            for a in self.work.builder.accesses[position]:
                times = prod(c.slices for c in cuts if c.stream not in a.streams) * (shape.ways // shape.share(a.streams))
                reads, writes = (reads + times * a.size_bytes, writes) if a.reads else (reads, writes + times * a.size_bytes)
        return (
            sum(o.macs * mac + o.vector_ops * float(one.vector_pj_per_op[0]) for o in group.operators)
            + operations * shape.ways * float(one.vector_pj_per_op[0])
            + reads * float(one.buffer_read_pj_per_byte[0])
            + writes * float(one.buffer_write_pj_per_byte[0])
        )
