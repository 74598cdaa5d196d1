"""Which tile of which operand one mapping keeps in which memory, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.hw.accelerator import OperandName
from dse.mapping.crossings import OUTERMOST
from dse.mapping.matmul import Stationary
from dse.mapping.residence import residence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.hw.accelerator import Geometry
    from dse.mapping.matmul import MatmulMapping
    from dse.mapping.problem import MatmulProblem

_DIMS = {OperandName.LEFT: ("m", "k"), OperandName.RIGHT: ("k", "n"), OperandName.OUT: ("m", "n")}
_STAYS = {Stationary.LEFT: OperandName.LEFT, Stationary.RIGHT: OperandName.RIGHT, Stationary.OUT: OperandName.OUT}


@dataclass(frozen=True, slots=True)
class HeldTile:
    """A tile of one operand in one memory."""

    memory: str
    operand: str
    sides: tuple[tuple[str, int], tuple[str, int]]
    """(dimension, elements) of the tile over all instances of the memory."""
    stays: bool
    """It stays while the innermost loop over tiles of its level runs."""
    instances: int

    def to_json_dict(self) -> dict[str, object]:
        """Plain values."""
        found = {"memory": self.memory, "operand": self.operand, "stays": self.stays, "instances": self.instances}
        return found | {"tile": dict(self.sides)}


def held_tiles(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping, names: Sequence[str]) -> tuple[HeldTile, ...]:
    """Tiles of `mapping`, and operands that are on chip whole, from the outermost memory inwards; `names` are those of `geometry.inner` and
    of the outermost buffer."""
    size = {"m": problem.m, "k": problem.k, "n": problem.n}
    outer = {"m": mapping.tile_m, "k": mapping.tile_k, "n": mapping.tile_n}
    levels = [(mapping.kept, outer, mapping.stationary)]
    levels += [(t.kept, {"m": t.tile_m, "k": t.tile_k, "n": t.tile_n}, t.stationary) for t in mapping.inner_tiles]

    where = residence(geometry)
    found: list[tuple[int, HeldTile]] = []
    for operand, resident in zip(OperandName, (problem.left_on_chip, problem.right_on_chip, problem.out_on_chip), strict=True):
        if resident:
            first, second = _DIMS[operand]
            sides = ((first, size[first]), (second, size[second]))
            found.append((-len(geometry.inner), HeldTile(names[OUTERMOST], str(operand), sides, True, 1)))
    for level, (kept, sides_of, stationary) in enumerate(levels):
        for i, operand in enumerate(OperandName):
            if not getattr(kept, operand):
                continue
            at = (mapping.places[i] if mapping.places is not None else where.default(operand, max(2, len(levels))))[level]
            first, second = _DIMS[operand]
            sides = ((first, min(sides_of[first], size[first])), (second, min(sides_of[second], size[second])))
            instances = 1 if at == OUTERMOST else geometry.inner[at].instances
            rank = len(geometry.inner) if at == OUTERMOST else at
            found.append((-rank, HeldTile(names[at], str(operand), sides, _STAYS[stationary] is operand, instances)))
    return tuple(tile for _, tile in sorted(found, key=lambda pair: pair[0]))


def crowded(geometry: Geometry, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Operands that more memories on chip may hold than tiles of an operand are allowed at a time (`Geometry.most_tiles`), with these, from
    inner to outer; `names` as of `held_tiles`."""
    where = residence(geometry)
    found = {str(operand): tuple(names[at] for at in where.of(operand)) for operand in OperandName}
    return {operand: memories for operand, memories in found.items() if len(memories) > where.levels}
