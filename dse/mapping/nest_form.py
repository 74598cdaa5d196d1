"""The YAML form of a loop nest given from outside, and the way from it to a problem and a nest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from dse.errors import InputError, Problem
from dse.files import FileForm
from dse.mapping.limits import LARGEST_BITS, LARGEST_SIZE
from dse.mapping.nest import Axis, Nest, NestOperand, NestProblem, Term

if TYPE_CHECKING:
    from dse.files import Document

Name = Annotated[str, Field(min_length=1, max_length=64)]
Dimension = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Factor = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Step = Annotated[tuple[Dimension, Factor], Field()]
Units = Annotated[float, Field(ge=1, le=LARGEST_SIZE)]
Bits = Annotated[float, Field(gt=0, le=LARGEST_BITS)]
_TERM: Final = re.compile(r"^(?:(?P<step>[1-9][0-9]{0,8})\s*\*\s*)?(?P<dim>[A-Za-z][A-Za-z0-9_]*)$")


class IndexForm(FileForm):
    """One axis of an operand that padding makes shorter than its index reaches."""

    index: Annotated[str, Field(max_length=200)]
    """A sum of dimensions with whole steps: `m`, `2*oy + fy`."""
    limit: Factor
    """Elements that exist along the axis."""


class OperandForm(FileForm):
    """One tensor of the nest."""

    axes: Annotated[tuple[Annotated[str, Field(max_length=200)] | IndexForm, ...], Field(min_length=1, max_length=16)]
    """Index of each axis: a sum of dimensions with whole steps, `m` or `2*oy + fy`."""
    bits: Bits
    """Width of an element; of a finished one for the output."""
    partial_bits: Bits | None = None
    """Width of an unfinished sum; given for the output, and for it only."""
    memory: Name
    """Name under which the hardware's memories hold it: I1, I2 or O."""
    temporal: tuple[tuple[Step, ...], ...]
    """For each of its memories, from inner to outer, the loops [dimension, steps] from inner to outer that run over its tile there and
    not farther in. All operands have the same loops in the same order."""


class NestFile(FileForm):
    """A loop nest on a core: what `dse nest` costs as given."""

    schema_version: Annotated[int, Field(ge=1, le=1)]
    """Version of this form: 1."""
    sizes: dict[Dimension, Factor]
    """Sizes of the loops' dimensions; every point of the nest is one MAC."""
    operands: Annotated[dict[Name, OperandForm], Field(min_length=2, max_length=16)]
    """Tensors by name."""
    spatial: dict[Name, dict[Dimension, Units]] = Field(default_factory=dict)
    """By array dimension the dimensions spread over it, with units."""


def read_nest(document: Document, file: NestFile) -> tuple[NestProblem, Nest]:
    """The problem and the nest of a checked file; `dse.mapping.nest.check_nest` holds them against a machine.

    Raises:
        InputError: with file and line: an index that is no sum of dimensions, operands whose loops differ.
    """
    wrong: list[Problem] = []
    operands = tuple(
        NestOperand(
            name,
            tuple(_axis(document, ("operands", name, "axes", i), axis, wrong) for i, axis in enumerate(o.axes)),
            o.bits,
            o.memory,
            o.partial_bits,
        )
        for name, o in file.operands.items()
    )
    loops = {name: tuple(step for level in o.temporal for step in level) for name, o in file.operands.items()}
    first = next(iter(loops))
    for name in loops:
        if loops[name] != loops[first]:
            where = document.where(("operands", name, "temporal"))
            wrong.append(
                Problem(where, f"{name} has the loops {_shown(loops[name])}, {first} has {_shown(loops[first])}; all have the same")
            )
    for name, o in file.operands.items():
        if o.partial_bits is not None and o.partial_bits < o.bits:
            where = document.where(("operands", name, "partial_bits"))
            wrong.append(Problem(where, f"partial_bits {o.partial_bits:g} is below bits {o.bits:g}; sums are no narrower than results"))
    if wrong:
        raise InputError(dict.fromkeys(wrong))
    spatial = tuple((at, dim, float(units)) for at, dims in file.spatial.items() for dim, units in dims.items())
    cuts = tuple((name, _cuts(o.temporal)) for name, o in file.operands.items())
    return NestProblem(tuple(file.sizes.items()), operands), Nest(spatial, loops[first], cuts)


def _cuts(temporal: tuple[tuple[tuple[str, int], ...], ...]) -> tuple[int, ...]:
    below, found = 0, []
    for level in temporal:
        below += len(level)
        found.append(below)
    return tuple(found)


def _axis(document: Document, location: tuple[str | int, ...], given: str | IndexForm, wrong: list[Problem]) -> Axis:
    text, limit = (given, None) if isinstance(given, str) else (given.index, given.limit)
    terms = []
    for part in text.split("+"):
        match = _TERM.match(part.strip())
        if match is None:
            wrong.append(Problem(document.where(location), f"index '{text}' is no sum of dimensions; write it as m or 2*oy + fy"))
            break
        terms.append(Term(match["dim"], int(match["step"] or 1)))
    if len({t.dim for t in terms}) < len(terms):
        wrong.append(Problem(document.where(location), f"index '{text}' names a dimension twice; add up its steps"))
    return Axis(tuple(terms), limit)


def _shown(loops: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{dim}{steps}" for dim, steps in loops) or "none"
