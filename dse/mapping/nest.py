"""Loop nests given from outside: dimensions, operands with affine indices, loops in order, and where each operand stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from dse.hw.importers.machine import Machine

    FloatArray = NDArray[np.float64]
    Where = Callable[[tuple[str, ...]], str]
    _Fault = tuple[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Term:
    """`step` times the index of a loop dimension."""

    dim: str
    step: int = 1


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an operand: the sum of its terms; two terms slide (stride x output + dilation x kernel)."""

    terms: tuple[Term, ...]
    limit: int | None = None
    """Elements that exist along the axis, where padding makes it shorter than its terms reach."""


@dataclass(frozen=True, slots=True)
class NestOperand:
    """One tensor of a loop nest."""

    name: str
    axes: tuple[Axis, ...]
    bits: float
    """Of an element; of a finished one for the output."""
    place: str
    """Memory operand of the machine that holds it."""
    partial_bits: float | None = None
    """Of an unfinished sum; given for the output and for it only."""

    @property
    def is_output(self) -> bool:
        """Whether the nest adds into this operand."""
        return self.partial_bits is not None

    def relevance(self, dim: str) -> Relevance:
        """How a loop over `dim` touches this operand."""
        lengths = [len(a.terms) for a in self.axes if any(t.dim == dim for t in a.terms)]
        if not lengths:
            return Relevance.NONE
        return Relevance.SLIDING if max(lengths) > 1 else Relevance.WHOLE


class Relevance(Enum):
    """What a loop over a dimension does to an operand's tile."""

    NONE = 0
    """The tile stays."""
    WHOLE = 1
    """Each step has elements of its own."""
    SLIDING = 2
    """Steps share elements with others."""


@dataclass(frozen=True, slots=True)
class NestProblem:
    """An operator: dimensions with sizes and the operands over them; every point of the nest is one MAC."""

    sizes: tuple[tuple[str, int], ...]
    operands: tuple[NestOperand, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return math.prod(size for _, size in self.sizes)

    @property
    def output(self) -> NestOperand:
        """The operand that is added into."""
        return next(o for o in self.operands if o.is_output)

    @property
    def inputs(self) -> tuple[NestOperand, ...]:
        """The others."""
        return tuple(o for o in self.operands if not o.is_output)


@dataclass(frozen=True, slots=True)
class Nest:
    """One mapping: unrollings, loops from inner to outer, and for each operand how many loops lie below each of its memories."""

    spatial: tuple[tuple[str, str, float], ...]
    """(array dimension, dimension, units); a factor that is not whole is a mean, as when 100 indices run on 32 units in 4 steps."""
    loops: tuple[tuple[str, int], ...]
    """(dimension, factor) from inner to outer; products may exceed the size, the last tile is then smaller."""
    cuts: tuple[tuple[str, tuple[int, ...]], ...]
    """(operand, loops at or below each of its memories, inner to outer); the last entry is the number of loops."""

    def cuts_of(self, operand: str) -> tuple[int, ...]:
        """Loops at or below each memory of `operand`."""
        return dict(self.cuts)[operand]

    def shape(self) -> NestShape:
        """The nest without its factors."""
        return NestShape(tuple((a, d) for a, d, _ in self.spatial), tuple(d for d, _ in self.loops), self.cuts)


@dataclass(frozen=True, slots=True)
class NestShape:
    """What a batch of mappings shares: everything but the factors."""

    spatial: tuple[tuple[str, str], ...]
    loops: tuple[str, ...]
    cuts: tuple[tuple[str, tuple[int, ...]], ...]

    def cuts_of(self, operand: str) -> tuple[int, ...]:
        """Loops at or below each memory of `operand`."""
        return dict(self.cuts)[operand]

    def without(self, loops: frozenset[int], spatial: frozenset[int]) -> NestShape:
        """The shape without the loops and unrollings at the given positions."""
        below = np.concatenate(([0], np.cumsum([i not in loops for i in range(len(self.loops))]))).astype(int).tolist()
        return NestShape(
            tuple(s for i, s in enumerate(self.spatial) if i not in spatial),
            tuple(d for i, d in enumerate(self.loops) if i not in loops),
            tuple((name, tuple(below[c] for c in cuts)) for name, cuts in self.cuts),
        )


def elements(operand: NestOperand, extents: Mapping[str, FloatArray]) -> FloatArray:
    """Distinct elements [B] of `operand` in a tile with the given extents [B] by dimension; 1 along those left out."""
    one: FloatArray = np.ones(1)
    found = one
    for axis in operand.axes:
        found = found * axis_elements(axis, [extents.get(t.dim, one) for t in axis.terms])
    return found


def axis_elements(axis: Axis, extents: list[FloatArray]) -> FloatArray:
    """Distinct values that the axis takes, [B].

    Two terms with steps s, t (reduced by their common divisor) over a and b indices: `a b - max(0, a - t) max(0, b - s)`,
    since (i, j) and (i + t, j - s) meet. Source: derived here, checked by enumeration in the tests. Worked number: stride
    2, 4 outputs, kernel of 3: 4 x 3 - max(0, 4 - 1) x max(0, 3 - 2) = 9 elements.
    """
    if len(axis.terms) == 1:
        found = extents[0]
    elif len(axis.terms) == 2:
        (s, t), (a, b) = (term.step for term in axis.terms), extents
        divisor = math.gcd(s, t)
        found = a * b - np.maximum(0.0, a - t // divisor) * np.maximum(0.0, b - s // divisor)
    else:
        stacked = np.stack(np.broadcast_arrays(*extents), axis=1)
        steps = tuple(term.step for term in axis.terms)
        rows, index = np.unique(stacked, axis=0, return_inverse=True)
        found = np.array([float(_distinct_sums(steps, tuple(int(x) for x in row))) for row in rows])[index.ravel()]
    return found if axis.limit is None else np.minimum(found, float(axis.limit))


@lru_cache(maxsize=65536)
def _distinct_sums(steps: tuple[int, ...], counts: tuple[int, ...]) -> int:
    reached = np.ones(1, dtype=np.bool_)
    for step, count in zip(steps, counts, strict=True):
        shifts = 1  # of what was reached before, by 0, step, 2 step, ...
        while shifts < count:
            more = min(shifts, count - shifts)
            wider = np.zeros(len(reached) + step * more, dtype=np.bool_)
            wider[: len(reached)] = reached
            wider[step * more :] |= reached
            reached, shifts = wider, shifts + more
    return int(reached.sum())


def check_nest(problem: NestProblem, nest: Nest, machine: Machine, *, where: str | Where = "mapping") -> None:
    """Check that a nest covers the problem, and that machine and nest name the same things; `where` names it in errors, in whole or by
    the key of a nest file (`dse.mapping.nest_form`) at fault.

    Raises:
        InputError: all that is wrong, one problem each: what was given, what is allowed.
    """
    wrong = [*_problem_faults(problem, machine), *_spatial_faults(problem, nest, machine), *_loop_faults(problem, nest)]
    wrong += [fault for operand in problem.operands for fault in _place_faults(operand, nest, machine)]
    if wrong:
        raise InputError([Problem(where if isinstance(where, str) else where(at), text) for at, text in wrong])


def _problem_faults(problem: NestProblem, machine: Machine) -> Iterable[_Fault]:
    known = dict(problem.sizes)
    if not machine.macs:
        yield (), f"{machine.name} has no MACs: {', '.join(f'{name} {size}' for name, size in machine.dimensions)}"
    for dim, size in problem.sizes:
        if size < 1:
            yield ("sizes", dim), f"dimension {dim} has size {size}; give a whole number of at least 1"
    outputs = [o.name for o in problem.operands if o.is_output]
    if len(outputs) != 1:
        yield ("operands",), f"exactly one operand has partial_bits, the output; given: {', '.join(outputs) or 'none'}"
    for operand in problem.operands:
        for dim in {t.dim for a in operand.axes for t in a.terms} - known.keys():
            yield (
                ("operands", operand.name, "axes"),
                f"operand {operand.name} is indexed by {dim}, which is no dimension; known: {', '.join(known)}",
            )
        yield from _axis_faults(operand, known)


def _axis_faults(operand: NestOperand, known: Mapping[str, int]) -> Iterable[_Fault]:
    """Operands whose distinct elements are not counted: axes that move together, and sums of many dimensions that reach far."""
    at = ("operands", operand.name, "axes")
    named = [term.dim for axis in operand.axes for term in axis.terms]
    for dim in dict.fromkeys(d for d in named if named.count(d) > 1):
        yield at, f"operand {operand.name} has {dim} in several axes; leave {dim} out of all but one: the others follow from it"
    for axis in operand.axes:
        reach = sum(t.step * (known.get(t.dim, 1) - 1) for t in axis.terms)
        if len(axis.terms) > EASY_TERMS and reach > FARTHEST:
            yield at, f"an axis of operand {operand.name} is a sum of {len(axis.terms)} dimensions that reaches {reach}; at most {FARTHEST}"


def _spatial_faults(problem: NestProblem, nest: Nest, machine: Machine) -> Iterable[_Fault]:
    known, array = dict(problem.sizes), dict(machine.dimensions)
    used: dict[str, float] = {}
    for array_dim, dim, units in nest.spatial:
        if array_dim not in array:
            yield ("spatial", array_dim), f"spatial: array dimension {array_dim} is not one of {machine.name}'s: {', '.join(array)}"
        if dim not in known:
            yield ("spatial",), f"spatial: {dim} is no dimension of the operator; known: {', '.join(known)}"
        if not units >= 1:
            yield ("spatial",), f"spatial: {units:g} units for {dim}; give at least 1"
        used[array_dim] = used.get(array_dim, 1.0) * units
    for array_dim, units in used.items():
        if units > array.get(array_dim, units) * (1 + _ROUNDING):
            yield ("spatial", array_dim), f"spatial: {units:g} units on array dimension {array_dim}, which has {array[array_dim]}"


def _loop_faults(problem: NestProblem, nest: Nest) -> Iterable[_Fault]:
    known = dict(problem.sizes)
    covered = dict.fromkeys(known, 1.0)
    for dim, factor in (*nest.loops, *((d, u) for _, d, u in nest.spatial)):
        if dim not in known:
            yield (
                ("operands", problem.operands[0].name, "temporal"),
                f"a loop runs over {dim}, which is no dimension; known: {', '.join(known)}",
            )
        elif factor < 1:
            yield ("operands", problem.operands[0].name, "temporal"), f"a loop over {dim} has {factor} steps; give at least 1"
        else:
            covered[dim] *= factor
    for dim, size in known.items():
        if covered[dim] < size * (1 - _ROUNDING):
            yield (
                ("operands", problem.operands[0].name, "temporal"),
                f"loops and unrollings over {dim} cover {covered[dim]:g} of {size}; raise a factor",
            )


def _place_faults(operand: NestOperand, nest: Nest, machine: Machine) -> Iterable[_Fault]:
    levels = machine.levels(operand.place)
    cuts = dict(nest.cuts).get(operand.name)
    if not levels:
        held = sorted({o for m in machine.memories for o in m.operands})
        yield (
            ("operands", operand.name),
            f"operand {operand.name} is placed in {operand.place}, which no memory of {machine.name} holds; held: {', '.join(held)}",
        )
    elif cuts is None:
        yield (
            ("operands", operand.name, "temporal"),
            f"operand {operand.name} has no loops per memory; give {len(levels)}: {', '.join(m.name for m in levels)}",
        )
    elif len(cuts) != len(levels):
        known = ", ".join(m.name for m in levels)
        yield (
            ("operands", operand.name, "temporal"),
            f"operand {operand.name} has {len(cuts)} memories in the mapping and {len(levels)} in the machine: {known}",
        )
    elif list(cuts) != sorted(cuts) or cuts[-1] != len(nest.loops):
        yield (
            ("operands", operand.name),
            f"operand {operand.name}: its memories hold {cuts[-1]} of {len(nest.loops)} loops; the outermost holds all that are left",
        )


EASY_TERMS: Final = 2
"""Terms of an axis up to which a formula has its distinct elements; more are counted one by one."""
FARTHEST: Final = 2**24
"""Index up to which distinct elements are counted one by one."""
_ROUNDING = 1e-9
"""Relative slack for unrollings that are means, which floating point does not hold exactly."""
