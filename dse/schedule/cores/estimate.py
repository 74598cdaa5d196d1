"""Least time and energy of shapes before anything is priced, and the choice of shapes by them: exact over the sum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import Objective
from dse.schedule.cores.elimination import least_sum
from dse.schedule.cores.layout import HOME_SHARE, OWN_SHARE
from dse.schedule.cores.part_price import partial_bytes
from dse.schedule.cores.part_work import part_indices
from dse.schedule.cores.parts import Division
from dse.schedule.cores.sliced import SliceCosts
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.hw.many_core import Chip
    from dse.ir.operator import Operator
    from dse.schedule.cores.groups import Flow, Group, Work
    from dse.schedule.cores.part_price import KindPricer
    from dse.schedule.cores.shapes import Shape
    from dse.schedule.cores.transfers import Transfers

    FloatArray = NDArray[np.float64]

HIDDEN_SHARE: Final = 0.1
"""Weight of what hides behind the busiest resource of a group: other groups need that resource as well."""


class Estimator:
    """Least seconds and joules of groups in their shapes, and of tensors between them."""

    def __init__(
        self, chip: Chip, work: Work, kinds: Mapping[str, KindPricer], transfers: Transfers, objective: Objective, slices: SliceCosts
    ) -> None:
        self.chip, self.work, self.kinds, self.transfers, self.objective = chip, work, kinds, transfers, objective
        self._cores: dict[str, tuple[int, ...]] = {}
        self.slices = slices
        self._units: dict[object, float] = {}
        self._computes: dict[tuple[str, Shape], float] = {}
        self._owns: dict[object, float] = {}
        self._tables: dict[object, FloatArray] = {}
        self._of_shapes: dict[tuple[int, int], tuple[Group, Sequence[Shape], FloatArray]] = {}
        self._between: dict[tuple[int, int, int, int], tuple[Flow, Group, Sequence[Shape], Sequence[Shape], FloatArray]] = {}
        """Answers by the identities of what was asked for, which is kept."""

    def own(self, group: Group, shape: Shape) -> float:
        """Seconds (joules) of a group with its graph inputs and outputs, and results that find no room on chip, at least; small shares
        of what hides behind them."""
        key = group.first, group.last, group.cuts, group.held, shape
        if key not in self._owns:
            self._owns[key] = self._own(group, shape)
        return self._owns[key]

    def owns(self, group: Group, shapes: Sequence[Shape]) -> FloatArray:
        """`own` of a group in each of its shapes, [shapes]."""
        key = id(group), id(shapes)
        if key not in self._of_shapes:
            self._of_shapes[key] = group, shapes, np.array([self.own(group, s) for s in shapes])
        return self._of_shapes[key][2]

    def _own(self, group: Group, shape: Shape) -> float:
        compute = self.busy_s(group, shape)
        first = shape.division(self.first_cores(shape))
        one = self.kinds[shape.kind].one
        moved = joules = 0.0
        for f in group.reads:
            if self.work.storages[f.storage].from_outside:
                pattern = self.transfers.to_reader(f.streams, self.chip.dram, first)
                size = self.slices.loaded_bytes(group, shape, f) * self._rounded(shape, f)
                moved += size * pattern.seconds if pattern else 0.0
                joules += size * (pattern.pj + pattern.sent * float(one.dram_read_pj_per_byte[0])) if pattern else 0.0
        for f in group.writes:
            if self.work.storages[f.storage].to_outside or not self._stays(f.storage, group, shape):
                pattern = self.transfers.to_memory(Division(None, first.cores[:1]) if shape.reduces else first, self.chip.dram)
                size = f.size_bytes * self._rounded(shape, f)
                moved += size * pattern.seconds if pattern else 0.0
                joules += size * (pattern.pj + float(one.dram_write_pj_per_byte[0])) if pattern else 0.0
        adding = self._adding_s(group, shape, first)
        seconds = max(compute, moved) + HIDDEN_SHARE * min(compute, moved) + adding
        if self.objective is Objective.LATENCY:
            return seconds
        energy = (joules + self.slices.busy_pj(group, shape)) * JOULES_PER_PJ
        return energy if self.objective is Objective.ENERGY else energy + seconds

    def table(self, flow: Flow, writer: Group, holders: Sequence[Shape], readers: Sequence[Shape]) -> FloatArray:
        """Seconds (joules) of a tensor from all shapes that may write it to all that may read it, [holders, readers]; ways to form groups
        share them."""
        key = id(flow), id(writer), id(holders), id(readers)
        if key not in self._between:
            self._between[key] = flow, writer, holders, readers, self._table(flow, writer, tuple(holders), tuple(readers))
        return self._between[key][-1]

    def _table(self, flow: Flow, writer: Group, holders: tuple[Shape, ...], readers: tuple[Shape, ...]) -> FloatArray:
        key = flow, tuple(f.storage for f in writer.reads), holders, readers
        if key not in self._tables:
            sizes = [flow.size_bytes * self._rounded(b, flow) for b in readers]
            units = [self._units_from(a, flow.streams, readers, stays=self._stays(flow.storage, writer, a)) for a in holders]
            self._tables[key] = np.array(sizes) * np.array(units)
        return self._tables[key]

    def _units_from(self, holder: Shape, streams: frozenset[str], readers: tuple[Shape, ...], *, stays: bool) -> list[float]:
        """Seconds (joules) of one byte of a tensor from the shape that writes it to the shapes that read it, on the first cores of their
        kinds: alike where the same streams are divided alike."""
        kind, ways, second_ways, own = holder.kind, holder.ways, holder.second_ways, (holder.stream, holder.second)
        found, units = [], self._units
        for b in readers:
            first, second = b.stream, b.second
            same = None
            if not holder.reduces:
                same = (
                    own.index(first) if first is not None and first in own else None,
                    own.index(second) if second is not None and second in own else None,
                )
            key = kind, ways, second_ways, same, stays, b.kind, b.ways, b.second_ways, first in streams, second in streams
            if key not in units:
                units[key] = self._unit(holder, b, streams) if stays else self._back(b, streams)
            found.append(units[key])
        return found

    def _rounded(self, shape: Shape, flow: Flow) -> float:
        """All parts at the size of the largest over what they are together: 36 parts of 512 indices move 36 times 15."""
        if shape.share(flow.streams) < 2:
            return 1.0
        indices, sizes = part_indices(self.work, shape), self.work.streams.sizes
        return prod(indices[stream] * ways / sizes[stream] for stream, ways in shape.splits if stream in flow.streams)

    def _stays(self, storage: str, writer: Group, holder: Shape) -> bool:
        """Whether a result finds room on chip: with the cores that make it, beside what these read of other groups, with those of another
        kind, or in a buffer beside them."""
        storages = self.work.storages
        size = storages[storage].size_bytes
        room = OWN_SHARE * self.kinds[holder.kind].capacity_bytes * (1 if holder.reduces else holder.ways)
        beside = sum(f.size_bytes for f in writer.reads if not storages[f.storage].from_outside and f.size_bytes <= room)
        if size + beside <= room:
            return True
        others = (k for k in self.chip.kinds if k != holder.kind)
        return any(size <= b.capacity_bytes for b in self.chip.shared) or any(
            size <= HOME_SHARE * self.kinds[k].capacity_bytes * len(self.chip.of_kind(k)) for k in others
        )

    def _back(self, reader: Shape, streams: frozenset[str]) -> float:
        """Cost of one byte from the memory off chip of a tensor that `streams` index."""
        back = self.transfers.to_reader(streams, self.chip.dram, reader.division(self.first_cores(reader)))
        assert back is not None, reader
        pj = back.pj + back.sent * float(self.kinds[reader.kind].one.dram_read_pj_per_byte[0])
        match self.objective:
            case Objective.LATENCY:
                return back.seconds
            case Objective.ENERGY:
                return pj * JOULES_PER_PJ
            case Objective.EDP:
                return back.seconds + pj * JOULES_PER_PJ

    def _unit(self, holder: Shape, reader: Shape, streams: frozenset[str]) -> float:
        """Cost of one byte between two shapes of a tensor that `streams` index as it is read."""
        held = self.first_cores(holder)
        lies = Division(None, held[:1]) if holder.reduces else holder.division(held)
        reads = replace(reader.division(self.first_cores(reader)), reduces=False)
        if lies == reads and reads.ranged(streams):
            return 0.0
        ways = []
        straight = self.transfers.to_reader(streams, lies, reads)
        if straight is not None:
            port = max((part for _, part in straight.reads), default=0.0) / float(self.kinds[holder.kind].one.buffer_read_bytes_per_s[0])
            ways.append((max(straight.seconds, port), straight.pj))
        if straight is None or self.objective is not Objective.ENERGY:  # over the memory off chip
            out, back = self.transfers.to_memory(lies, self.chip.dram), self.transfers.to_reader(streams, self.chip.dram, reads)
            assert out is not None, holder
            assert back is not None, reader
            one = self.kinds[reader.kind].one
            accesses = float(one.dram_write_pj_per_byte[0]) + back.sent * float(one.dram_read_pj_per_byte[0])
            ways.append((out.seconds + back.seconds, out.pj + back.pj + accesses))
        match self.objective:
            case Objective.LATENCY:
                return min(seconds for seconds, _ in ways)
            case Objective.ENERGY:
                return min(pj for _, pj in ways) * JOULES_PER_PJ
            case Objective.EDP:
                return min(seconds + pj * JOULES_PER_PJ for seconds, pj in ways)

    def first_cores(self, shape: Shape) -> tuple[int, ...]:
        """The first cores that a shape may take."""
        if shape.kind not in self._cores:
            self._cores[shape.kind] = self.chip.of_kind(shape.kind)
        return self._cores[shape.kind][: shape.ways]

    def compute_s(self, operator: Operator, shape: Shape) -> float:
        """Seconds that the largest part of an operator keeps its core busy, whole, at least."""
        key = operator.name, shape
        if key not in self._computes:
            self._computes[key] = self.slices.operator_s(operator, shape)
        return self._computes[key]

    def busy_s(self, group: Group, shape: Shape) -> float:
        """Seconds that the largest part of a group keeps its core busy, in slices where it has any, at least."""
        return self.slices.busy_s(group, shape) if group.cuts else sum(self.compute_s(o, shape) for o in group.operators)

    def _adding_s(self, group: Group, shape: Shape, first: Division) -> float:
        if not shape.reduces:
            return 0.0
        pattern = self.transfers.to_first(first)
        if pattern is None:
            return float("inf")
        kind = self.kinds[shape.kind]
        elements = group.operators[0].outputs[0].elements * (shape.ways - 1)
        return partial_bytes(self.work, group) * pattern.seconds + elements / (kind.lanes * kind.clock_hz)


@dataclass(frozen=True)
class ChosenShapes:
    """The shapes of least estimated sum, with what led there."""

    choices: tuple[int, ...]
    own: list[FloatArray]
    """[groups][shapes]"""
    pairs: dict[tuple[int, int], FloatArray]
    """[shapes of the writer, shapes of the reader] by (writer, reader)."""
    cost: float
    exact: bool

    def change(self, chosen: Sequence[int], index: int) -> FloatArray:
        """What the sum gains where group `index` of `chosen` takes each of its shapes instead, [shapes]."""
        total: FloatArray = self.own[index].copy()
        for (writer, reader), table in self.pairs.items():
            if writer == index:
                total = total + table[:, chosen[reader]]
            elif reader == index:
                total = total + table[chosen[writer], :]
        difference: FloatArray = total - total[chosen[index]]
        return difference


def choose_shapes(groups: Sequence[Group], offered: Sequence[Sequence[Shape]], estimator: Estimator) -> ChosenShapes:
    """The shapes with the least sum of own costs and costs between writers and readers."""
    own = [estimator.owns(g, offered[i]) for i, g in enumerate(groups)]
    writer: dict[str, int] = {}
    pairs: dict[tuple[int, int], FloatArray] = {}
    for i, g in enumerate(groups):
        for f in g.reads:
            w = writer.get(f.storage)
            if w is None or estimator.work.storages[f.storage].from_outside:
                continue
            pairs[w, i] = pairs.get((w, i), 0.0) + estimator.table(f, groups[w], offered[w], offered[i])
        for f in g.writes:
            writer[f.storage] = i
    found = least_sum(own, pairs)
    return ChosenShapes(found.choices, own, pairs, found.cost, found.exact)
