"""What operators that run alone, with nothing held, bring in again for lack of room: estimates by which plans are compared."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from math import prod
from operator import or_
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.least_again import Room, product_again_bytes
from dse.ir.operator import Kind
from dse.schedule.growth import Hold
from dse.schedule.problems import contraction_problem, is_too_large

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.ir.operator import Operator
    from dse.mapping.problem import MatmulProblem
    from dse.schedule.growth import Front, Way
    from dse.schedule.plan import Plan
    from dse.schedule.segments import Cut, SegmentBuilder
    from dse.schedule.storage import Storage

    FloatArray = NDArray[np.float64]

ROOM_SHARE: Final = 0.5
"""Share of the room that the part which stays has: every tile has a second copy. The least that then comes again is 0 to 20 % below what
mappings bring in (products of DeepSeek-V2-Lite's and Llama-3's layers on tpu7x, 64 KiB to 16 MiB)."""


class Rereads:
    """Bytes that come again, by operator and room."""

    def __init__(self, builder: SegmentBuilder, geometry: Geometry, rooms_bytes: Sequence[float]) -> None:
        self._builder, self._geometry = builder, geometry
        self.rooms_bytes: FloatArray = np.array(rooms_bytes)
        """[N], ascending."""
        self._known: dict[MatmulProblem, FloatArray] = {}
        self._nothing: FloatArray = np.zeros(len(self.rooms_bytes))
        self._by_name = {o.name: self._of(o) for o in builder.order}
        touching = builder.touching
        self._near = {
            p: reduce(or_, (touching[s.name] for s in builder.touched[p]))
            for p, o in enumerate(builder.order)
            if self._by_name[o.name] is not self._nothing
        }
        """Products that may bring something in again, with all operators that touch what they touch, as masks."""
        self._passes: dict[tuple[int, int], bool] = {}

    def _of(self, operator: Operator) -> FloatArray:
        """Of one operator in each room, [N]."""
        if operator.kind is not Kind.CONTRACTION or is_too_large(operator):
            return self._nothing
        problem = contraction_problem(self._builder.graph, operator, {}, self._geometry)
        if problem not in self._known:
            found = self._nothing.copy()
            inputs = problem.left_bytes, problem.right_bytes
            for i, room in enumerate(self.rooms_bytes.tolist()):
                found[i] = product_again_bytes(problem, self._geometry, Room(room * ROOM_SHARE), inputs)
                if not found[i]:
                    break
            self._known[problem] = found if found.any() else self._nothing
        return self._known[problem]

    def with_rooms(self, front: Front) -> Front:
        """The front with a way for each room instead of one that holds nothing of some product."""
        inside = sum(1 << p for p in front.members)
        loose = [p for p in front.members if p in self._near and self._loose(p, inside & self._near[p], len(front.members))]
        if not loose:
            return front
        ways: list[Way] = []
        picked, beside, more = [], [], []
        for i, way in enumerate(front.ways):
            again = self._of_way(front.members, loose, way)
            rooms = np.flatnonzero(again[1:] < again[:-1]) + 1
            rooms = np.concatenate(([0], rooms))
            room = self.rooms_bytes[rooms]
            room[0] = 0.0
            ways += [way] * len(rooms)
            picked.append(np.full(len(rooms), i))
            beside.append(room)
            more.append(again[rooms])
        at, room, again = np.concatenate(picked), np.concatenate(beside), np.concatenate(more)
        return replace(
            front,
            ways=tuple(ways),
            peak_bytes=front.peak_bytes[at] + room,
            dram_bytes=front.dram_bytes[at] + again,
            cycles=front.cycles[at],
            step_bytes=front.step_bytes[at] + room,
            step_cycles=front.step_cycles[at],
        )

    def _loose(self, position: int, inside: int, members: int) -> bool:
        """Whether an operator passes nothing on within a group; `inside`: operators of the group that touch what it touches."""
        if members == 1:
            return True
        key = position, inside
        if key not in self._passes:
            self._passes[key] = any(_passed(s, inside) for s in self._builder.touched[position])
        return not self._passes[key]

    def _of_way(self, members: Sequence[int], loose: Sequence[int], way: Way) -> FloatArray:
        """Of a group run in one way, in each room beside what it holds, [N]; `loose`: products that pass nothing on within it."""
        found = self._nothing
        if way.hold in (Hold.ALL, Hold.SPILLED):
            return found
        for p in loose:
            if way.hold is not Hold.SHARED or not any(_shared(s, members, way) for s in self._builder.touched[p]):
                found = found + self._beyond(self._builder, p, way.cuts, self._by_name[self._builder.order[p].name])
        return found

    def _beyond(self, builder: SegmentBuilder, position: int, cuts: tuple[Cut, ...], again: FloatArray) -> FloatArray:
        """What comes again of an operator beyond what its slices read again, [N]."""
        if not cuts:
            return again
        slices = sum(a.size_bytes * (prod(c.slices for c in cuts if c.stream not in a.streams) - 1) for a in builder.accesses[position])
        return np.maximum(again - slices, 0.0) if slices else again

    def of_plan(self, builder: SegmentBuilder, plan: Plan) -> FloatArray:
        """Of the operators of a plan of which nothing is on chip, beside what lies there meanwhile, in each room, [N]; infinite below
        what the plan holds."""
        found = np.where(self.rooms_bytes < plan.peak_bytes, np.inf, 0.0)
        for s in plan.segments:
            for p in range(s.first, s.last + 1):
                again = self._by_name.get(builder.order[p].name, self._nothing)
                if again is self._nothing or any(a.storage in s.held or a.storage in plan.resident for a in builder.accesses[p]):
                    continue
                again, beside = self._beyond(builder, p, s.cuts, again), plan.reserved_bytes[p]
                if beside:
                    left = np.searchsorted(self.rooms_bytes, self.rooms_bytes - beside, side="right") - 1
                    again = again[np.maximum(left, 0)]
                found = found + again
        return found


def _passed(storage: Storage, inside: int) -> bool:
    """Whether a group of operators `inside` (a mask) keeps a storage between its writers and its readers."""
    if storage.from_outside or not storage.writers or not inside >> storage.writers[0] & 1 or not inside >> storage.writers[-1] & 1:
        return False
    return any(inside >> r & 1 for r in storage.readers)


def _shared(storage: Storage, members: Sequence[int], way: Way) -> bool:
    """Whether a group keeps a storage from before that several of its operators or every slice would read again."""
    readers = sum(r in members for r in storage.readers)
    return readers > 1 or (readers == 1 and any(c.stream not in storage.streams for c in way.cuts))
