"""A mapping of a matrix product written out as a loop nest, from DRAM to the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow
from dse.mapping.matmul import Stationary, array_sides
from dse.mapping.tiles import sides

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.mapping.frontier import MatmulMapping
    from dse.mapping.problem import MatmulProblem

_LACKS = {Stationary.LEFT: "n", Stationary.RIGHT: "m", Stationary.OUT: "k"}
_STREAMS = {Dataflow.WEIGHT_STATIONARY: "m", Dataflow.INPUT_STATIONARY: "n", Dataflow.OUTPUT_STATIONARY: "k"}
_ARRAY_HOLDS = {Dataflow.WEIGHT_STATIONARY: "right", Dataflow.INPUT_STATIONARY: "left", Dataflow.OUTPUT_STATIONARY: "out"}


@dataclass(frozen=True, slots=True)
class NestLoop:
    """One loop, the outermost first."""

    level: str
    """Level whose tiles the loop steps through: `dram`; `buffer`, the outer tiles; `inner`, `inner2`, ..., those inside; or `array`."""
    loop: str
    """`groups`, `m`, `k` or `n`."""
    count: int
    """Steps; the last may be shorter."""
    step: int
    """Elements of the loop's dimension that one step covers."""
    spatial: bool
    """Side by side instead of one after the other."""
    stays: str
    """Operand that stays put while the loop runs; empty where none does."""


def loop_nest(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping, *, every_level: bool = False) -> tuple[NestLoop, ...]:
    """The loops of `mapping`, those of one step included; with `every_level` also those over inner tiles that are the whole outer tile."""
    geometry = mapping.used(geometry)
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None
    covered = dict(zip("mkn", array_sides(geometry.array, mapping.dataflow, rate), strict=True))
    size = {"m": problem.m, "k": problem.k, "n": problem.n}
    tile = {"m": mapping.tile_m, "k": mapping.tile_k, "n": mapping.tile_n}
    loops = [NestLoop("dram", "groups", -(-problem.groups // mapping.together), mapping.together, spatial=False, stays="")]
    loops += _tile_loops("dram", size, tile, mapping.stationary)
    level = tile_level(0)
    for slot, inner in enumerate(mapping.inner_tiles, start=1):
        inside = {"m": inner.tile_m, "k": inner.tile_k, "n": inner.tile_n}
        if every_level or inside != tile:
            loops += _tile_loops(tile_level(slot - 1), tile, inside, inner.stationary)
            level, tile = tile_level(slot), inside
    stream = _STREAMS[mapping.dataflow]
    held = _ARRAY_HOLDS[mapping.dataflow]
    passes = {d: (-(-tile[d] // covered[d]), min(covered[d], tile[d])) for d in "mkn" if d != stream}
    loops += [NestLoop(level, d, count, step, spatial=False, stays="") for d, (count, step) in passes.items()]
    per_step = rate if mapping.dataflow is Dataflow.OUTPUT_STATIONARY else min(geometry.array.stream, tile[stream])
    loops.append(NestLoop(level, stream, -(-tile[stream] // per_step), per_step, spatial=False, stays=held))
    if mapping.together > 1:
        loops.append(NestLoop("array", "groups", mapping.together, 1, spatial=True, stays=""))
    for loop in (d for d in "mkn" if d != stream):
        packed = rate if loop == "k" else 1
        loops.append(NestLoop("array", loop, -(-min(covered[loop], tile[loop]) // packed), packed, spatial=True, stays=""))
    if per_step > 1:
        loops.append(NestLoop("array", stream, per_step, 1, spatial=True, stays=""))
    return tuple(loops)


def tile_level(slot: int) -> str:
    """Name of a level of tiles, counted from the outermost: buffer, inner, inner2, ..."""
    return ("buffer", "inner")[slot] if slot < 2 else f"inner{slot}"


def _tile_loops(level: str, size: dict[str, int], tile: dict[str, int], stationary: Stationary) -> list[NestLoop]:
    """Loops over the tiles of one level; the operand that lacks the innermost one stays."""
    last = _LACKS[stationary]
    order = (*(d for d in "mkn" if d != last), last)
    counts = {d: int(sides(size[d], np.array([tile[d]]), 1).count[0]) for d in order}
    return [NestLoop(level, d, counts[d], tile[d], spatial=False, stays=_operand(stationary) if d == last else "") for d in order]


def _operand(stationary: Stationary) -> str:
    return {Stationary.LEFT: "left", Stationary.RIGHT: "right", Stationary.OUT: "out"}[stationary]
